//! What happens to the master, the controller and the configuration.

use std::sync::Arc;

use chrono::TimeDelta;

use super::agenda::Happening;
use super::life::{SimLedger, lock};
use super::play::Play;
use super::sabotage::Sabotage;
use crate::control::Controller;
use crate::model::WorkerName;
use crate::sim::{Fault, Life};

/// An operator holds an instance for less than that.
const HOLD_MINUTES: i64 = 240;

impl Play {
    /// One of those that happen so often a day.
    pub(super) async fn trouble(&mut self, happening: Happening) {
        if self.calm && !matches!(happening, Happening::MasterUp | Happening::SilenceEnds) {
            return;
        }
        let now = self.now();
        self.faults += u64::from(!matches!(happening, Happening::MasterUp | Happening::SilenceEnds));
        match happening {
            Happening::MasterKill => {
                let down = TimeDelta::seconds(self.random.i64(5..180));
                for id in self.master.dies(now) {
                    let again = down + TimeDelta::seconds(self.random.i64(1..60));
                    let site = lock(&self.truth).standing.get(&id).map(|known| known.site.clone());
                    if let Some(site) = site {
                        let guest = self.guest_of(&site, &id);
                        self.agenda.add(now + again, Happening::Connect(guest));
                    }
                }
                self.agenda.add(now + down, Happening::MasterUp);
                let rate = self.rate(Fault::MasterKill);
                self.some_time(rate / 24.0, Happening::MasterKill);
            }
            Happening::MasterUp => {
                self.master.up = true;
                self.report();
                self.turn_all();
            }
            Happening::SilenceBegins => {
                self.master.reachable = false;
                let length = TimeDelta::seconds(self.random.i64(5..2_400));
                self.agenda.add(now + length, Happening::SilenceEnds);
            }
            Happening::SilenceEnds => {
                self.master.reachable = true;
                self.report();
                self.turn_all();
                let rate = self.rate(Fault::MasterSilence);
                self.some_time(rate / 24.0, Happening::SilenceBegins);
            }
            Happening::Reconfig => self.reconfigure(),
            Happening::Operator => self.operator(),
            Happening::Canary => self.canary(),
            Happening::LedgerLost => {
                self.life.kill();
                self.bury().await;
                self.disk.lose();
                self.read = 0;
                let now = self.clock.now();
                lock(&self.truth).ledger_lost(now);
                let rate = self.rate(Fault::LedgerLost);
                self.some_time(rate / 24.0, Happening::LedgerLost);
            }
            Happening::Stray => self.stray(),
            Happening::SecondController => self.second_controller(),
            _ => {}
        }
    }

    fn operator(&mut self) {
        let names: Vec<WorkerName> = self.master.desks.keys().cloned().collect();
        let name = &names[self.random.usize(0..names.len())];
        if let Some(controller) = self.controller() {
            let length = TimeDelta::minutes(self.random.i64(1..HOLD_MINUTES));
            // Refused where there is nothing to hold, or nothing can be written: then it is not done.
            match self.random.u8(0..4) {
                0 | 1 => {
                    lock(&self.truth).holds.asked(name);
                    drop(controller.hold(name, length));
                }
                2 => self.lift(&controller),
                _ => drop(controller.drain(name)),
            }
        }
        let rate = self.rate(Fault::Operator);
        self.some_time(rate / 24.0, Happening::Operator);
    }

    /// Somebody does not need what he holds any more.
    fn lift(&mut self, controller: &Controller<SimLedger>) {
        let now = self.now();
        let held: Vec<WorkerName> = lock(&self.truth).holds.standing(now).cloned().collect();
        if held.is_empty() {
            return;
        }
        let name = &held[self.random.usize(0..held.len())];
        let unheard = self.settings.sabotage == Some(Sabotage::HoldNotLifted);
        if unheard || controller.unhold(name).is_ok() {
            lock(&self.truth).holds.lift(name);
        }
    }

    fn reconfigure(&mut self) {
        self.scene.change(&mut self.random);
        self.take_intent();
        let rate = self.rate(Fault::Reconfig);
        self.some_time(rate / 24.0, Happening::Reconfig);
    }

    /// The controller is told what the scene says now.
    pub(super) fn take_intent(&mut self) {
        if let Some(intent) = self.scene.intent() {
            self.intent = intent;
        }
        if let Some(controller) = self.controller() {
            let doors = self.doors(Arc::clone(&self.life) as Arc<dyn Life>);
            // Refused or not, the next start takes it.
            drop(controller.reconfigure(self.intent.clone(), self.random.u64(..), doors));
        }
    }
}
