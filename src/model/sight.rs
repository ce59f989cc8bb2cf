//! What a listing told of an instance, as far as what it cost depends on it.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AmiId, ImageName, Instance, InstanceState, Market, WorkerName, Zone, tag_keys};

/// What a listing told of an instance when an entry was made from it: what a ledger must keep to say later
/// what it cost. Whatever is absent was not told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<InstanceState>,
    /// Its type, such as `m7i.large`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// How it was bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Its AMI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<AmiId>,
    /// What is billed as its software (EC2's `PlatformDetails`), such as `Linux/UNIX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_details: Option<String>,
    /// The start of its present run by EC2's clock: it moves at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<DateTime<Utc>>,
    /// When the oldest of its disks or interfaces was attached, by EC2's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_at: Option<DateTime<Utc>>,
    /// Whether it had a public IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<bool>,
    /// The worker that its tag names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// The image manifest that its tag names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
}

impl Sight {
    /// What an instance shows of itself.
    pub fn of(instance: &Instance) -> Self {
        let kind = &instance.instance_type;
        let spot = instance.parts.spot_request.is_some();
        let public = instance.addresses.iter().any(|address| is_public(address));
        Self {
            state: Some(instance.state.clone()),
            instance_type: (!kind.is_empty()).then(|| kind.clone()),
            market: Some(if spot { Market::Spot } else { Market::OnDemand }),
            zone: instance.zone.clone(),
            ami: instance.ami.clone(),
            platform_details: instance.platform_details.clone(),
            launch_time: instance.launch_time,
            attached_at: instance.attached_at,
            // What ends has lost its address by then, if it had one.
            public_address: (public || !instance.state.is_ending()).then_some(public),
            worker: instance.tags.get(tag_keys::WORKER).and_then(|text| text.parse().ok()),
            image: instance.tags.get(tag_keys::IMAGE).and_then(|text| text.parse().ok()),
        }
    }
}

/// Whether an address is one of the public IPv4 addresses, each of which costs.
fn is_public(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(v4)) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        Ok(IpAddr::V6(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_ipv4_addresses_cost() {
        for (address, public) in
            [("203.0.113.9", true), ("172.31.0.4", false), ("10.0.0.1", false), ("2001:db8::1", false), ("", false)]
        {
            assert_eq!(is_public(address), public, "{address}");
        }
    }

    #[test]
    fn what_was_not_told_is_not_written() {
        assert_eq!(serde_json::to_string(&Sight::default()).expect("json"), "{}");
        assert_eq!(serde_json::from_str::<Sight>("{}").expect("reads"), Sight::default());
    }
}
