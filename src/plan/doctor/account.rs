//! The owner's account: who we are there, what we may do and should not, quotas, the clock.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::ask::{Questions, SWEPT, stops};
use super::facts::CellFacts;
use super::quota::Group;
use super::row::{Row, Sheet, Subject};
use crate::model::{Cell, FailureKind, ImageName, LaunchSpec, Market, Seen, Trial, Tried, Unseen, tag_keys};
use crate::policy::{Image, Intent};

/// A clock that is off by more than this shortens leases and deadlines noticeably.
const SKEW_WARNING: TimeDelta = TimeDelta::minutes(1);
/// EC2 refuses signatures that are off by a quarter of an hour.
const SKEW_PROBLEM: TimeDelta = TimeDelta::minutes(10);

/// The rows of a cell.
pub(super) fn rows(intent: &Intent, cell: &Cell, asked: &Questions, facts: &CellFacts) -> Vec<Row> {
    let mut sheet = Sheet::new(Subject::cell(cell));
    credentials(&mut sheet, intent, cell, facts);
    clock(&mut sheet, facts.skew);
    if let Err(why) = facts.open(intent, cell) {
        let cure = "see the rows above; everything else is looked at when they are right";
        sheet.unknown("everything else", format!("was not looked at: {why}"), cure);
        return sheet.rows;
    }
    permissions(&mut sheet, intent, asked, facts);
    excess(&mut sheet, facts);
    quotas(&mut sheet, intent, asked, facts);
    imds(&mut sheet, facts);
    sheet.rows
}

fn credentials(sheet: &mut Sheet, intent: &Intent, cell: &Cell, facts: &CellFacts) {
    let identity = match &facts.greeting.identity {
        Ok(identity) => identity,
        Err(why) if matches!(why.kind, FailureKind::Credentials | FailureKind::Owner) => {
            let cure = "correct the owner's credentials in latent.toml, or the role's trust policy and external id";
            return sheet.problem("credentials", why.to_string(), cure);
        }
        Err(why) => return sheet.unseen("credentials", "sts:GetCallerIdentity", why),
    };
    sheet.ok("credentials", &identity.arn);
    let configured = intent.owners.get(&cell.owner).and_then(|owner| owner.account.as_deref());
    let Some(configured) = configured else {
        return sheet.ok("account", format!("{}, learnt: a master declares this owner", identity.account));
    };
    if identity.account == configured {
        sheet.ok("account", configured);
    } else {
        let seen = format!("{}, and latent.toml says {configured}", identity.account);
        sheet.problem("account", seen, "name the role or profile of the right account, or correct account");
    }
}

fn clock(sheet: &mut Sheet, skew: Option<TimeDelta>) {
    let Some(skew) = skew else {
        return sheet.unknown("clock", "the answer had no time", "see the row of the credentials");
    };
    let (off, way) = (skew.abs(), if skew < TimeDelta::zero() { "ahead of" } else { "behind" });
    let seen = format!("this machine is {} s {way} AWS", off.num_seconds());
    let cure = "let this machine keep its time by NTP (chrony, systemd-timesyncd)";
    if off >= SKEW_PROBLEM {
        sheet.problem("clock", seen, cure);
    } else if off >= SKEW_WARNING {
        sheet.warning("clock", seen, cure);
    } else {
        // Answers tell whole seconds, and take some time to come.
        sheet.ok("clock", if off.num_seconds() > 5 { seen } else { "agrees with AWS".to_owned() });
    }
}

fn permissions(sheet: &mut Sheet, intent: &Intent, asked: &Questions, facts: &CellFacts) {
    read(sheet, "ec2:DescribeInstances", &facts.instances);
    for (ami, seen) in &facts.amis {
        // An AMI that is not there was looked for with success.
        if seen.as_ref().err().is_none_or(Unseen::is_absent) {
            sheet.ok("permission", "ec2:DescribeImages");
            break;
        }
        read(sheet, &format!("ec2:DescribeImages ({ami})"), seen);
    }
    let not_asked = Err(Unseen::skipped("it was not asked for"));
    for (kind, action) in SWEPT {
        read(sheet, action, facts.ours.get(&kind).unwrap_or(&not_asked));
    }
    match &facts.dry_runs {
        Ok(true) => {}
        Ok(false) => {
            let seen = "this endpoint does what it is asked although it is a dry run: nothing was tried";
            let cure = "ask EC2 itself: remove endpoint from the owner, or use an emulator that knows DryRun";
            return sheet.unknown("permission", seen, cure);
        }
        Err(why) => return sheet.unseen("permission", "a dry run of ec2:DescribeInstances", why),
    }
    let mut needed = vec![
        ("ec2:TerminateInstances", facts.of_trial(|trial| matches!(trial, Trial::Terminate(_)))),
        ("ec2:CreateTags (leases)", facts.of_trial(|trial| matches!(trial, Trial::Renew(..)))),
    ];
    // Nothing but the reason of a failure is lost without it.
    match facts.of_trial(|trial| matches!(trial, Trial::Console(_))) {
        Some(Tried::Denied) => {
            let seen = "ec2:GetConsoleOutput is not allowed: a worker that never connects gives no reason";
            sheet.warning("permission", seen, sheet.iam("allow it"));
        }
        tried => needed.push(("ec2:GetConsoleOutput", tried)),
    }
    if stops(intent, asked) {
        needed.push(("ec2:StopInstances", facts.of_trial(|trial| matches!(trial, Trial::Stop(_)))));
        needed.push(("ec2:StartInstances", facts.of_trial(|trial| matches!(trial, Trial::Start(_)))));
    }
    for (action, tried) in needed {
        let Some(tried) = tried else {
            untried(sheet, action, facts);
            continue;
        };
        one_needed(sheet, action, tried);
    }
    // A leftover that is not there needs no removal: what cannot be tried for that reason has no row.
    for (trial, tried) in &facts.tried {
        if let Trial::Remove(_) = trial {
            one_needed(sheet, &format!("ec2:{}", trial.action()), tried);
        }
    }
}

fn one_needed(sheet: &mut Sheet, action: &str, tried: &Tried) {
    match tried {
        Tried::Allowed => sheet.ok("permission", action),
        Tried::Denied => {
            sheet.problem("permission", format!("{action} is not allowed"), sheet.iam("allow it"));
        }
        Tried::Otherwise(why) => sheet.unseen("permission", action, why),
    }
}

/// Nothing was there to try it on.
fn untried(sheet: &mut Sheet, action: &str, facts: &CellFacts) {
    if facts.instances.is_err() {
        let seen = format!("{action}: nothing to try it on: no instance can be seen");
        return sheet.unknown("permission", seen, "see the row of ec2:DescribeInstances");
    }
    let seen = format!("{action}: nothing to try it on: no instance of the fleet is there");
    sheet.unknown("permission", seen, "`latent start WORKER`, and ask again while it runs");
}

/// A read proves its own permission.
fn read<T>(sheet: &mut Sheet, action: &str, seen: &Seen<T>) {
    match seen {
        Ok(_) => sheet.ok("permission", action),
        Err(why) if why.is_denied() => {
            sheet.problem("permission", format!("{action} is not allowed"), sheet.iam("allow it"));
        }
        Err(why) => sheet.unseen("permission", action, why),
    }
}

/// What is wrong about being allowed this, if anything is.
fn too_much(trial: &Trial) -> Option<String> {
    Some(match trial {
        Trial::Launch(_)
        | Trial::Terminate(_)
        | Trial::Stop(_)
        | Trial::Start(_)
        | Trial::Renew(..)
        | Trial::Console(_)
        | Trial::Remove(_) => return None,
        Trial::LaunchUntagged(_) => format!("may launch without the tag {}", tag_keys::FLEET),
        Trial::LaunchOldMetadata(_) => "may launch with IMDSv1".to_owned(),
        Trial::LaunchForeignType(spec) => {
            format!("may launch {}, which no manifest names", spec.offering.instance_type)
        }
        Trial::TerminateForeign(id) => format!("may terminate {id}, which is not the fleet's"),
        Trial::Claim(id) => format!("may put the tag {} on {id}, which is not the fleet's", tag_keys::FLEET),
        Trial::Disown(id) => format!("may take tags off {id}"),
        Trial::ReadUserData(id) => format!("may read the user data of {id}, where a password may stand"),
        Trial::Modify(id) => format!("may change attributes of {id}, its user data among them"),
        Trial::CreateGroup => "may make security groups".to_owned(),
        Trial::OpenGroup(id) => format!("may open {id} to everybody"),
        Trial::CreateKeyPair => "may make key pairs".to_owned(),
        Trial::Deregister(ami) => format!("may take {ami} away"),
    })
}

fn excess(sheet: &mut Sheet, facts: &CellFacts) {
    let mut denied = 0;
    for (trial, tried) in &facts.tried {
        let Some(what) = too_much(trial) else { continue };
        let action = format!("ec2:{}", trial.action());
        match tried {
            Tried::Denied => denied += 1,
            Tried::Allowed => {
                sheet.warning("excess", format!("{what} ({action})"), sheet.iam("narrow the role"));
            }
            Tried::Otherwise(why) => {
                sheet.unknown("excess", format!("whether it {what}: {why}"), sheet.cure_of(&action, why));
            }
        }
    }
    if denied > 0 {
        sheet.ok("excess", format!("{denied} things that a worker's role should not be allowed are refused"));
    }
}

fn quotas(sheet: &mut Sheet, intent: &Intent, asked: &Questions, facts: &CellFacts) {
    let mut wanted: BTreeMap<(&str, Market), (&Group, Vec<&str>)> = BTreeMap::new();
    for (name, workers) in &asked.images {
        let Some(first) = intent.images.get(name).and_then(|image| image.offerings.first()) else { continue };
        let kind = first.instance_type.as_str();
        let Some(group) = Group::of(kind) else {
            let seen = format!("which one {kind} counts against is not known here");
            sheet.unknown("quota", seen, "look at Service Quotas, Amazon EC2, in the owner's console");
            continue;
        };
        let entry = wanted.entry((group.name, first.market)).or_insert((group, Vec::new()));
        entry.1.extend(workers.iter().map(|_| kind));
    }
    for ((_, market), (group, kinds)) in wanted {
        quota(sheet, intent, group, market, &kinds, facts);
    }
}

/// Whether the workers' first choices fit beside what others run.
fn quota(sheet: &mut Sheet, intent: &Intent, group: &Group, market: Market, kinds: &[&str], facts: &CellFacts) {
    let (Some(instances), Some(types)) = (
        sheet.look("quota", "ec2:DescribeInstances", &facts.instances),
        sheet.look("quota", "ec2:DescribeInstanceTypes", &facts.types),
    ) else {
        return;
    };
    let not_asked = Err(Unseen::skipped("it was not asked for"));
    let value = facts.quotas.get(group.code(market)).unwrap_or(&not_asked);
    let by_hand = "look at Service Quotas, Amazon EC2, in the owner's console";
    let limit = match value {
        Err(why) if why.kind == FailureKind::Owner => {
            return sheet.unknown("quota", format!("servicequotas:GetServiceQuota: {why}"), by_hand);
        }
        value => sheet.look("quota", "servicequotas:GetServiceQuota", value),
    };
    let Some(limit) = limit else { return };
    let others = instances.iter().filter(|instance| {
        instance.state.is_live()
            && instance.market == market
            && Group::of(&instance.instance_type) == Some(group)
            && instance.tags.get(tag_keys::FLEET) != Some(&intent.fleet.name)
    });
    let sizes = |kinds: Vec<&str>| kinds.into_iter().map(|kind| types.get(kind).map(|known| known.vcpus)).collect();
    let used: Option<Vec<u32>> = sizes(others.map(|instance| instance.instance_type.as_str()).collect());
    let needed: Option<Vec<u32>> = sizes(kinds.to_vec());
    let (Some(used), Some(needed)) = (used, needed) else {
        let seen = "the size of an instance type, of a manifest or of an instance, is not known";
        return sheet.unknown("quota", seen, by_hand);
    };
    let (used, all) = (f64::from(used.iter().sum::<u32>()), f64::from(needed.iter().sum::<u32>()));
    let one = f64::from(needed.iter().copied().min().unwrap_or(0));
    let free = (limit - used).max(0.0);
    let seen = format!(
        "{} {market}: {free} of {limit} vCPUs are free for the fleet; all workers together need {all}",
        group.name
    );
    let cure = "the owner asks for more in Service Quotas, Amazon EC2, or ends other instances";
    if free < one {
        sheet.problem("quota", seen, cure);
    } else if free < all {
        sheet.warning("quota", seen, cure);
    } else {
        sheet.ok("quota", seen);
    }
}

/// Each launch of ours says what it wants but whether the service is there at all.
fn imds(sheet: &mut Sheet, facts: &CellFacts) {
    let action = "ec2:GetInstanceMetadataDefaults";
    let Some(defaults) = sheet.look("IMDS of account", action, &facts.imds) else { return };
    if defaults.off {
        let cure = "enable the endpoint in the account's IMDS defaults (EC2 console, Data protection and security)";
        return sheet.problem("IMDS of account", "it is off by default: a guest can read neither lease nor tags", cure);
    }
    let tokens = defaults.tokens.as_deref().unwrap_or("not set");
    let hops = defaults.hop_limit.map_or_else(|| "not set".to_owned(), |hops| hops.to_string());
    sheet.ok("IMDS of account", format!("on; default tokens {tokens}, hop limit {hops}; ours are set by each launch"));
}

/// The rows about launching from an image.
pub(super) fn launches(sheet: &mut Sheet, image: &Image, name: &ImageName, facts: &CellFacts) {
    if facts.dry_runs != Ok(true) {
        return;
    }
    let of_image = |spec: &LaunchSpec| spec.tags.get(tag_keys::IMAGE) == Some(name.as_str());
    let tried = facts.tried.iter().filter_map(|(trial, tried)| match trial {
        Trial::Launch(spec) if of_image(spec) => Some((&spec.offering, tried)),
        _ => None,
    });
    let mut allowed = 0;
    for (offering, tried) in tried {
        match tried {
            Tried::Allowed => allowed += 1,
            Tried::Denied => {
                let seen = format!("{offering}: ec2:RunInstances, or ec2:CreateTags with it, is not allowed");
                sheet.problem("launch", seen, sheet.iam("allow it"));
            }
            Tried::Otherwise(why)
                if matches!(why.kind, FailureKind::Owner | FailureKind::Elsewhere | FailureKind::Quota) =>
            {
                sheet.problem("launch", format!("{offering}: {why}"), why.kind.cure());
            }
            Tried::Otherwise(why) => sheet.unseen("launch", &format!("{offering}: ec2:RunInstances"), why),
        }
    }
    if allowed > 0 {
        let all = image.offerings.len();
        let runs = if allowed == 1 { "1 dry run".to_owned() } else { format!("{allowed} dry runs") };
        sheet.ok("launch", format!("{runs}, with every type, place and market of {all} offerings"));
    }
}
