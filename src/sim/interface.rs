//! Network interfaces: born with their instance, and gone with it unless that was not asked for.

use super::error::ApiError;
use super::instance::{TagTarget, Tags};
use super::site::Site;
use crate::model::InstanceId;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its zone.
    pub zone: String,
    /// Its private address.
    pub private_ip: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// The instance, while it is attached to one.
    pub instance: Option<InstanceId>,
    /// Whether it ends with the instance.
    pub delete_on_termination: bool,
    /// Its tags.
    pub tags: Tags,
}

impl Site {
    /// An instance is born with an interface.
    pub(super) fn bear_interface(&mut self, of: &InstanceId) {
        let Some(instance) = self.instances.get(of) else { return };
        let interface = Interface {
            id: instance.interface.clone(),
            subnet: instance.subnet.clone(),
            zone: instance.zone.clone(),
            private_ip: instance.private_ip.clone(),
            groups: instance.groups.clone(),
            instance: Some(of.clone()),
            delete_on_termination: !instance.params.keeps_interface,
            tags: instance.params.tags.get(&TagTarget::NetworkInterface).cloned().unwrap_or_default(),
        };
        self.interfaces.insert(interface.id.clone(), interface);
    }

    /// An instance has ended.
    pub(super) fn end_interface(&mut self, of: &InstanceId) {
        let Some(id) = self.instances.get(of).map(|instance| instance.interface.clone()) else { return };
        match self.interfaces.get_mut(&id) {
            Some(interface) if !interface.delete_on_termination => interface.instance = None,
            Some(_) | None => drop(self.interfaces.remove(&id)),
        }
    }

    /// DeleteNetworkInterface.
    ///
    /// # Errors
    /// `InvalidNetworkInterfaceID.NotFound`; `InvalidNetworkInterface.InUse` while it is attached.
    pub fn delete_interface(&mut self, id: &str) -> Result<(), ApiError> {
        let interface = self.interfaces.get(id).ok_or_else(|| {
            let message = format!("The networkInterface ID '{id}' does not exist");
            ApiError::client("InvalidNetworkInterfaceID.NotFound", message)
        })?;
        if interface.instance.is_some() {
            let message = format!("Network interface '{id}' is currently in use.");
            return Err(ApiError::client("InvalidNetworkInterface.InUse", message));
        }
        self.interfaces.remove(id);
        Ok(())
    }
}
