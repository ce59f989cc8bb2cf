//! RunInstances: tokens, capacity, quota, and instances with all that belongs to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::hibernate;
use super::image::{Image, ImageState};
use super::instance::{Birth, Disk, Instance, REPLICAS, Reason, RunInstances, TagTarget};
use super::latency::Latency;
use super::site::{Due, Effect, Site, TokenUse};
use super::types::instance_type;
use super::volume::{Attachment, Volume};
use super::weather::Fault;
use crate::model::InstanceId;

/// User data before base64, in bytes.
const USER_DATA_MAX: usize = 16 * 1024;
/// A client token's characters.
const TOKEN_MAX: usize = 64;
/// vCPUs of a type that nobody knows, where any type is taken to exist.
const LENIENT_VCPUS: u32 = 2;

/// Where a launch goes.
struct Spot {
    zone: String,
    subnet: String,
}

impl Site {
    /// Launches, or gives what the token gave before.
    ///
    /// # Errors
    /// EC2's refusals, in its order: parameters, token, capacity, quota.
    pub fn run_instances(
        &mut self,
        request: &RunInstances,
        token: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Vec<InstanceId>, ApiError> {
        self.check_counts(request, token)?;
        self.check_disks(request)?;
        let request = &RunInstances { groups: self.all_groups(request)?, ..request.clone() };
        let image = self.launchable(&request.image)?;
        hibernate::may_be_asked(request, image.as_ref())?;
        let places = self.places(request)?;
        let scope = match (&request.zone, &request.subnet) {
            (None, None) => "region",
            _ => places[0].zone.as_str(),
        };
        let key = token.map(|token| format!("{scope} {token}"));
        if let Some(known) = key.as_ref().filter(|_| !self.ignores_tokens).and_then(|key| self.tokens.get(key)) {
            return self.repeated(known, request);
        }
        let place = self.place_with_capacity(request, places, now)?;
        self.check_spot_price(request, &place.zone, now)?;
        let count = self.within_quota(request, now)?;
        let params = Arc::new(request.clone());
        let reservation = self.new_id("r");
        let ids: Vec<InstanceId> = (0..count)
            .map(|index| self.bear(&params, token, image.as_ref(), &place, (&reservation, index), now))
            .collect::<Result<_, ApiError>>()?;
        if let Some(key) = key {
            self.tokens.insert(key, TokenUse { params, instances: ids.clone() });
        }
        Ok(ids)
    }

    /// Everything that can be told of a launch before it is tried.
    pub(super) fn check_launch(&self, request: &RunInstances) -> Result<(), ApiError> {
        self.check_counts(request, None)?;
        self.check_disks(request)?;
        self.all_groups(request)?;
        self.launchable(&request.image)?;
        self.places(request).map(drop)
    }

    fn check_counts(&self, request: &RunInstances, token: Option<&str>) -> Result<(), ApiError> {
        if request.min == 0 || request.max < request.min {
            let message = format!("Value ({}) for parameter minCount is invalid.", request.min);
            return Err(ApiError::invalid_value(message));
        }
        if token.is_some_and(|token| token.len() > TOKEN_MAX || !token.is_ascii()) {
            return Err(ApiError::client(
                "InvalidClientToken",
                "The client token is not valid: 64 ASCII characters at most.",
            ));
        }
        if request.user_data.as_ref().is_some_and(|text| text.len() > USER_DATA_MAX.div_ceil(3) * 4) {
            return Err(ApiError::invalid_value("User data is limited to 16384 bytes"));
        }
        if !self.lenient && instance_type(&request.instance_type).is_none() {
            let message = format!("Invalid value '{}' for InstanceType.", request.instance_type);
            return Err(ApiError::invalid_value(message));
        }
        if let Some(key) = request.key.as_ref().filter(|_| !self.lenient) {
            self.key(key)?;
        }
        for group in request.groups.iter().filter(|group| !self.network.groups.contains_key(*group)) {
            if !self.lenient {
                let message = format!("The security group '{group}' does not exist");
                return Err(ApiError::client("InvalidGroup.NotFound", message));
            }
        }
        Ok(())
    }

    /// The groups by their ids, those that are named among them.
    fn all_groups(&self, request: &RunInstances) -> Result<Vec<String>, ApiError> {
        if !request.group_names.is_empty() && request.subnet.is_some() {
            let message = "The parameter groupName cannot be used with the parameter subnet";
            return Err(ApiError::client("InvalidParameterCombination", message));
        }
        let named = request.group_names.iter().map(|name| {
            let id = self.network.groups.values().find(|group| group.name == *name).map(|group| group.id.clone());
            let message =
                || format!("The security group '{name}' does not exist in default VPC '{}'", self.network.vpc);
            id.ok_or_else(|| ApiError::client("InvalidGroup.NotFound", message()))
        });
        request.groups.iter().cloned().map(Ok).chain(named).collect()
    }

    fn launchable(&self, id: &str) -> Result<Option<Image>, ApiError> {
        if !id.starts_with("ami-") || !id[4..].chars().all(|c| c.is_ascii_alphanumeric()) || id.len() < 5 {
            let message = format!("Invalid id: \"{id}\" (expecting \"ami-...\")");
            return Err(ApiError::client("InvalidAMIID.Malformed", message));
        }
        match self.images.get(id) {
            Some(image) if image.state == ImageState::Available => Ok(Some(image.clone())),
            Some(_) => Err(ApiError::client(
                "InvalidAMIID.Unavailable",
                format!("The image id '[{id}]' is no longer available"),
            )),
            None if self.lenient => Ok(None),
            None => Err(ApiError::client("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))),
        }
    }

    /// The places that the request allows; one if it names a zone or a subnet.
    fn places(&self, request: &RunInstances) -> Result<Vec<Spot>, ApiError> {
        if let Some(id) = &request.subnet {
            let Some(subnet) = self.network.subnets.get(id) else {
                if self.lenient {
                    return Ok(vec![Spot { zone: self.network.zones[0].clone(), subnet: id.clone() }]);
                }
                return Err(ApiError::client(
                    "InvalidSubnetID.NotFound",
                    format!("The subnet ID '{id}' does not exist"),
                ));
            };
            return Ok(vec![Spot { zone: subnet.zone.clone(), subnet: id.clone() }]);
        }
        let allowed = self.network.subnets.values().filter(|s| request.zone.as_ref().is_none_or(|z| *z == s.zone));
        let places: Vec<Spot> =
            allowed.map(|subnet| Spot { zone: subnet.zone.clone(), subnet: subnet.id.clone() }).collect();
        if places.is_empty() {
            let zone = request.zone.as_deref().unwrap_or_default();
            return Err(ApiError::invalid_value(format!("Invalid availability zone: [{zone}]")));
        }
        Ok(places)
    }

    fn repeated(&self, known: &TokenUse, request: &RunInstances) -> Result<Vec<InstanceId>, ApiError> {
        if *known.params != *request {
            let message = "The request uses the same client token as a previous, but non-identical request.";
            return Err(ApiError::client("IdempotentParameterMismatch", message));
        }
        let over = known.instances.iter().any(|id| self.instance(id).is_none_or(Instance::is_over));
        if over {
            let message = "The client token has already been used for an instance that is terminated.";
            return Err(ApiError::client("IdempotentInstanceTerminated", message));
        }
        Ok(known.instances.clone())
    }

    fn place_with_capacity(
        &self,
        request: &RunInstances,
        places: Vec<Spot>,
        now: DateTime<Utc>,
    ) -> Result<Spot, ApiError> {
        let has = |place: &Spot| self.has_capacity(&request.instance_type, &place.zone, request.spot.is_some(), now);
        let zone = places.first().map(|place| place.zone.clone()).unwrap_or_default();
        places.into_iter().find(has).ok_or_else(|| {
            no_capacity(&request.instance_type, &zone, request.zone.is_some() || request.subnet.is_some())
        })
    }

    /// Whether there is capacity of a type in a zone and a market now.
    pub(super) fn has_capacity(&self, instance_type: &str, zone: &str, spot: bool, now: DateTime<Utc>) -> bool {
        let market = if spot { "spot" } else { "on-demand" };
        !self.holds(Fault::NoCapacity, &format!("{instance_type} {zone} {market}"), now)
            && !self.holds(Fault::ZoneOutage, zone, now)
    }

    /// How many the quota allows: the most that were asked for, and at least the least.
    fn within_quota(&self, request: &RunInstances, now: DateTime<Utc>) -> Result<u32, ApiError> {
        let each = vcpus(&request.instance_type);
        let used: u32 = self.instances.values().filter(|i| i.is_up()).map(|i| vcpus(&i.facts().instance_type)).sum();
        let free = if self.holds(Fault::QuotaReached, "", now) { 0 } else { self.quota_vcpus.saturating_sub(used) };
        let fit = (free / each).min(request.max);
        if fit >= request.min {
            return Ok(fit);
        }
        let message = format!(
            "You have requested more vCPU capacity than your current vCPU limit of {} allows for the instance bucket that the specified instance type belongs to.",
            self.quota_vcpus
        );
        let code = if request.spot.is_some() { "MaxSpotInstanceCountExceeded" } else { "VcpuLimitExceeded" };
        Err(ApiError::client(code, message))
    }

    fn bear(
        &mut self,
        params: &Arc<RunInstances>,
        token: Option<&str>,
        image: Option<&Image>,
        place: &Spot,
        (reservation, launch_index): (&str, u32),
        now: DateTime<Utc>,
    ) -> Result<InstanceId, ApiError> {
        let id: InstanceId =
            self.new_id("i").parse().map_err(|_| ApiError::server("InternalError", "no id could be made"))?;
        let private_ip = self.new_address(&place.subnet);
        let volumes = self.bear_volumes(params, image, &id, &place.zone, now);
        let groups = if params.groups.is_empty() {
            self.network.default_group().map(ToOwned::to_owned).into_iter().collect()
        } else {
            params.groups.clone()
        };
        let birth = Birth {
            id: id.clone(),
            reservation: reservation.to_owned(),
            launch_index,
            params: Arc::clone(params),
            token: token.map(ToOwned::to_owned),
            zone: place.zone.clone(),
            subnet: place.subnet.clone(),
            private_ip,
            groups,
            volumes,
            interface: self.new_id("eni"),
            spot_request: params.spot.as_ref().map(|_| self.new_id("sir")),
        };
        let delays = self.delays();
        self.instances.insert(id.clone(), Instance::born(birth, now, delays));
        self.bear_interface(&id);
        self.bear_spot_request(&id, now);
        self.trailed(now, "RunInstances", super::site::By::Caller, &id, None);
        self.happened(now, Effect::Launched(id.clone()));
        let failing = self.chance(Fault::AsyncFailure);
        let pending = self.pending_time();
        if failing {
            self.fail_later(&id, now + pending);
        } else {
            self.schedule(now + pending, Due::Instance(id.clone(), 0));
        }
        Ok(id)
    }

    /// From the launch or the start to `running`.
    pub(super) fn pending_time(&mut self) -> TimeDelta {
        let late = self.chance(Fault::LateRunning);
        self.draw(if late { Latency::LatePending } else { Latency::Pending })
    }

    /// The launch was accepted, and fails: EC2 tells it only by the state and its reason.
    fn fail_later(&mut self, id: &InstanceId, at: DateTime<Utc>) {
        let reason = match self.random.u8(0..4) {
            0 => Reason::new("Server.InternalError", "Client.VolumeLimitExceeded: Volume limit exceeded"),
            1 => Reason::new("Client.InternalError", "Client.InternalError: Client error on launch"),
            2 => Reason::new(
                "Server.InsufficientInstanceCapacity",
                "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request",
            ),
            _ => Reason::new("Server.InternalError", "Server.InternalError: Internal error on launch"),
        };
        self.failing.insert(id.clone(), reason);
        self.schedule(at, Due::Instance(id.clone(), 0));
    }

    fn new_address(&mut self, subnet: &str) -> String {
        match self.network.subnets.get_mut(subnet) {
            Some(subnet) => {
                subnet.given += 1;
                format!("{}.{}", subnet.prefix, subnet.given % 250 + 4)
            }
            None => "172.31.255.4".to_owned(),
        }
    }

    fn bear_volumes(
        &mut self,
        params: &RunInstances,
        image: Option<&Image>,
        id: &InstanceId,
        zone: &str,
        now: DateTime<Utc>,
    ) -> Vec<(String, String)> {
        let root = || Disk {
            device: "/dev/xvda".to_owned(),
            size_gib: 8,
            volume_type: "gp3".to_owned(),
            delete_on_termination: true,
            ..Disk::default()
        };
        let own = image.map_or_else(|| vec![root()], |image| image.disks.clone());
        let mut disks: BTreeMap<String, Disk> = own.into_iter().map(|disk| (disk.device.clone(), disk)).collect();
        disks.retain(|device, _| !params.without.contains(device));
        for disk in &params.disks {
            let inherited = disks.remove(&disk.device).and_then(|old| old.snapshot);
            let snapshot = disk.snapshot.clone().or(inherited);
            disks.insert(disk.device.clone(), Disk { snapshot, ..disk.clone() });
        }
        let tags = params.tags.get(&TagTarget::Volume).cloned().unwrap_or_default();
        let born = disks.into_values().map(|disk| {
            let volume = Volume {
                id: self.new_id("vol"),
                size_gib: disk.size_gib,
                volume_type: disk.volume_type,
                zone: zone.to_owned(),
                snapshot: disk.snapshot,
                encrypted: disk.encrypted,
                created: now,
                attachment: Some(Attachment {
                    instance: id.as_str().to_owned(),
                    device: disk.device.clone(),
                    since: now,
                    delete_on_termination: disk.delete_on_termination,
                }),
                tags: tags.clone(),
            };
            let pair = (disk.device, volume.id.clone());
            self.volumes.insert(volume.id.clone(), volume);
            pair
        });
        born.collect()
    }

    /// The state after pending: running, or what the failure says.
    pub(super) fn born_or_failed(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        match self.failing.remove(id) {
            Some(reason) => self.end(id, reason, super::site::By::Ec2, now),
            None => self.becomes_running(id, now),
        }
    }

    /// Shorthand: one change of an instance's facts, seen by readers in their time.
    pub(super) fn change(
        &mut self,
        id: &InstanceId,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut super::instance::Facts),
    ) {
        let delays: [TimeDelta; REPLICAS] = self.delays();
        if let Some(instance) = self.instances.get_mut(id) {
            instance.change(now, delays, change);
        }
    }

    /// A public address, if the launch or the subnet's habit wants one.
    pub(super) fn public_address(&mut self, id: &InstanceId) -> Option<String> {
        if let Some(elastic) = self.elastic_address(id) {
            return Some(elastic);
        }
        let wanted = self.instances.get(id).is_some_and(|i| i.params.public_address.unwrap_or(true));
        let last = self.random.u16(..);
        wanted.then(|| format!("198.51.{}.{}", last >> 8, last & 0xff))
    }
}

/// The refusal for want of capacity.
pub(super) fn no_capacity(instance_type: &str, zone: &str, named: bool) -> ApiError {
    let message = if named {
        format!(
            "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone})."
        )
    } else {
        format!("We currently do not have sufficient {instance_type} capacity.")
    };
    ApiError::server("InsufficientInstanceCapacity", message)
}

pub(super) fn vcpus(name: &str) -> u32 {
    instance_type(name).map_or(LENIENT_VCPUS, |known| known.vcpus)
}
