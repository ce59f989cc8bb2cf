//! What belongs to the owner of the report: nothing else may be told.

use std::collections::BTreeSet;

use crate::audit::evidence::Evidence;
use crate::model::{InstanceId, OwnerName, Region, Resource, ResourceId, Survey, TagSet, WorkerName, tag_keys};
use crate::plan::sweep::Finding;

/// Whose report it is, and what the ledger says is another's.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    evidence: &'a Evidence<'a>,
    /// Instances that the ledger knows as another owner's.
    others: BTreeSet<InstanceId>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(evidence: &'a Evidence<'a>, others: BTreeSet<InstanceId>) -> Self {
        Self { evidence, others }
    }

    /// Whether these tags are the fleet's and this owner's. Where two owners share an account, what names no
    /// owner is nobody's.
    pub(super) fn owns(&self, tags: &TagSet) -> bool {
        if tags.get(tag_keys::FLEET) != Some(self.evidence.fleet) {
            return false;
        }
        match tags.get(tag_keys::OWNER) {
            Some(owner) => self.evidence.whole_account || owner == self.evidence.owner.as_str(),
            None => !self.evidence.shared_account,
        }
    }

    /// Whether the ledger knows it as somebody else's.
    pub(super) fn is_anothers(&self, id: &InstanceId) -> bool {
        self.others.contains(id)
    }

    /// Whether something in the account belongs here: by its tags, and not by the ledger's word another's.
    pub(super) fn has(&self, id: &ResourceId, resource: &Resource) -> bool {
        self.owns(resource.tags()) && !id.instance().is_some_and(|id| self.is_anothers(&id))
    }

    /// What there is in each region that could be seen.
    pub(super) fn surveys(&self) -> impl Iterator<Item = (&'a Region, &'a Survey)> {
        self.evidence.regions.iter().filter_map(|(region, look)| Some((region, look.survey.as_ref().ok()?)))
    }

    /// Whether a finding is about something of this owner's.
    pub(super) fn concerns(&self, finding: &Finding) -> bool {
        let named = || finding.name.as_deref().and_then(|name| name.parse::<WorkerName>().ok());
        let Some(id) = finding.resource() else {
            // A launch without an instance is known by its worker alone.
            let intent = self.evidence.intent.zip(named());
            let owner = intent.and_then(|(intent, name)| Some(&intent.workers.get(&name)?.cell.owner));
            return owner == Some(self.evidence.owner);
        };
        let survey = self.evidence.regions.get(&finding.region).and_then(|look| look.survey.as_ref().ok());
        match survey.and_then(|survey| survey.resources.get(&id)) {
            // Without a tag of the fleet it may be the owner's own, where the account is.
            Some(resource) if resource.tags().get(tag_keys::FLEET).is_none() => !self.evidence.shared_account,
            Some(resource) => self.has(&id, resource),
            None => false,
        }
    }

    /// Whose report it is.
    pub(super) fn owner(&self) -> &'a OwnerName {
        self.evidence.owner
    }
}
