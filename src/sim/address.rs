//! Elastic IP addresses: kept, and paid for, whether an instance has them or not.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::instance::Tags;
use super::site::Site;
use crate::model::{InstanceId, InstanceState};

/// How many an account has in a region.
const ADDRESSES_MAX: usize = 5;

/// An elastic IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its allocation's id.
    pub id: String,
    /// The address.
    pub ip: String,
    /// The id of the association, and the instance, while it has one.
    pub association: Option<(String, InstanceId)>,
    /// Its tags.
    pub tags: Tags,
}

impl Site {
    /// AllocateAddress.
    ///
    /// # Errors
    /// `AddressLimitExceeded`.
    pub fn allocate_address(&mut self, tags: Tags) -> Result<&Address, ApiError> {
        if self.addresses.len() >= ADDRESSES_MAX {
            let message = "The maximum number of addresses has been reached.";
            return Err(ApiError::client("AddressLimitExceeded", message));
        }
        let id = self.new_id("eipalloc");
        let last = self.random.u16(..);
        let ip = format!("203.0.{}.{}", last >> 8, last & 0xff);
        let address = Address { id: id.clone(), ip, association: None, tags };
        Ok(self.addresses.entry(id).or_insert(address))
    }

    /// An address by its allocation's or its association's id, or by itself.
    ///
    /// # Errors
    /// `InvalidAllocationID.NotFound`, `InvalidAssociationID.NotFound`, `InvalidAddress.NotFound`.
    pub fn address(&self, named: &str) -> Result<&Address, ApiError> {
        let is = |address: &&Address| {
            address.id == named
                || address.ip == named
                || address.association.as_ref().is_some_and(|(id, _)| id == named)
        };
        self.addresses.values().find(is).ok_or_else(|| {
            let (code, what) = match named.split_once('-').map(|(prefix, _)| prefix) {
                Some("eipalloc") => ("InvalidAllocationID.NotFound", "allocation ID"),
                Some("eipassoc") => ("InvalidAssociationID.NotFound", "association ID"),
                Some(_) | None => ("InvalidAddress.NotFound", "address"),
            };
            ApiError::client(code, format!("The {what} '{named}' does not exist"))
        })
    }

    /// AssociateAddress: the association's id.
    ///
    /// # Errors
    /// `Resource.AlreadyAssociated`, `IncorrectInstanceState` and those of an unknown address or instance.
    pub fn associate_address(
        &mut self,
        named: &str,
        id: &InstanceId,
        may_move: bool,
        now: DateTime<Utc>,
    ) -> Result<String, ApiError> {
        let address = self.address(named)?.clone();
        let instance = self.instances.get(id).ok_or_else(|| ApiError::no_instance(&[id.as_str()]))?;
        if instance.is_over() || *instance.state() == InstanceState::Pending {
            let message =
                format!("The pending-instance-creation instance to which '{id}' belongs is in an invalid state");
            return Err(ApiError::client("IncorrectInstanceState", message));
        }
        if let Some((_, other)) = address.association.as_ref().filter(|(_, other)| other != id) {
            if !may_move {
                let message = format!("resource {} is already associated with {other}", address.id);
                return Err(ApiError::client("Resource.AlreadyAssociated", message));
            }
            let other = other.clone();
            self.change(&other, now, |facts| facts.public_ip = None);
        }
        let association = self.new_id("eipassoc");
        if let Some(known) = self.addresses.get_mut(&address.id) {
            known.association = Some((association.clone(), id.clone()));
        }
        self.change(id, now, |facts| facts.public_ip = Some(address.ip));
        Ok(association)
    }

    /// DisassociateAddress.
    ///
    /// # Errors
    /// That of an unknown association.
    pub fn disassociate_address(&mut self, named: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        let id = self.address(named)?.id.clone();
        let held = self.addresses.get_mut(&id).and_then(|address| address.association.take());
        if let Some((_, instance)) = held {
            self.change(&instance, now, |facts| facts.public_ip = None);
        }
        Ok(())
    }

    /// ReleaseAddress.
    ///
    /// # Errors
    /// `InvalidIPAddress.InUse`, and that of an unknown address.
    pub fn release_address(&mut self, named: &str) -> Result<(), ApiError> {
        let address = self.address(named)?;
        if address.association.is_some() {
            let message = format!("Address {} is in use.", address.ip);
            return Err(ApiError::client("InvalidIPAddress.InUse", message));
        }
        let id = address.id.clone();
        self.addresses.remove(&id);
        Ok(())
    }

    /// The elastic address of an instance: it has no other public one then.
    pub(super) fn elastic_address(&self, id: &InstanceId) -> Option<String> {
        let is_of = |address: &&Address| address.association.as_ref().is_some_and(|(_, of)| of == id);
        self.addresses.values().find(is_of).map(|address| address.ip.clone())
    }

    /// An instance has ended: its address is free again, and still paid for.
    pub(super) fn free_address(&mut self, of: &InstanceId) {
        for address in self.addresses.values_mut() {
            address.association.take_if(|(_, instance)| instance == of);
        }
    }
}
