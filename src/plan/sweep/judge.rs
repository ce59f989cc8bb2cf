//! From a leftover to what may be done about it: protection first, then the policy, then two looks.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::plan::Act;
use super::{Draft, SweepView, said};
use crate::model::{LeftoverKind, Resource, ResourceId, ResourceKind, Response, Survey, TagSet, tag_keys};

/// A first look that is older than this does not count any more: what was marked then may have
/// recovered meanwhile, and nobody takes the mark off.
const MARK_STALE: TimeDelta = TimeDelta::days(15);

/// The value of a mark.
pub fn mark_text(now: DateTime<Utc>, kind: LeftoverKind) -> String {
    format!("{} {kind}", now.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The first look at it, as the same kind of leftover: by its mark, or as somebody else remembers it.
fn first_look(view: &SweepView<'_>, id: &ResourceId, tags: &TagSet, kind: LeftoverKind) -> Option<DateTime<Utc>> {
    let marked = tags.get(tag_keys::MARK).and_then(|mark| {
        let (time, as_kind) = mark.split_once(' ')?;
        let at: DateTime<Utc> = time.parse().ok()?;
        (as_kind == kind.name() && at <= view.now && view.now - at <= MARK_STALE).then_some(at)
    });
    marked.into_iter().chain(view.first_seen.get(id).copied()).min()
}

/// Why a person's tags forbid to end it. What cannot be read protects.
fn protection(tags: &TagSet, now: DateTime<Utc>) -> Option<String> {
    if let Some(keep) = tags.get(tag_keys::KEEP) {
        let lifted = matches!(keep.trim().to_ascii_lowercase().as_str(), "false" | "no");
        if !lifted {
            return Some(format!("kept by its tag {}", tag_keys::KEEP));
        }
    }
    let until = tags.get(tag_keys::KEEP_UNTIL)?;
    match until.trim().parse::<DateTime<Utc>>() {
        Ok(until) if until <= now => None,
        Ok(until) => Some(format!("kept until {}", until.to_rfc3339_opts(SecondsFormat::Secs, true))),
        Err(_) => Some(format!("kept: its tag {} is no RFC 3339 time", tag_keys::KEEP_UNTIL)),
    }
}

/// Why a person's tags forbid to end what goes with it: the disks of an instance, the snapshots of an AMI.
fn protected_part(survey: &Survey, resource: &Resource, now: DateTime<Utc>) -> Option<String> {
    let parts: Vec<ResourceId> = match resource {
        Resource::Instance(instance) => {
            let parts = instance.parts.volumes.iter().chain(&instance.parts.interfaces);
            parts.filter_map(|id| id.parse().ok()).collect()
        }
        Resource::Ami(ami) => ami.snapshots.iter().map(ResourceId::from).collect(),
        _ => Vec::new(),
    };
    parts.iter().find_map(|id| {
        let why = protection(survey.resources.get(id)?.tags(), now)?;
        Some(format!("{id} would go with it, which is {why}"))
    })
}

type Judged = (Act, Option<String>, Option<DateTime<Utc>>);

/// What is to be done about a leftover, why not more, and when it was first seen; or why it is kept.
pub(super) fn judge(
    view: &SweepView<'_>,
    survey: &Survey,
    id: &ResourceId,
    resource: &Resource,
    draft: &Draft,
) -> Result<Judged, String> {
    let protected = protection(resource.tags(), view.now);
    if let Some(protected) = protected.or_else(|| protected_part(survey, resource, view.now)) {
        return Err(protected);
    }
    let first = first_look(view, id, resource.tags(), draft.kind);
    let told = |why: String| Ok((Act::Report, Some(why), first));
    let named = view.named.contains(id);
    if let Some(why) = &draft.only_told
        && !(named && draft.kind == LeftoverKind::UntaggedOnOwnAmi)
    {
        return told(why.clone());
    }
    if let Some(why) = not_mine(view, resource) {
        return told(why);
    }
    let act = match view.policy.response(draft.kind) {
        Response::Report if named => Act::Terminate,
        Response::Report => return told(format!("the policy only reports it; name it with --id {id} to act on it")),
        Response::Stop if id.kind() != ResourceKind::Instance => Act::Terminate,
        Response::Stop if named && is_stopped(resource) => Act::Terminate,
        Response::Stop if is_stopped(resource) => return told("it is stopped already".to_owned()),
        Response::Stop => Act::Stop,
        Response::Terminate => Act::Terminate,
    };
    if draft.sure || named {
        return Ok((act, None, first));
    }
    Ok(match first {
        None => {
            let again = said(view.policy.second_look);
            (Act::Mark, Some(format!("a first look; acted on when one at least {again} later finds it again")), None)
        }
        Some(at) if view.now - at < view.policy.second_look => {
            let wait = said(at + view.policy.second_look - view.now);
            (Act::Wait, Some(format!("the second look may be in {wait}")), first)
        }
        Some(_) => (act, None, first),
    })
}

/// A controller that sweeps for itself leaves alone what carries another controller's id, or none.
fn not_mine(view: &SweepView<'_>, resource: &Resource) -> Option<String> {
    let me = view.me?;
    match resource.tags().get(tag_keys::CONTROLLER) {
        Some(controller) if controller == me => None,
        Some(controller) => Some(format!("it is controller {controller}'s")),
        None => Some("it names no controller".to_owned()),
    }
}

fn is_stopped(resource: &Resource) -> bool {
    match resource {
        Resource::Instance(instance) => !instance.state.is_live(),
        _ => false,
    }
}
