//! The guests: systems that boot in instances, connect to the master, watch their lease, and fail.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::agenda::{GuestId, Happening};
use super::life::lock;
use super::master::Visitor;
use super::play::Play;
use super::sabotage::Sabotage;
use super::scene::{PROXY, Scene};
use crate::model::{InstanceId, InstanceState, WorkerName, tag_keys};
use crate::plan::Info;
use crate::sim::{Effect, Fault, Latency, Platform, SiteId};

/// After the end of its lease a guest waits so long before it powers itself off.
const LEASE_GRACE: TimeDelta = TimeDelta::minutes(1);
/// For so long after a boot a guest does not hold an old lease against its instance.
const BOOT_GRACE: TimeDelta = TimeDelta::minutes(5);
/// How long the door may keep somebody waiting for a listing.
const ANSWER: TimeDelta = TimeDelta::seconds(5);
/// A guest reads the notice of an interruption within so long, in milliseconds.
const NOTICE_BEAT_MS: i64 = 60_000;
/// How often a guest looks at a lease that it could not read.
const LEASE_PERIOD: TimeDelta = TimeDelta::minutes(10);

impl Play {
    /// A guest feels what happened to its instance.
    pub(super) fn feel(&mut self, at: DateTime<Utc>, site: &SiteId, effect: &Effect) {
        match effect {
            Effect::Running(id) => self.boots(at, site, id),
            Effect::Stopping(id, _) | Effect::Ending(id, _) => {
                self.loses_all(id);
                self.knocks_once_more(at, site, id);
            }
            Effect::Stopped(id) | Effect::Terminated(id) => {
                self.addresses.remove(id);
                self.loses_all(id);
            }
            Effect::Warned(id) => self.reads_notice(at, site, id),
            Effect::Launched(_) | Effect::Started(..) | Effect::Tagged(..) => {}
        }
    }

    fn worker_of(&self, id: &InstanceId) -> Option<WorkerName> {
        lock(&self.truth).standing.get(id).and_then(|known| known.worker.parse().ok())
    }

    fn boots(&mut self, at: DateTime<Utc>, site: &SiteId, id: &InstanceId) {
        let Some(worker) = self.worker_of(id) else { return };
        let boot = self.boots.entry(id.clone()).or_default();
        *boot += 1;
        let guest = GuestId { site: site.clone(), id: id.clone(), boot: *boot };
        self.hung.remove(id);
        self.addresses.insert(id.clone(), self.address_of(&guest).unwrap_or_default());
        let platform = if self.scene.is_windows(worker.as_str()) { Platform::Windows } else { Platform::Server };
        let mut boot = Latency::Boot(platform).draw(false, &mut self.random);
        if self.settings.sabotage == Some(Sabotage::UnseededChance) {
            let drawn = RandomState::new().build_hasher().finish() % 2_000;
            boot += TimeDelta::milliseconds(i64::try_from(drawn).unwrap_or_default());
        }
        if self.chance(Fault::BootLate) {
            boot = boot * self.random.i32(5..10);
        }
        if self.chance(Fault::BootNever) {
            self.hung.insert(id.clone());
            let why = "[   11.318402] buildbot-worker[412]: the configuration of the worker is missing, giving up\n";
            lock(&self.world).touch(site, at, |site| site.console_says(id, why));
        } else {
            self.agenda.add(at + boot, Happening::Connect(guest.clone()));
        }
        if self.chance(Fault::ConnectTwice) {
            let again = boot + TimeDelta::seconds(self.random.i64(1..60));
            self.agenda.add(at + again, Happening::Connect(guest.clone()));
        }
        for (fault, happening) in [
            (Fault::ConnectionLost, Happening::LoseConnection(guest.clone())),
            (Fault::GuestHang, Happening::Hang(guest.clone())),
            (Fault::GuestPowerOff, Happening::PowerOff(guest.clone())),
        ] {
            let rate = self.rate(fault);
            self.some_time(rate, happening);
        }
        if self.scene.watches_lease(worker.as_str()) {
            self.agenda.add(at + BOOT_GRACE, Happening::LeaseCheck(guest.clone()));
            if let Some(deadline) = self.deadline_of(&guest) {
                self.agenda.add(deadline.max(at), Happening::Deadline(guest));
            }
        }
    }

    /// Where the master sees a guest's connections come from: what EC2 gave its instance for this run.
    fn address_of(&self, guest: &GuestId) -> Option<String> {
        if self.worker_of(&guest.id).is_some_and(|worker| Scene::is_proxied(worker.as_str())) {
            return Some(PROXY.to_owned());
        }
        let mut world = lock(&self.world);
        let instance = world.site(&guest.site).instance(&guest.id)?;
        Some(instance.facts().public_ip.clone().unwrap_or_else(|| instance.private_ip.clone()))
    }

    /// What a guest's user data told it of its attempt, where it did.
    fn info_of(&self, guest: &GuestId, worker: &WorkerName) -> Info {
        let mut world = lock(&self.world);
        let params = world.site(&guest.site).instance(&guest.id).map(|instance| Arc::clone(&instance.params));
        drop(world);
        let attempt =
            params.and_then(|params| params.tags.values().find_map(|tags| tags.get(tag_keys::ATTEMPT).cloned()));
        let attempt = attempt.filter(|_| Scene::is_proxied(worker.as_str())).and_then(|text| text.parse().ok());
        let join_secret = attempt.map(|attempt| Scene::join_key().secret(worker, &attempt));
        Info { join_secret, ..Info::default() }
    }

    /// The instance goes, and its worker's connection with it.
    fn loses_all(&mut self, id: &InstanceId) {
        let using = self.master.desks.keys().cloned().collect::<Vec<_>>();
        let (now, controller) = (self.now(), self.controller());
        for worker in using {
            if let Some(turn) = self.master.loses(&worker, id, now, controller.as_ref()) {
                self.keepalive(&worker, turn, false);
            }
        }
    }

    /// Now and then a worker connects once more while its system goes down.
    fn knocks_once_more(&mut self, at: DateTime<Utc>, site: &SiteId, id: &InstanceId) {
        // What is stopped and then ended has no system that could.
        if self.addresses.contains_key(id) && self.chance(Fault::StaleTwin) {
            let again = TimeDelta::milliseconds(self.random.i64(500..4_000));
            let guest = self.guest_of(site, id);
            self.agenda.add(at + again, Happening::Connect(guest));
        }
    }

    /// The lease watch of a guest reads the notice within its beat, if there is one in it.
    fn reads_notice(&mut self, at: DateTime<Utc>, site: &SiteId, id: &InstanceId) {
        let watches = self.worker_of(id).is_some_and(|worker| self.scene.watches_lease(worker.as_str()));
        if watches {
            let beat = TimeDelta::milliseconds(self.random.i64(0..NOTICE_BEAT_MS));
            let guest = self.guest_of(site, id);
            self.agenda.add(at + beat, Happening::Leaves(guest));
        }
    }

    /// The worker tells its master, as one does that is asked to shut down gracefully.
    fn asks_to_leave(&mut self, guest: &GuestId) {
        let Some(worker) = self.identity(guest).filter(|_| !self.hung.contains(&guest.id)) else { return };
        let controller = self.controller();
        self.master.hears_it_leaves(&worker, &guest.id, controller.as_ref());
        self.turn(&worker);
    }

    /// The guest that an instance's last boot made.
    pub(super) fn guest_of(&self, site: &SiteId, id: &InstanceId) -> GuestId {
        GuestId { site: site.clone(), id: id.clone(), boot: self.boots.get(id).copied().unwrap_or_default() }
    }

    /// Its last hour, as the tag of its launch says.
    fn deadline_of(&self, guest: &GuestId) -> Option<DateTime<Utc>> {
        let mut world = lock(&self.world);
        world.site(&guest.site).instance(&guest.id)?.tag(tag_keys::DEADLINE)?.parse().ok()
    }

    /// What a guest does by itself.
    pub(super) fn guest(&mut self, happening: Happening) {
        let (Happening::Connect(guest)
        | Happening::Answered(guest)
        | Happening::LoseConnection(guest)
        | Happening::Hang(guest)
        | Happening::PowerOff(guest)
        | Happening::Leaves(guest)
        | Happening::LeaseCheck(guest)
        | Happening::Deadline(guest)) = &happening
        else {
            return;
        };
        if self.boots.get(&guest.id) != Some(&guest.boot) {
            return;
        }
        match happening {
            Happening::Connect(guest) => self.connects(&guest, false),
            Happening::Answered(guest) => self.connects(&guest, true),
            Happening::LoseConnection(guest) => {
                self.loses_connection(&guest);
                let wait = TimeDelta::seconds(self.random.i64(1..90));
                self.agenda.add(self.now() + wait, Happening::Connect(guest.clone()));
                let rate = self.rate(Fault::ConnectionLost);
                if self.state(&guest) == Some(InstanceState::Running) {
                    self.some_time(rate, Happening::LoseConnection(guest));
                }
            }
            Happening::Hang(guest) => self.hangs(&guest),
            Happening::PowerOff(guest) | Happening::Deadline(guest) => self.powers_off(&guest),
            Happening::Leaves(guest) => self.asks_to_leave(&guest),
            Happening::LeaseCheck(guest) => self.looks_at_lease(guest),
            _ => {}
        }
    }

    fn state(&self, guest: &GuestId) -> Option<InstanceState> {
        let mut world = lock(&self.world);
        world.site(&guest.site).instance(&guest.id).map(|instance| instance.state().clone())
    }

    /// A guest's worker knocks. Where a newer listing could tell more the answer comes later, and is the
    /// last one then.
    fn connects(&mut self, guest: &GuestId, waited: bool) {
        let (now, id) = (self.now(), &guest.id);
        let state = self.state(guest);
        let over =
            matches!(state, None | Some(InstanceState::Pending | InstanceState::Terminated | InstanceState::Stopped));
        if over || self.hung.contains(id) {
            return;
        }
        let Some(worker) = self.identity(guest) else { return };
        let controller = self.controller();
        let peer = self.addresses.get(id).cloned().unwrap_or_default();
        let knock = Visitor { instance: id, peer: &peer, info: &self.info_of(guest, &worker), waited };
        let Some(taken) = self.master.connects(&worker, knock, now, controller.as_ref()) else {
            return self.agenda.add(now + ANSWER, Happening::Answered(guest.clone()));
        };
        lock(&self.truth).tell(now, || format!("{worker} on {id} knocks, taken: {taken}"));
        if taken {
            lock(&self.truth).canaries.connected(id);
        }
        // A master that cannot ask takes back whom it knows, and begins no build on it.
        let asked = self.master.reachable && controller.is_some();
        if asked && taken && state != Some(InstanceState::Running) && lock(&self.truth).end_intended(id) {
            let what = format!("{worker} is taken from {id}, which is on its way out");
            lock(&self.truth).violated(2, now, what);
        }
        if !taken && state == Some(InstanceState::Running) {
            self.reconnects(now, Happening::Connect(guest.clone()));
        }
    }

    /// The name that is baked into the image, whatever became of the tags.
    fn identity(&self, guest: &GuestId) -> Option<WorkerName> {
        let (site, id) = (&guest.site, &guest.id);
        let mut world = lock(&self.world);
        let tags = world.site(site).instance(id)?.launch_tags();
        drop(world);
        let name = tags.get(tag_keys::WORKER);
        name.and_then(|name| name.parse().ok()).or_else(|| self.worker_of(id))
    }

    fn loses_connection(&mut self, guest: &GuestId) {
        let (now, controller) = (self.now(), self.controller());
        let Some(worker) = self.identity(guest) else { return };
        if let Some(turn) = self.master.loses(&worker, &guest.id, now, controller.as_ref()) {
            self.faults += 1;
            self.keepalive(&worker, turn, false);
        }
    }

    /// The worker says nothing any more; the master notices only when nothing has come for long.
    fn hangs(&mut self, guest: &GuestId) {
        let id = &guest.id;
        if self.state(guest) != Some(InstanceState::Running) || !self.hung.insert(id.clone()) {
            return;
        }
        self.faults += 1;
        let user = self
            .master
            .desks
            .iter()
            .find(|(_, desk)| desk.attached && desk.session == super::master::Session::Open(id.clone()));
        if let Some((worker, turn)) = user.map(|(worker, desk)| (worker.clone(), desk.turn)) {
            self.keepalive(&worker, turn, true);
        }
    }

    fn powers_off(&mut self, guest: &GuestId) {
        let now = self.now();
        self.faults += u64::from(self.state(guest) == Some(InstanceState::Running));
        lock(&self.world).touch(&guest.site, now, |site| site.power_off(&guest.id, now));
    }

    /// The lease, as the instance reads it in its own metadata; what cannot be read ends nothing.
    fn looks_at_lease(&mut self, guest: GuestId) {
        let now = self.now();
        if self.state(&guest) != Some(InstanceState::Running) {
            return;
        }
        let lease = {
            let mut world = lock(&self.world);
            let instance = world.site(&guest.site).instance(&guest.id);
            instance.and_then(|instance| instance.tag(tag_keys::LEASE)?.parse::<DateTime<Utc>>().ok())
        };
        match lease {
            Some(end) if now >= end + LEASE_GRACE => {
                // Where the account refuses every call for long, its lease ends: that is what it is for.
                let refused = {
                    let mut world = lock(&self.world);
                    let site = world.site(&guest.site);
                    !site.in_order(now) || !site.in_order(now - LEASE_PERIOD)
                };
                if !refused {
                    lock(&self.truth).lease_ran_out(now, &guest.id);
                }
                self.powers_off(&guest);
            }
            Some(end) => self.agenda.add((end + LEASE_GRACE).max(now + LEASE_GRACE), Happening::LeaseCheck(guest)),
            None => self.agenda.add(now + LEASE_PERIOD, Happening::LeaseCheck(guest)),
        }
    }
}
