//! One paragraph of what holds for a worker, since when, until when, and what would change it.

use chrono::{DateTime, Utc};

use super::words::span;
use crate::control::{BoundView, CanaryView, LeversView, WorkerView};
use crate::model::{IdleBasis, IdleChoice, counted};
use crate::policy::price::Money;

fn at(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What holds for the worker, in sentences.
pub(crate) fn paragraph(now: DateTime<Utc>, worker: &WorkerView) -> String {
    let who = format!("Worker {} (owner {}, image {}, {})", worker.worker, worker.owner, worker.image, worker.region);
    let mut sentences = vec![match worker.since {
        Some(since) => format!("{who} is {} since {} ({} ago).", worker.state, at(since), span(now - since)),
        None => format!("{who} is {}: nothing was ever launched for it.", worker.state),
    }];
    if let Some(instance) = &worker.instance {
        let kind = worker.instance_type.as_deref().unwrap_or("unknown type");
        let market = worker.market.as_deref().map(|market| format!(", {market}")).unwrap_or_default();
        let seen = worker.instance_state.as_deref().unwrap_or("not listed yet");
        let ami = worker.ami.as_deref().map(|ami| format!(", from {ami}")).unwrap_or_default();
        sentences.push(format!("Its instance is {instance} ({kind}{market}{ami}), which EC2 shows as {seen}."));
    }
    if let Some(price) = &worker.price {
        sentences.push(format!("An hour of it costs {price:#} (list price, without disks)."));
    }
    if let Some(at) = worker.interruption {
        let at = at.format("%H:%M:%SZ");
        sentences.push(format!("EC2 said at {at} that it takes it back: it ends within two minutes of that."));
    }
    sentences.extend(worker.canary.as_ref().map(of_canary));
    if let Some(build) = &worker.build {
        sentences.push(format!("It runs build {build}."));
    }
    if let Some(held) = &worker.held {
        sentences.push(format!("Nothing is done now: {held}."));
    }
    if let Some(guest) = worker.turned_away.first() {
        let who = guest.instance.as_deref().or(guest.peer.as_deref()).unwrap_or("somebody");
        sentences.push(format!(
            "{who} knocked with its password and was turned away at {}: {}.",
            at(guest.at),
            guest.why
        ));
    }
    if let Some(failure) = &worker.failure {
        sentences.push(format!(
            "The last request failed in the {} phase: {}: {}; {}.",
            failure.phase, failure.code, failure.message, failure.cure
        ));
    }
    if !worker.departing.is_empty() {
        sentences.push(format!("On their way out: {}.", worker.departing.join(", ")));
    }
    sentences.extend(wear(&worker.levers));
    sentences.extend(warm(&worker.levers));
    sentences.extend(worker.levers.idle.as_ref().map(idle));
    if let Some(deadline) = worker.deadline {
        sentences.push(format!("Whatever happens, the instance is ended at {} (max_lifetime).", at(deadline)));
    }
    sentences.extend(worker.unattended.as_ref().map(worst_case));
    sentences.push(what_would_change_it(worker));
    sentences.join(" ")
}

/// What a rebake asks of it, and how far that has come.
fn of_canary(canary: &CanaryView) -> String {
    let CanaryView { rebake, ami, generation, phase, .. } = canary;
    let smoke = canary.smoke.as_ref().map(|builder| format!(", pass a build of {builder}")).unwrap_or_default();
    let why = canary.why.as_ref().and_then(|why| why.lines().next()).map(|why| format!(": {why}")).unwrap_or_default();
    let passed = [
        canary.connected_at.map(|time| format!("It connected at {}.", at(time))),
        canary.built.as_ref().map(|built| format!("Build {} ended with {}.", built.build, built.word())),
        canary.reconnected_at.map(|time| format!("It connected again at {}.", at(time))),
    ];
    let passed = passed.into_iter().flatten().collect::<Vec<String>>().join(" ");
    format!(
        "Rebake {rebake} has a canary of {ami}, generation {generation}: it shall connect{smoke}, stop, start and \
         connect again. It is {phase}{why}. {passed}"
    )
}

/// How long its instance may serve yet, by builds and by age.
fn wear(levers: &LeversView) -> Vec<String> {
    let builds = levers.builds.zip(levers.builds_max).map(|(builds, most)| {
        format!("{builds} of the {} that its instance may run have begun (max_builds).", counted(most, "build"))
    });
    let age = levers.aged_at.map(|time| format!("From {} it goes when its build is over (max_age).", at(time)));
    [builds, age].into_iter().flatten().collect()
}

/// Its warm window, or the next one.
fn warm(levers: &LeversView) -> Option<String> {
    let open = levers.warm_until.map(|time| {
        format!(
            "Until {} it is kept warm (warm): it is not taken away for being idle, and launched by itself.",
            at(time)
        )
    });
    open.or_else(|| levers.warm_from.map(|time| format!("Its next warm window begins at {} (warm).", at(time))))
}

/// How long it is kept idle by the choice of `idle_timeout = "auto"`, and why.
fn idle(chosen: &IdleChoice) -> String {
    let seconds = |seconds: u32| span(chrono::TimeDelta::seconds(seconds.into()));
    let money = |amount: u64| format!("{:#}", Money::micro_dollars(amount));
    let time = seconds(chosen.seconds);
    let by = match chosen.basis {
        IdleBasis::History => {
            format!("this would have cost the least over the last {} that it was idle", counted(chosen.gaps, "time"))
        }
        IdleBasis::BreakEven => format!(
            "idling costs as much as the next start then, and too few times that it was idle are known ({}) to choose \
             better",
            chosen.gaps
        ),
        IdleBasis::Unpriced => "no price of it is known, so this is a fixed time".to_owned(),
    };
    let start = match chosen.boots {
        0 => format!("a start is taken to last {}", seconds(chosen.boot_seconds)),
        boots => format!("a start lasts {} (median of {boots})", seconds(chosen.boot_seconds)),
    };
    let even = chosen.break_even_seconds.map(|even| format!("; that costs as much as {} of idling", seconds(even)));
    let hour = chosen.hourly.map_or_else(String::new, |hourly| format!("an hour costs up to {}, ", money(hourly)));
    let weighed =
        format!("{hour}an hour of a build's waiting counts as {} (wait_price), {start}", money(chosen.wait_price));
    format!(
        "idle_timeout = \"auto\" keeps it idle for {time}: {by}. Weighed were: {weighed}{}.",
        even.unwrap_or_default()
    )
}

/// What it may cost when nobody comes back.
fn worst_case(bound: &BoundView) -> String {
    let longest = bound.seconds.map(|seconds| span(chrono::TimeDelta::seconds(seconds))).unwrap_or_default();
    // Of a spot price nobody knows more than that it is not above the list's.
    let cost = bound.cost.map(|cost| format!(", {} (list price, without disks)", cost.high)).unwrap_or_default();
    let stays = if bound.stops { " It is then stopped, and its disks cost until it is ended." } else { "" };
    match bound.layer.as_str() {
        "lease" => {
            format!(
                "Worst case unattended: {longest}{cost}, then its guest powers it off because its lease is over.{stays}"
            )
        }
        "deadline" => format!(
            "Worst case unattended: {longest}{cost} after its launch, when its guest powers it off at its deadline; an \
             instance of this type does not see its lease renewed.{stays}"
        ),
        _ => "Worst case unattended: until the next sweep, because there is no lease watch in its guest.".to_owned(),
    }
}

fn what_would_change_it(worker: &WorkerView) -> String {
    match worker.state.as_str() {
        "gone" => "A build that the master assigns to it, or `latent start`, launches an instance.".to_owned(),
        "requested" | "launching" => format!(
            "The request fails when there is no instance within {}.",
            span(chrono::TimeDelta::seconds(worker.launch_deadline_s))
        ),
        "registering" => format!(
            "It becomes ready when the worker connects, and is taken away when that takes more than {}.",
            span(chrono::TimeDelta::seconds(worker.connect_deadline_s))
        ),
        "ready" | "busy" if worker.levers.warm_until.is_some() => {
            "It is kept while idle until the window is over; `latent stop` takes it away.".to_owned()
        }
        "ready" | "busy" => worker.idle_timeout_s.map_or_else(
            || "It is kept while idle (idle_timeout = never); `latent stop` takes it away.".to_owned(),
            |seconds| {
                let idle = span(chrono::TimeDelta::seconds(seconds));
                format!("It is taken away after {idle} without a build, by `latent stop`, or kept by `latent hold`.")
            },
        ),
        "draining" => "It goes as soon as the master lets it, which it does between builds.".to_owned(),
        "stopped" => "The next request starts it again.".to_owned(),
        _ => "It is gone when EC2 shows it as terminated.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str) -> WorkerView {
        let view = serde_json::json!({
            "worker": "w", "owner": "o", "region": "us-west-2", "image": "i", "state": state,
            "since": "2026-03-02T08:00:00Z", "addresses": [], "waiting": false, "departing": [],
            "idle_timeout_s": 600, "master_silence_s": 300, "connect_deadline_s": 900, "launch_deadline_s": 480,
        });
        serde_json::from_value(view).expect("a view")
    }

    #[test]
    fn the_worst_case_is_told_with_what_ends_it() {
        let told = |layer: &str, seconds| {
            worst_case(&BoundView { layer: layer.to_owned(), seconds, cost: None, stops: false })
        };
        assert!(told("lease", Some(46 * 60)).starts_with("Worst case unattended: 46m, then"));
        assert!(told("deadline", Some(28_860)).contains(": 8h01m after its launch"));
        let stopped = worst_case(&BoundView { layer: "lease".to_owned(), seconds: Some(600), cost: None, stops: true });
        assert!(stopped.ends_with("its disks cost until it is ended."));
        assert!(told("sweep", None).contains(": until the next sweep, because"));
    }

    #[test]
    fn a_warm_window_is_told() {
        let time = "2026-03-02T18:00:00Z".parse().ok();
        let open = LeversView { warm_until: time, ..LeversView::default() };
        assert!(warm(&open).is_some_and(|told| told.starts_with("Until 2026-03-02 18:00:00Z it is kept warm")));
        let kept = WorkerView { idle_timeout_s: None, levers: open, ..view("ready") };
        assert!(what_would_change_it(&kept).contains("until the window is over"));
        let next = LeversView { warm_from: time, ..LeversView::default() };
        assert!(warm(&next).is_some_and(|told| told.contains("begins at 2026-03-02 18:00:00Z")));
    }

    #[test]
    fn what_wears_an_instance_out_is_told() {
        let levers = LeversView {
            builds: Some(3),
            builds_max: Some(10),
            aged_at: "2026-03-02T12:00:00Z".parse().ok(),
            ..LeversView::default()
        };
        let told = wear(&levers).join(" ");
        assert!(told.contains("3 of the 10 builds") && told.contains("From 2026-03-02 12:00:00Z"), "{told}");
        assert!(wear(&LeversView::default()).is_empty());
    }

    #[test]
    fn a_chosen_idle_time_is_told_with_what_it_was_chosen_by() {
        let chosen = IdleChoice {
            seconds: 240,
            basis: IdleBasis::History,
            hourly: Some(105_800),
            wait_price: 1_000_000,
            boot_seconds: 42,
            boots: 12,
            gaps: 34,
            break_even_seconds: Some(456),
        };
        let told = idle(&chosen);
        assert!(told.contains("keeps it idle for 4m: this would have cost the least over the last 34 times"), "{told}");
        assert!(told.contains("up to $0.1058, an hour of a build's waiting counts as $1.00 (wait_price)"), "{told}");
        assert!(told.ends_with("a start lasts 42s (median of 12); that costs as much as 7m36s of idling."), "{told}");
        let few = IdleChoice { basis: IdleBasis::BreakEven, gaps: 2, boots: 0, ..chosen.clone() };
        let told = idle(&few);
        assert!(told.contains("are known (2)") && told.contains("a start is taken to last 42s"), "{told}");
        let unpriced = IdleChoice { basis: IdleBasis::Unpriced, hourly: None, break_even_seconds: None, ..chosen };
        let told = idle(&unpriced);
        assert!(told.contains("a fixed time. Weighed were: an hour of a build") && told.ends_with("12)."), "{told}");
    }

    #[test]
    fn every_state_says_what_would_change_it() {
        let states = [
            ("gone", "launches an instance"),
            ("requested", "no instance within 8m"),
            ("launching", "no instance within 8m"),
            ("registering", "taken away when that takes more than 15m"),
            ("ready", "after 10m without a build"),
            ("busy", "after 10m without a build"),
            ("draining", "as soon as the master lets it"),
            ("terminating", "EC2 shows it as terminated"),
            ("stopped", "The next request starts it again"),
        ];
        for (state, change) in states {
            let shown = paragraph("2026-03-02T08:05:00Z".parse().expect("a time"), &view(state));
            assert!(shown.starts_with(&format!("Worker w (owner o, image i, us-west-2) is {state} since")), "{shown}");
            assert!(shown.contains("(5m ago)") && shown.contains(change), "{shown}");
        }
        let kept = WorkerView { idle_timeout_s: None, ..view("ready") };
        assert!(what_would_change_it(&kept).contains("idle_timeout = never"));
    }
}
