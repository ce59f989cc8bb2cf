//! Which instances are left over.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Claim, Claims, Confidence, Draft, SweepView, Verdict, said};
use crate::model::{AmiId, Instance, InstanceState, LeftoverKind, Survey, tag_keys};

/// The age of an instance that survives a stop and a start, and how it is known.
fn age(instance: &Instance) -> (Option<DateTime<Utc>>, &'static str) {
    // What EC2 says comes before what anybody may write into a tag.
    let attached = instance.attached_at.map(|at| (at, "its first disk or interface"));
    let tag = || instance.tags.time(tag_keys::CREATED).map(|at| (at, "its tag latent:created"));
    match attached.or_else(tag) {
        Some((at, from)) => (Some(at), from),
        // It moves at every start: younger than the truth, never older.
        None => (instance.launch_time, "its last start"),
    }
}

fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn verdict(view: &SweepView<'_>, amis: &BTreeSet<&AmiId>, instance: &Instance) -> Verdict {
    if instance.tags.get(tag_keys::FLEET).is_none() {
        return untagged(view, amis, instance);
    }
    if !view.ours(&instance.tags) || instance.state.is_ending() {
        return Verdict::NotOurs;
    }
    let role = instance.tags.get(tag_keys::ROLE);
    let bakes = matches!(role, Some("rebake" | "canary"));
    if view.me.is_some() && view.me == instance.tags.get(tag_keys::CONTROLLER) && !bakes {
        return Verdict::Kept("the controller's own loop speaks for it".to_owned());
    }
    if let InstanceState::Unknown(state) = &instance.state {
        return Verdict::Kept(format!("nobody knows what its state {state:?} means"));
    }
    let found = match role {
        Some("worker") => worker(view, instance),
        Some(_) if bakes => bake(view, instance),
        Some(role) => Err(format!("its tag {} is unreadable: {role:?}", tag_keys::ROLE)),
        None => Err(format!("it has no tag {}", tag_keys::ROLE)),
    };
    match found {
        Ok(draft) => Verdict::Found(draft),
        Err(why) => Verdict::Kept(why),
    }
}

/// A draft of a kind, or why it is kept.
type Found = Result<Draft, String>;

fn draft(instance: &Instance, kind: LeftoverKind, confidence: Confidence, reason: String) -> Draft {
    let (since, age_from) = age(instance);
    let evidence = vec![format!("state {}", instance.state)];
    Draft { kind, reason, evidence, confidence, since, age_from, sure: false, only_told: None }
}

/// The deadline of an instance, by its tag.
fn deadline(instance: &Instance) -> Result<DateTime<Utc>, String> {
    match instance.tags.get(tag_keys::DEADLINE) {
        Some(text) => text.parse().map_err(|_| format!("its tag {} is no time", tag_keys::DEADLINE)),
        None => Err(format!("it has no tag {}", tag_keys::DEADLINE)),
    }
}

fn past_deadline(view: &SweepView<'_>, instance: &Instance, kind: LeftoverKind) -> Result<Option<Draft>, String> {
    let deadline = deadline(instance)?;
    if deadline > view.now {
        return Ok(None);
    }
    let over = view.now - deadline;
    let mut found = draft(instance, kind, Confidence::Certain, format!("its deadline was {} ago", said(over)));
    found.evidence.push(format!("{} = {}", tag_keys::DEADLINE, clock(deadline)));
    found.sure = over >= view.policy.grace;
    Ok(Some(found))
}

/// A builder or a canary of a rebake.
fn bake(view: &SweepView<'_>, instance: &Instance) -> Found {
    match past_deadline(view, instance, LeftoverKind::BakeOverdue)? {
        Some(found) => Ok(found),
        None => Err("a rebake works with it, until its deadline".to_owned()),
    }
}

fn worker(view: &SweepView<'_>, instance: &Instance) -> Found {
    if let Some(claims) = view.claims_of(&instance.tags) {
        return claimed(view, instance, claims);
    }
    if let Some(found) = past_deadline(view, instance, LeftoverKind::Expired)? {
        return Ok(found);
    }
    if !instance.state.is_live() {
        return stopped(view, instance);
    }
    unattended(view, instance)
}

/// No controller could be asked: its lease says whether one vouches for it.
fn unattended(view: &SweepView<'_>, instance: &Instance) -> Found {
    let text = instance.tags.get(tag_keys::LEASE).ok_or_else(|| format!("it has no tag {}", tag_keys::LEASE))?;
    let lease: DateTime<Utc> = text.parse().map_err(|_| format!("its tag {} is no time", tag_keys::LEASE))?;
    if lease > view.now {
        return Err(format!("its controller vouches for it until {}", clock(lease)));
    }
    let over = view.now - lease;
    let reason = format!("no controller has vouched for it for {}", said(over));
    let mut found = draft(instance, LeftoverKind::Unattended, Confidence::Strong, reason);
    found.evidence.push(format!("{} = {}", tag_keys::LEASE, clock(lease)));
    found.evidence.push("no controller could be asked".to_owned());
    found.sure = over >= view.policy.grace;
    Ok(found)
}

/// Stopped, and nobody says for what.
fn stopped(view: &SweepView<'_>, instance: &Instance) -> Found {
    if instance.state == InstanceState::Stopping {
        return Err("it is stopping".to_owned());
    }
    let Some(since) = instance.stopped_at else {
        return Err("it is stopped, and EC2 does not say since when".to_owned());
    };
    let length = view.now - since;
    if length < view.policy.stopped_max {
        return Err(format!("it has been stopped for {}", said(length)));
    }
    let reason = format!("it has been stopped for {}, and its disks cost", said(length));
    let found = draft(instance, LeftoverKind::StoppedTooLong, Confidence::Strong, reason);
    Ok(Draft { since: Some(since), age_from: "its stop", ..found })
}

/// Its controller answered: what it says counts.
fn claimed(view: &SweepView<'_>, instance: &Instance, claims: &Claims) -> Found {
    let live = instance.state.is_live();
    let told = |kind, reason: String| {
        let mut found = draft(instance, kind, Confidence::Strong, reason);
        found.evidence.push("its controller was asked".to_owned());
        found
    };
    match claims.instances.get(&instance.id) {
        Some(Claim::Used { worker }) => Err(format!("its controller says that {worker} uses it")),
        Some(Claim::Connecting { worker, until }) => {
            let late = view.now - *until;
            if late < view.policy.grace {
                return Err(format!("its controller waits for {worker} to connect"));
            }
            let reason = format!("{worker} should have connected {} ago", said(late));
            Ok(told(LeftoverKind::NeverConnected, reason))
        }
        Some(Claim::Stopped { worker }) if live => {
            Ok(told(LeftoverKind::StateSkew, format!("its controller takes it for stopped, for {worker}")))
        }
        Some(Claim::Stopped { worker }) => Err(format!("its controller keeps it stopped for {worker}")),
        Some(Claim::Ending { since }) => {
            let lasts = view.now - *since;
            if lasts < view.policy.grace {
                return Err("its controller is ending it".to_owned());
            }
            Ok(told(LeftoverKind::StateSkew, format!("its controller has been ending it for {}", said(lasts))))
        }
        None => unknown_to_its_controller(view, instance, live),
    }
}

fn unknown_to_its_controller(view: &SweepView<'_>, instance: &Instance, live: bool) -> Found {
    if let Some(mut found) = past_deadline(view, instance, LeftoverKind::Expired)? {
        found.evidence.push("its controller was asked and does not know it".to_owned());
        return Ok(found);
    }
    if !live {
        return stopped(view, instance);
    }
    match view.is_grown(age(instance).0) {
        Some(true) => {}
        Some(false) => return Err("its controller does not know it yet; it is young".to_owned()),
        None => return Err("its controller does not know it, and its age is not known".to_owned()),
    }
    let mut found =
        draft(instance, LeftoverKind::Orphan, Confidence::Strong, "its controller does not know it".to_owned());
    found.evidence.push("its controller was asked and has no record of it".to_owned());
    Ok(found)
}

/// Without a fleet's tag: told if it runs an AMI of ours, for it may be a zombie of another tool, such as
/// Buildbot's own EC2 worker, or the owner's own.
fn untagged(view: &SweepView<'_>, amis: &BTreeSet<&AmiId>, instance: &Instance) -> Verdict {
    let Some(ami) = instance.ami.as_ref().filter(|ami| amis.contains(ami)) else { return Verdict::NotOurs };
    if instance.state.is_ending() || view.me.is_some() {
        return Verdict::NotOurs;
    }
    let reason = format!("it runs {ami}, an AMI of the fleet, without the fleet's tag");
    let found = draft(instance, LeftoverKind::UntaggedOnOwnAmi, Confidence::Weak, reason);
    let only_told = format!("it may be yours; if it is not, name it with --id {}", instance.id);
    Verdict::Found(Draft { only_told: Some(only_told), ..found })
}

/// The AMIs of the fleet: the configuration names them, they carry the tag, or an instance of the fleet
/// runs them.
pub(super) fn amis_of_ours<'a>(view: &SweepView<'a>, survey: &'a Survey) -> BTreeSet<&'a AmiId> {
    let tagged = survey.amis().filter(|ami| view.ours(&ami.tags)).map(|ami| &ami.id);
    let run = survey.instances().filter(|instance| view.ours(&instance.tags)).filter_map(|one| one.ami.as_ref());
    view.own_amis.iter().chain(tagged).chain(run).collect()
}
