//! What becomes of an instance: starts, stops, ends, by whomever.

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::hibernate::may_hibernate;
use super::instance::{Instance, Reason};
use super::latency::Latency;
use super::launch::{no_capacity, vcpus};
use super::site::{By, Due, Effect, Site};
use super::weather::Fault;
use crate::model::{InstanceId, InstanceState, StopMode, tag_keys};

/// An instance before and after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The instance.
    pub id: InstanceId,
    /// Its state before.
    pub before: InstanceState,
    /// Its state now.
    pub now: InstanceState,
}

impl Site {
    pub(super) fn instance_moves_on(&mut self, id: &InstanceId, epoch: u32, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get(id).filter(|instance| instance.epoch == epoch) else { return };
        match instance.state() {
            InstanceState::Pending => self.born_or_failed(id, now),
            InstanceState::Stopping => {
                self.change(id, now, |facts| facts.state = InstanceState::Stopped);
                self.bill.run_ends(id.as_str(), now);
                self.happened(now, Effect::Stopped(id.clone()));
            }
            InstanceState::ShuttingDown => self.terminated(id, now),
            InstanceState::Running | InstanceState::Stopped | InstanceState::Terminated | InstanceState::Unknown(_) => {
            }
        }
    }

    pub(super) fn becomes_running(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let address = self.public_address(id);
        self.change(id, now, |facts| {
            facts.state = InstanceState::Running;
            facts.reason = None;
            facts.public_ip = address;
        });
        self.bill.run_begins(id.as_str(), now);
        if let Some(instance) = self.instances.get_mut(id) {
            let boot = format!(
                "[    0.000000] Booting {} on {}\n[    4.207113] {id}: system is up, starting its services\n",
                instance.params.image,
                instance.facts().instance_type
            );
            instance.say(&boot);
        }
        self.happened(now, Effect::Running(id.clone()));
        self.schedule_stroke(id, now);
    }

    fn terminated(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        self.change(id, now, |facts| facts.state = InstanceState::Terminated);
        self.happened(now, Effect::Terminated(id.clone()));
        let volumes = self.instances.get(id).map(|instance| instance.volumes.clone()).unwrap_or_default();
        for (_, volume) in volumes {
            let ends = self.volumes.get(&volume).and_then(|v| v.attachment.as_ref()).map(|a| a.delete_on_termination);
            match ends {
                Some(true) => drop(self.volumes.remove(&volume)),
                Some(false) => self.detach(&volume),
                None => {}
            }
        }
        self.end_interface(id);
        self.free_address(id);
        let (tags, shown) = (self.draw(Latency::TagsKept), self.draw(Latency::Shown));
        self.schedule(now + tags, Due::TagsVanish(id.clone()));
        self.schedule(now + shown, Due::Vanish(id.clone()));
    }

    fn detach(&mut self, volume: &str) {
        if let Some(volume) = self.volumes.get_mut(volume) {
            volume.attachment = None;
        }
    }

    pub(super) fn tags_vanish(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        self.change(id, now, |facts| facts.tags = std::sync::Arc::default());
    }

    /// A new state, and when the one after it comes.
    fn turn(
        &mut self,
        id: &InstanceId,
        now: DateTime<Utc>,
        state: InstanceState,
        reason: Option<Reason>,
        after: TimeDelta,
    ) {
        let transition = match &reason {
            Some(reason) if reason.code.contains("User") => {
                format!("User initiated ({} GMT)", now.format("%Y-%m-%d %H:%M:%S"))
            }
            Some(_) | None => String::new(),
        };
        let state_now = state.clone();
        self.change(id, now, |facts| {
            facts.state = state;
            facts.reason = reason;
            facts.transition = transition;
            facts.public_ip = None;
        });
        let writes = state_now == InstanceState::Stopping && self.instances.get(id).is_some_and(|i| i.hibernating);
        if writes {
            self.bill.write_begins(id.as_str(), now);
        } else {
            self.bill.run_ends(id.as_str(), now);
        }
        self.spot_follows(id, now);
        let Some(instance) = self.instances.get_mut(id) else { return };
        instance.hibernating = writes;
        instance.epoch += 1;
        let epoch = instance.epoch;
        self.schedule(now + after, Due::Instance(id.clone(), epoch));
    }

    pub(super) fn ending_time(&mut self) -> TimeDelta {
        let stuck = self.chance(Fault::StuckEnding);
        self.draw(if stuck { Latency::StuckEnding } else { Latency::Ending })
    }

    /// It begins to shut down for good.
    pub(super) fn end(&mut self, id: &InstanceId, reason: Reason, by: By, now: DateTime<Utc>) {
        if self.instances.get(id).is_none_or(Instance::is_over) {
            return;
        }
        let before = self.instances.get(id).map(|instance| instance.state().clone());
        let after = self.ending_time();
        self.turn(id, now, InstanceState::ShuttingDown, Some(reason), after);
        self.trailed(now, "TerminateInstances", by, id, before);
        self.happened(now, Effect::Ending(id.clone(), by));
    }

    pub(super) fn begin_stop(&mut self, id: &InstanceId, reason: Reason, by: By, now: DateTime<Utc>) {
        let after = self.ending_time();
        self.stops_within(id, reason, by, after, now);
    }

    pub(super) fn stops_within(
        &mut self,
        id: &InstanceId,
        reason: Reason,
        by: By,
        after: TimeDelta,
        now: DateTime<Utc>,
    ) {
        let before = self.instances.get(id).map(|instance| instance.state().clone());
        self.turn(id, now, InstanceState::Stopping, Some(reason), after);
        self.trailed(now, "StopInstances", by, id, before);
        self.happened(now, Effect::Stopping(id.clone(), by));
    }

    /// Finds instances as a writer does: on one replica, all or nothing.
    fn known(&mut self, ids: &[InstanceId], now: DateTime<Utc>) -> Result<(), ApiError> {
        let replica = self.replica();
        let unknown: Vec<&str> = ids
            .iter()
            .filter(|id| self.instances.get(*id).and_then(|i| i.seen_by(replica, now)).is_none())
            .map(InstanceId::as_str)
            .collect();
        if unknown.is_empty() { Ok(()) } else { Err(ApiError::no_instance(&unknown)) }
    }

    fn changes<E>(
        &mut self,
        ids: &[InstanceId],
        mut one: impl FnMut(&mut Self, &InstanceId) -> Result<(), E>,
    ) -> Result<Vec<StateChange>, E> {
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(before) = self.instances.get(id).map(|i| i.state().clone()) else { continue };
            one(self, id)?;
            let now = self.instances.get(id).map_or_else(|| before.clone(), |i| i.state().clone());
            changes.push(StateChange { id: id.clone(), before, now });
        }
        Ok(changes)
    }

    /// TerminateInstances: all or nothing for unknown ids; per zone all or nothing for protected ones.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `OperationNotPermitted`.
    pub fn terminate_instances(
        &mut self,
        ids: &[InstanceId],
        now: DateTime<Utc>,
    ) -> Result<Vec<StateChange>, ApiError> {
        self.known(ids, now)?;
        let guarded: Vec<(String, String)> = ids
            .iter()
            .filter_map(|id| self.instances.get(id))
            .filter(|instance| instance.termination_protected && !instance.is_over())
            .map(|instance| (instance.zone.clone(), instance.id.to_string()))
            .collect();
        let free: Vec<InstanceId> = ids
            .iter()
            .filter(|id| self.instances.get(*id).is_some_and(|i| guarded.iter().all(|(zone, _)| *zone != i.zone)))
            .cloned()
            .collect();
        let changes = self.changes(&free, |site, id| -> Result<(), ApiError> {
            site.end(
                id,
                Reason::new("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"),
                By::Caller,
                now,
            );
            Ok(())
        })?;
        match guarded.first() {
            None => Ok(changes),
            Some((_, id)) => Err(ApiError::client(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                ),
            )),
        }
    }

    /// StopInstances. With `force`, a stuck stop is over in seconds.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `OperationNotPermitted`, `UnsupportedOperation`,
    /// `UnsupportedHibernationConfiguration`.
    pub fn stop_instances(
        &mut self,
        ids: &[InstanceId],
        mode: StopMode,
        force: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<StateChange>, ApiError> {
        self.known(ids, now)?;
        for instance in ids.iter().filter_map(|id| self.instances.get(id)) {
            let id = &instance.id;
            if instance.stop_protected {
                let message = format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
                );
                return Err(ApiError::client("OperationNotPermitted", message));
            }
            if instance.params.spot.as_ref().is_some_and(|spot| !spot.persistent) {
                let message = format!(
                    "You can't stop the Spot Instance '{id}' because it is associated with a one-time Spot Instance request."
                );
                return Err(ApiError::client("UnsupportedOperation", message));
            }
            if instance.is_over() || *instance.state() == InstanceState::Pending {
                return Err(wrong_state(instance));
            }
            if mode == StopMode::Hibernate {
                may_hibernate(instance, now)?;
            }
        }
        self.changes(ids, |site, id| {
            let state = site.instances.get(id).map(|i| i.state().clone());
            let reason =
                Reason::new("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown");
            match state {
                Some(InstanceState::Running) if mode == StopMode::Hibernate => site.hibernate(id, now),
                Some(InstanceState::Running) => site.begin_stop(id, reason, By::Caller, now),
                Some(InstanceState::Stopping) if force => {
                    let after = site.draw(Latency::Ending);
                    site.turn(id, now, InstanceState::Stopping, Some(reason), after);
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// StartInstances.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `InsufficientInstanceCapacity`, `VcpuLimitExceeded`.
    pub fn start_instances(&mut self, ids: &[InstanceId], now: DateTime<Utc>) -> Result<Vec<StateChange>, ApiError> {
        self.known(ids, now)?;
        let mut wanted = 0;
        for instance in ids.iter().filter_map(|id| self.instances.get(id)) {
            match instance.state() {
                InstanceState::Running | InstanceState::Pending => {}
                InstanceState::Stopped => {
                    let kind = &instance.facts().instance_type;
                    if !self.has_capacity(kind, &instance.zone, instance.params.spot.is_some(), now) {
                        return Err(no_capacity(kind, &instance.zone, true));
                    }
                    wanted += vcpus(kind);
                }
                InstanceState::Stopping
                | InstanceState::ShuttingDown
                | InstanceState::Terminated
                | InstanceState::Unknown(_) => return Err(wrong_state(instance)),
            }
        }
        if wanted > 0 && self.holds(Fault::QuotaReached, "", now) {
            let message = format!(
                "You have requested more vCPU capacity than your current vCPU limit of {} allows.",
                self.quota_vcpus
            );
            return Err(ApiError::client("VcpuLimitExceeded", message));
        }
        self.changes(ids, |site, id| {
            if site.instances.get(id).is_some_and(|i| *i.state() == InstanceState::Stopped) {
                let pending = site.pending_time();
                site.turn(id, now, InstanceState::Pending, None, pending);
                site.change(id, now, |facts| facts.launch_time = now);
                site.trailed(now, "StartInstances", By::Caller, id, Some(InstanceState::Stopped));
                site.happened(now, Effect::Started(id.clone(), By::Caller));
            }
            Ok(())
        })
    }

    /// RebootInstances: the state does not change.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`.
    pub fn reboot_instances(&mut self, ids: &[InstanceId], now: DateTime<Utc>) -> Result<(), ApiError> {
        self.known(ids, now)?;
        match ids.iter().filter_map(|id| self.instances.get(id)).find(|i| *i.state() != InstanceState::Running) {
            Some(instance) => Err(wrong_state(instance)),
            None => Ok(()),
        }
    }

    /// The guest powers itself off: what follows was chosen at the launch.
    pub fn power_off(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get(id).filter(|i| *i.state() == InstanceState::Running) else { return };
        let reason = Reason::new(
            "Client.InstanceInitiatedShutdown",
            "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
        );
        if instance.terminate_on_shutdown {
            self.end(id, reason, By::Guest, now);
        } else {
            self.begin_stop(id, reason, By::Guest, now);
        }
    }

    /// Somebody else, or EC2, terminates it.
    pub fn end_from_outside(&mut self, id: &InstanceId, now: DateTime<Utc>, code: &str) {
        let by = if code.starts_with("Server.") { By::Ec2 } else { By::ThirdParty };
        self.end(id, Reason::new(code, code), by, now);
    }

    /// The guest writes something on its console.
    pub fn console_says(&mut self, id: &InstanceId, text: &str) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.say(text);
        }
    }

    /// Somebody else stops it.
    pub fn stop_from_outside(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        if self.instances.get(id).is_some_and(|i| *i.state() == InstanceState::Running) {
            let reason =
                Reason::new("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown");
            self.begin_stop(id, reason, By::ThirdParty, now);
        }
    }

    /// Changes anything of an instance as somebody with access to the account could.
    pub fn retag_from_outside(
        &mut self,
        id: &InstanceId,
        now: DateTime<Utc>,
        edit: impl FnOnce(&mut super::instance::Tags),
    ) {
        self.change(id, now, |facts| edit(std::sync::Arc::make_mut(&mut facts.tags)));
        self.happened(now, Effect::Tagged(id.clone(), By::ThirdParty));
    }

    /// A termination that was accepted does not happen after all: the instance runs on.
    pub fn undo_ending(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        if let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.is_over()) {
            instance.epoch += 1;
            self.becomes_running(id, now);
        }
    }

    /// What the weather may do to a running instance, each with its rate per hour.
    fn strokes(&self, id: &InstanceId) -> Vec<(Fault, f64)> {
        let spot = self.instances.get(id).is_some_and(|instance| instance.params.spot.is_some());
        [Fault::ThirdPartyStop, Fault::ThirdPartyTerminate, Fault::ThirdPartyRetag, Fault::SpotInterruption]
            .into_iter()
            .filter(|fault| spot || *fault != Fault::SpotInterruption)
            .map(|fault| (fault, self.weather.rate(fault)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect()
    }

    fn schedule_stroke(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let rate: f64 = self.strokes(id).iter().map(|(_, rate)| rate).sum();
        let Some(epoch) = self.instances.get(id).map(|instance| instance.epoch).filter(|_| rate > 0.0) else { return };
        let wait = super::site::exponential(&mut self.random, rate);
        self.schedule(now + wait, Due::Stroke(id.clone(), epoch));
    }

    pub(super) fn stroke(&mut self, id: &InstanceId, epoch: u32, now: DateTime<Utc>) {
        let holds = |i: &Instance| i.epoch == epoch && *i.state() == InstanceState::Running;
        if !self.instances.get(id).is_some_and(holds) {
            return;
        }
        let strokes = self.strokes(id);
        let mut drawn = self.random.f64() * strokes.iter().map(|(_, rate)| rate).sum::<f64>();
        let chosen = strokes.iter().find(|(_, rate)| {
            drawn -= rate;
            drawn < 0.0
        });
        match chosen.map(|(fault, _)| *fault) {
            Some(Fault::ThirdPartyStop) => self.stop_from_outside(id, now),
            Some(Fault::ThirdPartyTerminate) => self.end_from_outside(id, now, "Client.UserInitiatedShutdown"),
            Some(Fault::SpotInterruption) => self.interrupt(id, now),
            Some(Fault::ThirdPartyRetag) => {
                let keys = [tag_keys::FLEET, tag_keys::CONTROLLER, tag_keys::WORKER, tag_keys::LEASE];
                let key = keys[self.random.usize(0..keys.len())];
                self.retag_from_outside(id, now, |tags| {
                    if tags.remove(key).is_none() && key == tag_keys::WORKER {
                        tags.remove(tag_keys::WORKERS);
                    }
                });
                self.schedule_stroke(id, now);
            }
            Some(_) | None => {}
        }
    }
}

fn wrong_state(instance: &Instance) -> ApiError {
    let (id, state) = (&instance.id, instance.state());
    let message = format!("The instance '{id}' is not in a state from which it can be changed so: it is {state}.");
    ApiError::client("IncorrectInstanceState", message)
}
