//! What a report says of itself: its sources, what it could not see, what it assumes, and how to shut all off.

use chrono::{DateTime, TimeDelta, Utc};

use super::period::Period;
use crate::audit::evidence::{Evidence, Look, Missing};
use crate::audit::report::{Source, Unseen};
use crate::model::{Region, ResourceKind, Trail, TrailGap, counted};
use crate::plan::sweep::said;
use crate::policy::price::{self, PRICE_FILE};

/// How late a call may be in CloudTrail.
pub(super) const TRAIL_LAG: TimeDelta = TimeDelta::minutes(15);
/// For how long EC2 still shows an instance that has ended.
const SHOWN_AFTER_END: TimeDelta = TimeDelta::hours(1);

/// The records and the prices, whether used or not.
pub(super) fn sources(evidence: &Evidence<'_>) -> Vec<Source> {
    vec![ledger(evidence), describe(evidence), cloudtrail(evidence), rebakes(evidence), prices(evidence)]
}

fn unused(name: &str, why: &str) -> Source {
    Source { name: name.to_owned(), used: false, whole: false, from: None, to: None, note: why.to_owned() }
}

fn ledger(evidence: &Evidence<'_>) -> Source {
    let record = match &evidence.ledger {
        Ok(record) => record,
        Err(missing) => return unused("ledger", &missing.why),
    };
    let (first, last) = (record.story.first, record.story.last);
    let late = first.is_some_and(|at| at > evidence.since);
    let note = match (first, late) {
        (None, _) => format!("{}: it is empty", record.from),
        (Some(_), true) => format!("{}: it begins after the period does; what was before is not in it", record.from),
        (Some(_), false) => format!("{}: what the controller did and saw", record.from),
    };
    Source {
        name: "ledger".to_owned(),
        used: first.is_some(),
        whole: first.is_some() && !late,
        from: first,
        to: last.map(|(_, at)| at),
        note,
    }
}

/// Why a region's instances could not be listed: a refusal is a gap of its survey.
fn unlisted(look: &Look) -> Option<String> {
    match &look.survey {
        Err(missing) => Some(missing.why.clone()),
        Ok(survey) => {
            let gap = survey.gaps.iter().find(|gap| gap.kind == ResourceKind::Instance)?;
            Some(gap.failure.to_string())
        }
    }
}

fn describe(evidence: &Evidence<'_>) -> Source {
    let surveys = || evidence.regions.values().filter_map(|look| look.survey.as_ref().ok());
    let shown = evidence.regions.values().filter(|look| unlisted(look).is_none());
    let seen: Vec<DateTime<Utc>> =
        shown.filter_map(|look| look.survey.as_ref().ok()).map(|survey| survey.observed_at).collect();
    if seen.is_empty() {
        let why = evidence.regions.values().find_map(unlisted);
        return unused("describe", why.as_deref().unwrap_or("nobody looked at the account"));
    }
    let whole = seen.len() == evidence.regions.len() && surveys().all(|survey| survey.gaps.is_empty());
    let part = if whole { "" } else { "; not everything could be read" };
    Source {
        name: "describe".to_owned(),
        used: true,
        whole,
        from: seen.iter().min().copied(),
        to: seen.iter().max().copied(),
        note: format!(
            "what EC2 shows now in {}; an instance that has ended is shown for about {}{part}",
            counted(seen.len(), "region"),
            said(SHOWN_AFTER_END)
        ),
    }
}

fn trails<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (&'a Region, &'a Trail)> {
    evidence.regions.iter().filter_map(|(region, look)| Some((region, look.trail.as_ref().ok()?)))
}

fn cloudtrail(evidence: &Evidence<'_>) -> Source {
    let told = || trails(evidence).map(|(_, trail)| trail).filter(|trail| trail.is_told());
    let Some(from) = told().map(|trail| trail.from).max() else {
        let refused = |look: &Look| match &look.trail {
            Err(missing) => Some(missing.why.clone()),
            Ok(trail) => trail.gaps.iter().find(|gap| !is_young(gap)).map(|gap| gap.why.to_string()),
        };
        let why = evidence.regions.values().find_map(refused);
        return unused("cloudtrail", why.as_deref().unwrap_or("nobody asked it"));
    };
    let calls = match told().map(|trail| trail.events.len()).sum::<usize>() {
        1 => "1 call that launches, starts, stops or terminates".to_owned(),
        calls => format!("{calls} calls that launch, start, stop or terminate"),
    };
    let whole = from <= evidence.since
        && told().count() == evidence.regions.len()
        && told().all(|trail| trail.gaps.iter().all(is_young));
    let part = if whole { "" } else { "; not everything could be read" };
    Source {
        name: "cloudtrail".to_owned(),
        used: true,
        whole,
        from: Some(from),
        to: told().map(|trail| trail.to).min(),
        note: format!(
            "{calls}; a call may be {} late, and a shutdown from inside a guest is none{part}",
            said(TRAIL_LAG)
        ),
    }
}

fn rebakes(evidence: &Evidence<'_>) -> Source {
    match &evidence.rebakes {
        Err(missing) => unused("rebakes", &missing.why),
        Ok(_) => Source {
            name: "rebakes".to_owned(),
            used: true,
            whole: true,
            from: None,
            to: None,
            note: "the journals of rebakes that are kept beside the ledger".to_owned(),
        },
    }
}

fn prices(evidence: &Evidence<'_>) -> Source {
    let spot = evidence.regions.values().any(|look| look.spot.as_ref().is_ok_and(|prices| !prices.is_empty()));
    let of_spot = if spot {
        "spot by EC2's history of each zone"
    } else {
        "no history of spot prices: spot is anything up to the list price"
    };
    let asked = match &evidence.prices {
        Ok(prices) => prices.asked_on().map(|day| format!("those in {PRICE_FILE} of {day}, else ")).unwrap_or_default(),
        Err(missing) => format!("without {PRICE_FILE}, which {}: ", missing.why),
    };
    Source {
        name: "prices".to_owned(),
        used: true,
        whole: true,
        from: None,
        to: None,
        note: format!("Amazon's list prices, {asked}the oldest of {}; {of_spot}", price::as_of()),
    }
}

fn missing(what: String, missing: &Missing) -> Unseen {
    Unseen { what, why: missing.why.clone(), cure: missing.cure.clone() }
}

fn never(what: &str, why: &str, cure: Option<&str>) -> Unseen {
    Unseen { what: what.to_owned(), why: why.to_owned(), cure: cure.map(ToOwned::to_owned) }
}

/// What could not be seen: first what could have been, then what never is.
pub(super) fn unseen(evidence: &Evidence<'_>, period: Period) -> Vec<Unseen> {
    let mut all = Vec::new();
    match &evidence.ledger {
        Err(why) => all.push(missing("what the machines were used for (the controller's ledger)".to_owned(), why)),
        Ok(record) => all.extend(before_the_ledger(record.story.first, period)),
    }
    for (region, look) in &evidence.regions {
        if let (Err(why), Err(trail), Err(spot)) = (&look.survey, &look.trail, &look.spot)
            && why == trail
            && why == spot
        {
            all.push(missing(format!("{region}: the account (Describe, CloudTrail, spot prices)"), why));
            continue;
        }
        match &look.survey {
            Err(why) => all.push(missing(format!("{region}: what there is (Describe)"), why)),
            Ok(survey) => all.extend(survey.gaps.iter().map(|gap| Unseen {
                what: format!("{region}: {}", gap.kind.plural()),
                why: gap.failure.to_string(),
                cure: Some(gap.failure.kind.cure().to_owned()),
            })),
        }
        match &look.trail {
            Err(why) => all.push(missing(format!("{region}: who did what (CloudTrail)"), why)),
            Ok(trail) => all.extend(trail.gaps.iter().filter(|gap| !is_young(gap)).map(|gap| of_trail(region, gap))),
        }
        if let Err(why) = &look.spot {
            all.push(missing(format!("{region}: history of spot prices"), why));
        }
    }
    if evidence.regions.is_empty() {
        all.push(never("the account itself", "nobody looked at it", Some("run it with the owner's credentials")));
    }
    if let Err(why) = &evidence.rebakes {
        all.push(missing("what rebakes did".to_owned(), why));
    }
    if evidence.shared_account {
        all.push(never(
            "what of the account names no owner",
            "another owner of the fleet has the same account: what has no tag latent:owner is told to nobody",
            Some("an account for each owner"),
        ));
    }
    all.extend(never_seen());
    all
}

/// Whether it is only that CloudTrail is always late: its source says so.
pub(super) fn is_young(gap: &TrailGap) -> bool {
    gap.why.code == "TooYoung"
}

fn of_trail(region: &Region, gap: &TrailGap) -> Unseen {
    let call = gap.call.as_ref().map(|call| format!(" of {call}")).unwrap_or_default();
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    Unseen {
        what: format!("{region}: CloudTrail's events{call} from {} to {}", day(gap.from), day(gap.to)),
        why: format!("cloudtrail:LookupEvents: {}", gap.why),
        cure: Some(gap.why.kind.cure().to_owned()),
    }
}

fn before_the_ledger(first: Option<DateTime<Utc>>, period: Period) -> Option<Unseen> {
    let what = match first {
        None => "what the machines were used for".to_owned(),
        Some(first) if first > period.since => format!("what was before {}", first.format("%Y-%m-%d %H:%M UTC")),
        Some(_) => return None,
    };
    let why = "the ledger begins later than the period, or was lost";
    Some(Unseen { what, why: why.to_owned(), cure: Some("ask for a shorter period with --since".to_owned()) })
}

/// What no report of this kind sees.
fn never_seen() -> Vec<Unseen> {
    let bill = "the bill of Amazon alone tells it";
    vec![
        never("traffic, NAT gateways, load balancers", bill, Some("Cost Explorer in the owner's account")),
        never("taxes, credits, the free tier, support", bill, Some("the invoice")),
        never(
            "discounts: Savings Plans, reserved instances, agreed prices",
            "every price here is the list price",
            None,
        ),
        never(
            "regions that are not named here, and instances without the fleet's tag",
            "only what the fleet may have made is looked at",
            Some("latent sweep --all-regions; or the console"),
        ),
        never(
            "performance bought for disks, T-type credits, monitoring, licences beyond Windows",
            "the table of prices has none of it",
            Some("Cost Explorer in the owner's account"),
        ),
    ]
}

/// Every assumption that the amounts rest on.
pub(super) fn assumptions() -> Vec<String> {
    let lines = [
        "Every amount is an estimate from list prices, as low and high; the invoice is Amazon's.",
        "An instance is billed by the second while it runs, for a minute at least for each start; stopped it costs \
         its disks.",
        "What a second was used for is what the controller's ledger says; without a ledger it is unknown.",
        "Times of the ledger are when the controller saw something: they may differ from EC2's by a poll, seconds to \
         a minute; so records count as different only beyond 3 minutes for each start and 1 %.",
        "A start counts from the launch call, although the seconds until EC2 shows it running are not billed.",
        "A spot instance costs what its zone's price was, hour by hour, where EC2's history tells it; otherwise \
         anything from nothing up to the list price.",
        "Disks cost by size and type from their instance's launch until its end; performance bought beside it is not \
         counted.",
        "A snapshot costs at most its volume's whole size: only changed blocks are stored, and no list tells how \
         many.",
        "A public IPv4 address costs by the hour, in use or idle; an automatic one goes when its instance stops.",
        "A month has 730 hours. What goes over midnight UTC is split there by seconds, rounded up to a micro-dollar: \
         the days may come to a few millionths of a dollar more than the total.",
        "Savings are what the present use would cost less over a month that is like this period; they are not \
         promised.",
    ];
    lines.map(ToOwned::to_owned).to_vec()
}

/// How to shut everything off, step by step.
pub(super) fn shut_off(evidence: &Evidence<'_>) -> Vec<String> {
    let owner = evidence.owner;
    let account = evidence.account.map(|number| format!(" {number}")).unwrap_or_default();
    let regions: Vec<String> = evidence.regions.keys().map(ToString::to_string).collect();
    let whereabouts = if regions.is_empty() { "each region".to_owned() } else { regions.join(", ") };
    let mut steps = vec![format!(
        "In the AWS console of account{account}, IAM, Roles: delete the role that the fleet assumes. From then on the \
         controller can launch nothing more, and end nothing either."
    )];
    if evidence.intent.is_some() {
        steps.push(format!("Ask the fleet's admin to take [owner.{owner}] and its workers out of latent.toml."));
        steps.push(format!("See what is left, then take it away: latent sweep --owner {owner}, then with --apply."));
    } else {
        let flags: Vec<String> = evidence.regions.keys().map(|region| format!(" --region {region}")).collect();
        steps.push(format!(
            "With your own credentials: latent sweep{} --fleet {}, then with --apply.",
            flags.concat(),
            evidence.fleet
        ));
    }
    steps.push(format!(
        "Without this program: console, EC2, Instances, in {whereabouts}: filter by the tag latent:fleet = {}, select \
         all, Instance state, Terminate.",
        evidence.fleet
    ));
    steps.push(
        "Then, in the same regions, with the same filter: Volumes, Snapshots, AMIs, Elastic IPs, Spot Requests. What \
         you made yourself has no such tag."
            .to_owned(),
    );
    steps
}
