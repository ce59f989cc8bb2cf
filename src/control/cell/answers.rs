//! What the answers to a cell's calls change: in the record, in the pace, and in what is tried next.

use chrono::{DateTime, Utc};

use super::{CellLoop, Done, SETTLE};
use crate::cloud::{Cloud, CloudError};
use crate::control::backoff::backoff;
use crate::control::pace::ApiAction;
use crate::control::perform::{self, Call, Outcome};
use crate::ledger::Ledger;
use crate::model::{Actor, Failure, FailureKind, HeldReason, Phase, Subject};
use crate::plan::Console;

impl<C: Cloud + 'static, L: Ledger + 'static> CellLoop<C, L> {
    /// Takes in an answer, and every other one that is there already: their outcomes are one write.
    pub(super) fn conclude_ready(&mut self, first: Done) {
        let mut outcomes = Vec::new();
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Done::Called(outcome) => outcomes.push(outcome),
                other => {
                    self.conclude_calls(std::mem::take(&mut outcomes));
                    self.conclude(other);
                }
            }
            next = self.calls.ready();
        }
        self.conclude_calls(outcomes);
    }

    fn conclude(&mut self, done: Done) {
        let now = self.clock.now();
        match done {
            Done::Listed(result) => self.conclude_listing(now, result),
            Done::Surveyed(survey) => {
                self.sweeper.looked(survey, self.shared.intent().sweep.period, &mut self.random);
            }
            Done::Amis(looked) => {
                if self.amis.looked(now, looked, &self.cell, &self.shared.intent(), &mut self.random) {
                    self.pace.refused(ApiAction::Describe, now);
                }
            }
            Done::Prepared(too_fast) => {
                if too_fast {
                    self.pace.refused(ApiAction::Describe, now);
                }
            }
            Done::Called(outcome) => self.conclude_calls(vec![outcome]),
            Done::Noticed(answer) => {
                self.notices.answered(now, &answer);
                self.watch.interrupted(answer.unwrap_or_default());
            }
            Done::Read(instance, text) => self.watch.console_is(&instance, Console::Read(text)),
        }
    }

    fn conclude_calls(&mut self, outcomes: Vec<Outcome>) {
        let now = self.clock.now();
        let mut entries = Vec::new();
        for outcome in &outcomes {
            let open = self.launch_is_open(now, outcome);
            entries.extend(perform::outcome_entries(outcome, open));
        }
        if let Err(error) = self.shared.append(now, &Actor::Cloud, entries) {
            // The subjects stay out of the way until the listing shows the outcome.
            tracing::error!(cell = %self.cell, %error, "cannot write an outcome; it is found again by the tags");
            for outcome in &outcomes {
                if let Call::Launch { workers, token, .. } = &outcome.call {
                    let several = workers.len() > 1;
                    let failure = Failure::new(Phase::Launch, FailureKind::RetrySame, "Ledger", &error.to_string());
                    self.watch.launch_refused(token, true, several, now, failure);
                }
            }
        }
        for outcome in outcomes {
            self.conclude_call(now, &outcome);
        }
    }

    fn conclude_call(&mut self, now: DateTime<Utc>, outcome: &Outcome) {
        let subjects = outcome.call.subjects();
        for subject in &subjects {
            self.in_flight.remove(subject);
        }
        if let Call::Renew { .. } = &outcome.call {
            self.renewing = false;
        }
        match &outcome.result {
            Ok(_) => self.note_success(now, &outcome.call, subjects),
            Err(error) => self.back_off(now, &outcome.call, &subjects, error),
        }
    }

    fn note_success(&mut self, now: DateTime<Utc>, call: &Call, subjects: Vec<Subject>) {
        // A start shows when the instance is seen running; until then its listing may be old.
        let settle = match call {
            Call::Stop { .. } => Some(SETTLE),
            Call::Start { .. } => Some(self.shared.intent().base_policy.absence_grace),
            Call::Launch { .. }
            | Call::Terminate { .. }
            | Call::Equip { .. }
            | Call::Renew { .. }
            | Call::Remove { .. } => None,
        };
        for subject in subjects {
            self.refusals.remove(&subject);
            match settle {
                Some(settle) => self.not_before.insert(subject, HeldReason::Settling { until: now + settle }),
                None => self.not_before.remove(&subject),
            };
        }
        match call {
            Call::Renew { instances, until } => {
                self.renew_refusals = 0;
                self.watch.renewed(instances, *until);
            }
            Call::Equip { instance, what, .. } => self.equip_calls.done(instance, what, now),
            Call::Terminate { doomed } => self.alone.retain(|id| doomed.iter().all(|one| one.instance != *id)),
            Call::Launch { .. } | Call::Stop { .. } | Call::Start { .. } | Call::Remove { .. } => {}
        }
    }

    /// Whether the call was a launch's whose outcome is not known yet.
    fn launch_is_open(&mut self, now: DateTime<Utc>, outcome: &Outcome) -> bool {
        let Call::Launch { workers, token, again, .. } = &outcome.call else { return false };
        match &outcome.result {
            Ok(_) => {
                self.watch.launched(token);
                false
            }
            Err(error) => {
                let failure = Failure::new(Phase::Launch, error.kind, &error.code, &error.message);
                let several = workers.len() > 1;
                self.watch.launch_refused(token, *again, several, now, failure)
            }
        }
    }

    /// Whether several instances were to end by a call that was refused: each is asked for alone then, at once.
    fn is_to_be_split(&mut self, call: &Call, error: &CloudError) -> bool {
        let Call::Terminate { doomed } = call else { return false };
        let about_one = !error.kind.leaves_outcome_open();
        if doomed.len() < 2 || !about_one {
            return false;
        }
        self.alone.extend(doomed.iter().map(|one| one.instance.clone()));
        true
    }

    fn back_off(&mut self, now: DateTime<Utc>, call: &Call, subjects: &[Subject], error: &CloudError) {
        tracing::warn!(cell = %self.cell, error.code = %error.code, error.kind = %error.kind, "refused: {}", error.message);
        if error.kind == FailureKind::Throttled {
            self.pace.refused(call.action(), now);
        }
        if let Call::Remove { resource } = call
            && !error.kind.leaves_outcome_open()
        {
            self.sweeper.refused(resource, now);
        }
        if let (Call::Launch { .. }, true) = (call, error.code.starts_with("InvalidAMIID")) {
            self.amis.forget();
        }
        if call.is_refused_by(error) || self.is_to_be_split(call, error) {
            return;
        }
        if let Call::Equip { instance, what, .. } = call {
            let refusals = self.equip_calls.refused(instance, what);
            self.equip_calls.wait(instance, what, now + backoff(refusals, &mut self.random));
        }
        if let Call::Renew { instances, .. } = call {
            if !error.kind.leaves_outcome_open() {
                self.watch.renewal_refused(instances, now);
            }
            self.renew_refusals += 1;
            self.renew_from = now + backoff(self.renew_refusals, &mut self.random);
        }
        for subject in subjects {
            let refusals = self.refusals.entry(subject.clone()).or_insert(0);
            *refusals += 1;
            let pause = backoff(*refusals, &mut self.random);
            self.not_before.insert(subject.clone(), HeldReason::RetryAt { at: now + pause });
        }
    }
}
