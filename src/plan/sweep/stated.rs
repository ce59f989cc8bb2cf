//! What the manifests of an owner claim beside AMIs by their ids: it is not left over, whatever it looks like.

use crate::model::{Ami, AmiCandidate, AmiFilter, AmiId, DataVolume, ElasticIp, Equipment, ResourceId, Survey};
use crate::plan::choose_ami as choose;
use crate::policy::Image;

/// What the manifests of an owner claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    /// Each with EC2's word for the processor that it chooses for.
    filters: Vec<(String, AmiFilter)>,
    equipment: Vec<Equipment>,
}

impl Stated {
    /// What these manifests claim.
    pub fn of<'a>(images: impl Iterator<Item = &'a Image>) -> Self {
        let mut all = Self::default();
        for image in images {
            let asked = image.ami_query().zip(image.ami.filter());
            all.filters.extend(asked.map(|(query, filter)| (query.architecture, filter.clone())));
            all.equipment.extend(image.equipment());
        }
        all
    }

    /// Whether a filter would choose this AMI of those of the account that are made for its processor.
    pub(super) fn chooses(&self, account: &str, survey: &Survey, id: &AmiId) -> bool {
        let own = |filter: &AmiFilter| {
            filter.owners.is_empty() || filter.owners.iter().any(|owner| owner == "self" || owner == account)
        };
        let candidate = |ami: &Ami| AmiCandidate {
            id: ami.id.clone(),
            location: format!("{account}/{}", ami.name),
            state: ami.state.clone(),
            architecture: ami.architecture.clone(),
            created: Some(ami.created),
            deprecated: ami.deprecated,
        };
        self.filters.iter().filter(|(_, filter)| own(filter)).any(|(architecture, filter)| {
            let fitting = survey.amis().filter(|ami| ami.architecture == *architecture);
            let candidates: Vec<AmiCandidate> = fitting.map(candidate).collect();
            choose(survey.observed_at, filter, &candidates).as_ref() == Some(id)
        })
    }

    /// Whether a manifest names this volume.
    pub(super) fn names_volume(&self, id: &ResourceId) -> bool {
        let is = |DataVolume { id: own, .. }: &DataVolume| own.as_str() == id.as_str();
        self.equipment.iter().any(|what| matches!(what, Equipment::Volume(volume) if is(volume)))
    }

    /// Whether a manifest names this address.
    pub(super) fn names_address(&self, id: &ResourceId, ip: &str) -> bool {
        let is = |own: &ElasticIp| own.as_str() == id.as_str() || own.as_str() == ip;
        self.equipment.iter().any(|what| matches!(what, Equipment::Address(address) if is(address)))
    }
}
