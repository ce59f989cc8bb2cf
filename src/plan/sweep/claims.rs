//! What a controller says of the instances it knows, from its record.

use chrono::{DateTime, Utc};

use super::{Claim, Claims, OpenIntent};
use crate::model::{Fleet, Worker, WorkerName, WorkerState};
use crate::policy::Intent;

/// Everything that the record says. Adopted, bound and departing instances are in it; what is not, the
/// controller does not know.
pub fn claims(fleet: &Fleet, intent: &Intent) -> Claims {
    let mut claims = Claims::default();
    for (id, departing) in &fleet.departing {
        claims.instances.insert(id.clone(), Claim::Ending { since: departing.since });
    }
    for (name, worker) in &fleet.workers {
        if let Some((id, claim)) = worker.state.instance().zip(claim(intent, name, worker)) {
            claims.instances.insert(id.clone(), claim);
        }
        if let (WorkerState::Launching { token }, Some(attempt)) = (&worker.state, &worker.attempt) {
            let (region, token) = (attempt.cell.region.clone(), token.to_string());
            claims.open.push(OpenIntent { worker: name.clone(), token, since: worker.since, region });
        }
    }
    claims
}

fn claim(intent: &Intent, name: &WorkerName, worker: &Worker) -> Option<Claim> {
    let policy = intent.workers.get(name).map_or(&intent.base_policy, |configured| &configured.policy);
    let worker_name = name.clone();
    let connecting = |until: DateTime<Utc>| Claim::Connecting { worker: name.clone(), until };
    match &worker.state {
        // An operator keeps it, connected or not.
        WorkerState::Registering { .. } if worker.hold.is_some() => Some(Claim::Used { worker: worker_name }),
        // Of an adopted one only its master knows whether it is used.
        WorkerState::Registering { .. } if worker.attempt.as_ref().is_none_or(|attempt| attempt.spec.is_none()) => {
            Some(Claim::Used { worker: worker_name })
        }
        WorkerState::Registering { .. } => Some(connecting(worker.since + policy.connect_deadline)),
        WorkerState::Ready { .. } | WorkerState::Busy { .. } | WorkerState::Draining { .. } => {
            Some(Claim::Used { worker: worker_name })
        }
        WorkerState::Stopped { .. } => Some(Claim::Stopped { worker: worker_name }),
        WorkerState::Terminating { .. } => Some(Claim::Ending { since: worker.since }),
        WorkerState::Requested | WorkerState::Launching { .. } | WorkerState::Gone { .. } => None,
    }
}
