//! Start, stop, reboot, terminate.

use super::call::{Call, done};
use super::instances::state;
use super::xml::Xml;
use crate::model::StopMode;
use crate::sim::error::ApiError;
use crate::sim::site::Site;
use crate::sim::states::StateChange;

pub(super) fn start(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let ids = call.required_instance_ids()?;
    call.permitted()?;
    site.start_instances(&ids, call.now).map(|changes| changed(&changes))
}

pub(super) fn stop(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let ids = call.required_instance_ids()?;
    let (force, skip) = (call.query.flag("Force")?, call.query.flag("SkipOsShutdown")?);
    let mode = if call.query.flag("Hibernate")?.unwrap_or(false) { StopMode::Hibernate } else { StopMode::Plain };
    call.permitted()?;
    let force = force.unwrap_or(false) || skip.unwrap_or(false);
    site.stop_instances(&ids, mode, force, call.now).map(|changes| changed(&changes))
}

pub(super) fn reboot(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let ids = call.required_instance_ids()?;
    call.permitted()?;
    site.reboot_instances(&ids, call.now).map(|()| done())
}

pub(super) fn terminate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let ids = call.required_instance_ids()?;
    call.permitted()?;
    site.terminate_instances(&ids, call.now).map(|changes| changed(&changes))
}

fn changed(changes: &[StateChange]) -> Xml {
    let mut xml = Xml::default();
    xml.set("instancesSet", changes, |xml, change| {
        xml.text("instanceId", change.id.as_str());
        state(xml, "currentState", &change.now);
        state(xml, "previousState", &change.before);
    });
    xml
}
