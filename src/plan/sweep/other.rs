//! What else is left over: disks, snapshots, interfaces, addresses, spot requests, AMIs, intents.

use chrono::{DateTime, Utc};

use super::plan::{Act, Finding};
use super::{Confidence, Draft, OpenIntent, SweepView, Verdict, said};
use crate::model::{
    Address, Ami, AmiState, InstanceState, LeftoverKind, Region, Resource, ResourceId, Snapshot, SpotRequest, Survey,
    TagSet, Volume, tag_keys,
};

/// A draft of a kind, or why it is kept.
type Found = Result<Draft, String>;

pub(super) fn verdict(view: &SweepView<'_>, survey: &Survey, id: &ResourceId, resource: &Resource) -> Verdict {
    if !view.ours(resource.tags()) {
        return Verdict::NotOurs;
    }
    let found = match resource {
        Resource::Volume(tags, volume) => available_volume(view, id, tags, volume),
        Resource::Snapshot(tags, snapshot) => lone_snapshot(view, survey, id, tags, snapshot),
        Resource::Interface(_, free) => free_interface(*free),
        Resource::Address(_, address) => idle_address(view, survey, id, address),
        Resource::SpotRequest(_, request) if !request.live => return Verdict::NotOurs,
        Resource::SpotRequest(_, request) => open_request(view, survey, request),
        Resource::Ami(ami) if ami.state == AmiState::Deregistered => return Verdict::NotOurs,
        Resource::Ami(ami) => old_ami(view, survey, ami),
        Resource::Instance(_) => return Verdict::NotOurs,
    };
    match found {
        Ok(draft) => Verdict::Found(draft),
        Err(why) => Verdict::Kept(why),
    }
}

fn draft(kind: LeftoverKind, since: Option<DateTime<Utc>>, age_from: &'static str, reason: String) -> Draft {
    let confidence = Confidence::Strong;
    Draft { kind, reason, evidence: Vec::new(), confidence, since, age_from, sure: false, only_told: None }
}

/// Why something of this age is left alone.
fn too_young(view: &SweepView<'_>, since: Option<DateTime<Utc>>) -> Result<(), String> {
    match view.is_grown(since) {
        Some(true) => Ok(()),
        Some(false) => Err("it is young".to_owned()),
        None => Err("its age is not known".to_owned()),
    }
}

fn available_volume(view: &SweepView<'_>, id: &ResourceId, tags: &TagSet, volume: &Volume) -> Found {
    if !volume.available {
        return Err(volume
            .instance
            .as_ref()
            .map_or_else(|| "it is not available".to_owned(), |id| format!("{id} has it")));
    }
    if view.stated.names_volume(id) {
        return Err("the configuration names it".to_owned());
    }
    if let Some(devices) = tags.get(tag_keys::OUTLIVES) {
        return Err(format!("its manifest said delete_on_termination = false ({devices}): its owner keeps it"));
    }
    too_young(view, volume.created)?;
    let reason = format!("{} GiB of {} are attached to nothing", volume.size_gib, volume.volume_type);
    let mut found = draft(LeftoverKind::VolumeAvailable, volume.created, "its creation", reason);
    found.evidence.push("state available".to_owned());
    Ok(found)
}

/// EC2 does not say when an interface was made: the two looks alone give it an age.
fn free_interface(free: bool) -> Found {
    if !free {
        return Err("it is in use".to_owned());
    }
    let mut found = draft(LeftoverKind::InterfaceAvailable, None, "unknown", "it is attached to nothing".to_owned());
    found.evidence.push("status available".to_owned());
    Ok(found)
}

fn idle_address(view: &SweepView<'_>, survey: &Survey, id: &ResourceId, address: &Address) -> Found {
    if view.stated.names_address(id, &address.ip) {
        return Err("the configuration names it".to_owned());
    }
    let (reason, only_told) = match &address.instance {
        None if address.associated => return Err("it is in use".to_owned()),
        None => (format!("{} is associated with nothing", address.ip), None),
        Some(id) => match survey.instance(id).map(|instance| &instance.state) {
            // EC2 releases no address that something has, and the instance may be started again with it.
            Some(InstanceState::Stopped) => (
                format!("{} belongs to {id}, which is stopped", address.ip),
                Some(format!("disassociate it from {id} if that does not need it any more")),
            ),
            _ => return Err(format!("{id} has it")),
        },
    };
    let found = draft(LeftoverKind::AddressIdle, None, "unknown", reason);
    Ok(Draft { only_told, ..found })
}

fn open_request(view: &SweepView<'_>, survey: &Survey, request: &SpotRequest) -> Found {
    too_young(view, request.created)?;
    let reason = match &request.instance {
        None => format!("it is {} and may still launch an instance", request.state),
        Some(id) if survey.has(id) => return Err(format!("{id} fulfils it")),
        Some(id) => format!("it is {}, and {id} is gone", request.state),
    };
    let mut found = draft(LeftoverKind::SpotRequestOpen, request.created, "its creation", reason);
    found.evidence.push(format!("state {}", request.state));
    Ok(found)
}

/// Instances of ours whose spot request carries no tag: if it is persistent, EC2 launches another one when
/// this is ended.
pub(super) fn untagged_requests(view: &SweepView<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (region, survey) in view.surveys {
        for instance in survey.instances().filter(|i| i.state.is_live() && view.ours(&i.tags)) {
            let Some(request) = instance.parts.spot_request.as_ref().and_then(|id| id.parse::<ResourceId>().ok())
            else {
                continue;
            };
            if survey.resources.contains_key(&request) || !survey.gaps.is_empty() {
                continue;
            }
            found.push(Finding {
                id: request.to_string(),
                region: region.clone(),
                kind: LeftoverKind::SpotRequestOpen,
                fleet: instance.tags.get(tag_keys::FLEET).map(ToOwned::to_owned),
                name: instance.tags.get(tag_keys::WORKER).map(ToOwned::to_owned),
                since: instance.launch_time,
                age_from: "its instance's start".to_owned(),
                reason: format!("{} came from this spot request, which carries no tag", instance.id),
                evidence: vec!["the listing of the fleet's spot requests does not show it".to_owned()],
                confidence: Confidence::Weak,
                monthly: None,
                first_seen: None,
                act: Act::Report,
                note: Some("if it is persistent, cancel it before its instance is ended".to_owned()),
            });
        }
    }
    found
}

fn lone_snapshot(view: &SweepView<'_>, survey: &Survey, id: &ResourceId, tags: &TagSet, snapshot: &Snapshot) -> Found {
    if let Some(ami) = survey.amis().find(|ami| ami.snapshots.iter().any(|own| own.as_str() == id.as_str())) {
        return Err(format!("{} needs it", ami.id));
    }
    if let Some(ami) = survey.amis().find(|ami| ami.state == AmiState::Pending) {
        // Which snapshots it will have is told only when it is done.
        return Err(format!("{} is being made and may need it", ami.id));
    }
    too_young(view, snapshot.started)?;
    let reason = format!("no AMI of the account needs its {} GiB", snapshot.size_gib);
    let mut found = draft(LeftoverKind::SnapshotOrphan, snapshot.started, "its start", reason);
    if let Some(ami) = tags.get(tag_keys::RETIRED) {
        found.evidence.push(format!("it belonged to {ami}, which was retired"));
    }
    Ok(found)
}

fn old_ami(view: &SweepView<'_>, survey: &Survey, ami: &Ami) -> Found {
    let age = view.now - ami.created;
    let stuck = match ami.state {
        AmiState::Failed => Some("it failed".to_owned()),
        AmiState::Pending if age >= view.policy.ami_stuck => Some(format!("it has been pending for {}", said(age))),
        _ => None,
    };
    let baked = ami.tags.get(tag_keys::IMAGE_ORIGIN) == Some("rebake");
    if let Some(reason) = stuck {
        too_young(view, Some(ami.created))?;
        let found = draft(LeftoverKind::AmiStuck, Some(ami.created), "its creation", reason);
        let configured = is_configured(view, survey, ami).then(|| "the configuration names it".to_owned());
        let only_told = configured.or_else(|| (!baked).then(|| "no rebake made it: it is its owner's".to_owned()));
        return Ok(Draft { only_told, ..found });
    }
    if !baked {
        return Err("no rebake made it".to_owned());
    }
    if let AmiState::Unknown(state) = &ami.state {
        return Err(format!("nobody knows what its state {state:?} means"));
    }
    if ami.tags.get(tag_keys::IMAGE).is_none() {
        return Err(format!("it has no tag {}, so nobody knows what replaced it", tag_keys::IMAGE));
    }
    let used = survey.instances().find(|i| i.ami.as_ref() == Some(&ami.id) && !i.state.is_ending());
    if let Some(instance) = used {
        return Err(format!("{} runs it, or can be started with it", instance.id));
    }
    if is_configured(view, survey, ami) {
        return Err("the configuration names it".to_owned());
    }
    if let Some(other) = survey.amis().find(|other| other.id != ami.id && shares_a_snapshot(other, ami)) {
        return Err(format!("{} needs a snapshot of it", other.id));
    }
    let newer = newer_generations(survey, ami);
    if newer < view.policy.ami_keep as usize || age < view.policy.ami_keep_for {
        return Err(format!("{newer} newer ones, {} old", said(age)));
    }
    let reason = format!("{newer} newer AMIs of its image have replaced it, and nothing uses it");
    Ok(draft(LeftoverKind::AmiSuperseded, Some(ami.created), "its creation", reason))
}

fn is_configured(view: &SweepView<'_>, survey: &Survey, ami: &Ami) -> bool {
    view.own_amis.contains(&ami.id) || view.stated.chooses(view.account, survey, &ami.id)
}

fn shares_a_snapshot(one: &Ami, other: &Ami) -> bool {
    one.snapshots.iter().any(|snapshot| other.snapshots.contains(snapshot))
}

/// How many newer AMIs of the same fleet and image can be launched from.
fn newer_generations(survey: &Survey, ami: &Ami) -> usize {
    let same = |other: &&Ami| {
        [tag_keys::FLEET, tag_keys::IMAGE].iter().all(|key| other.tags.get(key) == ami.tags.get(key))
            && other.state == AmiState::Available
            && other.created > ami.created
    };
    survey.amis().filter(same).count()
}

/// Launches without an outcome, of which nothing is to be seen.
pub(super) fn open_intents<'a>(view: &SweepView<'a>) -> Vec<(&'a Region, &'a OpenIntent)> {
    let all = view.claims.values().flat_map(|claims| &claims.open);
    let old = all.filter(|intent| view.now - intent.since >= view.policy.young);
    old.filter_map(|intent| {
        let survey = view.surveys.get(&intent.region)?;
        let found = |i: &crate::model::Instance| i.token.as_ref().is_some_and(|token| token.as_str() == intent.token);
        (survey.gaps.is_empty() && !survey.instances().any(found)).then_some((&intent.region, intent))
    })
    .collect()
}
