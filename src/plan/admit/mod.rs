//! Who may connect: a worker's connection is taken only from the instance of its present attempt.
//!
//! Four kinds of evidence are looked at, each proved, contradicted or unknown. What contradicts refuses,
//! and what is unknown does so only where the policy demands that very proof: a listing may be old, and
//! behind a proxy or NAT an address says nothing.

mod address;
mod document;

use chrono::{DateTime, TimeDelta};

use crate::model::{
    Attempt, AttemptId, Fleet, Instance, InstanceId, InstanceState, Inventory, Ownership, Worker, WorkerName,
    WorkerState,
};
use crate::policy::{Intent, Proof, Secret};

/// EC2's clock and ours may be so far apart: from a clock that is further off it takes no calls.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);
/// The most of what somebody says that is said again, in characters.
const QUOTED_MAX: usize = 60;

/// What a worker's `info/` says of where it is. Absent or empty says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The instance's id, as the worker says it.
    pub instance_id: Option<String>,
    /// The secret of the attempt, from the user data.
    pub join_secret: Option<Secret>,
    /// The identity document of the metadata service, to the byte.
    pub identity_document: Option<String>,
    /// Its signature in base64 (`instance-identity/signature`).
    pub identity_signature: Option<String>,
}

/// Somebody with a worker's name and password at a master's door, and everything that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// The worker that it says it is.
    pub worker: &'a WorkerName,
    /// The address that the connection comes from, as the master has it.
    pub peer: Option<&'a str>,
    /// What it says of itself.
    pub info: &'a Info,
    /// What people want.
    pub intent: &'a Intent,
    /// What the ledger says.
    pub fleet: &'a Fleet,
    /// The last listing of the cell of its attempt.
    pub inventory: Option<&'a Inventory>,
}

/// What became of a knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Whether the connection is taken.
    pub admit: bool,
    /// What was proved, or that nothing was, in words.
    pub proof: String,
    /// Why it is not taken, and what to do, in words.
    pub why: Option<String>,
    /// The instance that it is on instead, as far as that is known.
    pub instance: Option<InstanceId>,
    /// The same, if it is one that the controller ends because it belongs to no present attempt.
    pub twin: Option<InstanceId>,
    /// Whether a newer listing could lead to another answer.
    pub look: bool,
}

/// What one kind of evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Evidence {
    /// It is on the instance of the present attempt.
    Proved(String),
    /// It is not; on which instance it is instead, if that is known.
    Contradicted(String, Option<InstanceId>),
    /// It may be.
    Unknown(String),
}

/// Evidence, and whether a newer listing could change it.
struct Finding {
    evidence: Evidence,
    look: bool,
}

/// The present attempt, and its instance where that is known already.
struct Present<'a> {
    knock: &'a Knock<'a>,
    attempt: &'a Attempt,
    instance: Option<InstanceId>,
}

/// Whether the connection is taken.
pub fn admit(knock: &Knock<'_>) -> Admission {
    let fresh = Worker::unknown(DateTime::UNIX_EPOCH);
    let worker = knock.fleet.workers.get(knock.worker).unwrap_or(&fresh);
    match present(knock, worker) {
        Ok(present) => present.judge(),
        // Before the first listing an instance that is the worker's may not be known.
        Err(why) => refused(knock, why, address::holder(knock), knock.inventory.is_none()),
    }
}

/// The attempt from whose instance a connection may be taken now, or why there is none.
fn present<'a>(knock: &'a Knock<'a>, worker: &'a Worker) -> Result<Present<'a>, String> {
    let name = knock.worker;
    let instance = match &worker.state {
        WorkerState::Registering { instance }
        | WorkerState::Ready { instance, .. }
        | WorkerState::Busy { instance, .. } => Some(instance.clone()),
        WorkerState::Launching { .. } => None,
        WorkerState::Draining { instance, cause } => {
            return Err(format!("{name} is to let {instance} go ({cause}), so it takes no new connection"));
        }
        WorkerState::Terminating { instance, cause } => {
            return Err(format!("{instance} of {name} is being ended: {cause}"));
        }
        WorkerState::Stopped { instance } => return Err(format!("{instance} of {name} is stopped for the controller")),
        WorkerState::Requested => return Err(format!("nothing is launched for {name} yet")),
        WorkerState::Gone { cause } => return Err(format!("{name} has no instance ({cause})")),
    };
    if let Some(cause) = worker.released.as_ref().filter(|_| worker.hold.is_none()) {
        return Err(format!("{name} is let go of ({cause}), and its instance is about to be taken away"));
    }
    let attempt = worker.attempt.as_ref().ok_or_else(|| format!("nothing is launched for {name} yet"))?;
    let listed = || of_attempt(knock, &attempt.id).map(|instance| instance.id.clone());
    Ok(Present { knock, attempt, instance: instance.or_else(listed) })
}

/// The instance that the listing shows for an attempt of the worker, before its launch was answered.
fn of_attempt<'a>(knock: &Knock<'a>, attempt: &AttemptId) -> Option<&'a Instance> {
    knock.inventory?.instances.values().find(|instance| {
        !instance.state.is_ending()
            && ours(knock, instance).is_some_and(|(worker, of)| worker == *knock.worker && of == *attempt)
    })
}

/// Whose an instance of this controller is, by its tags.
fn ours(knock: &Knock<'_>, instance: &Instance) -> Option<(WorkerName, AttemptId)> {
    let fleet = &knock.intent.fleet;
    match instance.tags.ownership(&fleet.name, &fleet.controller) {
        Ownership::Ours { worker, attempt, .. } => Some((worker, attempt)),
        Ownership::Foreign { .. } | Ownership::Unreadable { .. } => None,
    }
}

/// Whether something may still run in it that connects.
fn may_run(state: &InstanceState) -> bool {
    !matches!(state, InstanceState::Terminated | InstanceState::Stopped)
}

/// Whether the controller ends an instance of its own by itself: nothing in the ledger uses it.
fn is_ended(knock: &Knock<'_>, id: &InstanceId) -> bool {
    if knock.fleet.departing.contains_key(id) {
        return true;
    }
    let used = knock.fleet.bound_to(id).is_some();
    let listed = knock.inventory.and_then(|inventory| inventory.instances.get(id));
    !used && listed.is_some_and(|instance| ours(knock, instance).is_some())
}

fn refused(knock: &Knock<'_>, why: String, instance: Option<InstanceId>, look: bool) -> Admission {
    let twin = instance.clone().filter(|id| is_ended(knock, id));
    Admission { admit: false, proof: "nothing".to_owned(), why: Some(why), instance, twin, look }
}

/// What somebody says, fit to be said again.
fn quoted(text: &str) -> String {
    let plain: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_MAX).collect();
    format!("{plain:?}")
}

/// A text that says something.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

impl Present<'_> {
    fn judge(&self) -> Admission {
        let knock = self.knock;
        let proof = knock.intent.workers.get(knock.worker).map_or(&knock.intent.base_policy, |w| &w.policy).proof;
        if proof == Proof::None {
            return self.taken("not asked for (proof = \"none\")".to_owned(), false);
        }
        let address = address::finding(self);
        let (instance_id, join_secret, document) = (self.instance_id(), self.join_secret(), document::finding(self));
        for finding in [&address, &instance_id, &join_secret, &document] {
            if let Evidence::Contradicted(why, other) = &finding.evidence {
                let known = other.clone().or_else(|| address::holder(knock));
                return refused(knock, why.clone(), known, finding.look);
            }
        }
        let demanded = match proof {
            Proof::None | Proof::Address => None,
            Proof::InstanceId => Some((&instance_id, INSTANCE_ID_CURE)),
            Proof::JoinSecret => Some((&join_secret, JOIN_SECRET_CURE)),
            Proof::IdentityDocument => Some((&document, DOCUMENT_CURE)),
        };
        if let Some((Finding { evidence: Evidence::Unknown(missing), look }, cure)) = demanded {
            let why = format!("the policy demands proof = \"{proof}\", and {missing}; {cure}");
            return refused(knock, why, None, *look);
        }
        let all = [&address, &instance_id, &join_secret, &document];
        let proved: Vec<&str> = all.iter().filter_map(|finding| finding.evidence.proved()).collect();
        if proved.is_empty() {
            let unknown = address.evidence.unknown().unwrap_or_default();
            if let Some(twin) = address::unseen(self) {
                let why = format!(
                    "it may come from {}, which is being ended and no longer shows such an address; {unknown}",
                    twin.id
                );
                return refused(knock, why, None, true);
            }
            return self.taken(format!("not proved: {unknown}"), address.look);
        }
        // What only this instance can know settles it; what it merely says of itself does not.
        let settled = join_secret.evidence.proved().or_else(|| document.evidence.proved()).is_some();
        self.taken(proved.join("; "), address.look && !settled)
    }

    fn taken(&self, proof: String, look: bool) -> Admission {
        Admission { admit: true, proof, why: None, instance: self.instance.clone(), twin: None, look }
    }

    /// The instance as the words of a refusal name it.
    fn named(&self) -> String {
        let of = |id: &InstanceId| format!("{id}, the instance of attempt {}", self.attempt.id);
        self.instance.as_ref().map_or_else(|| format!("the instance of attempt {}", self.attempt.id), of)
    }

    /// The instance as the listing shows it.
    fn listed(&self) -> Option<&Instance> {
        self.knock.inventory?.instances.get(self.instance.as_ref()?)
    }

    fn instance_id(&self) -> Finding {
        let Some(text) = said(self.knock.info.instance_id.as_ref()) else {
            return Finding::unknown("its info/ has no latent-instance-id");
        };
        let Ok(id) = text.parse::<InstanceId>() else {
            return Finding::unknown(&format!(
                "its info/latent-instance-id says {}, which is no instance id",
                quoted(text)
            ));
        };
        if self.instance.as_ref() == Some(&id) {
            return Finding::proved(format!("it says that it is {id}"));
        }
        let why = format!("it says that it is {id}, and not {}; {STALE_INFO}", self.named());
        let known = is_ended(self.knock, &id) || self.knock.fleet.bound_to(&id).is_some();
        if self.instance.is_some() || known {
            return Finding { evidence: Evidence::Contradicted(why, Some(id)), look: self.instance.is_none() };
        }
        let why = format!("it says that it is {id}, and the launch of attempt {} is not answered yet", self.attempt.id);
        Finding { evidence: Evidence::Unknown(why), look: true }
    }

    fn join_secret(&self) -> Finding {
        let (knock, attempt) = (self.knock, &self.attempt.id);
        let given = knock.info.join_secret.as_ref().filter(|secret| !secret.reveal().trim().is_empty());
        let Some(given) = given else { return Finding::unknown("its info/ has no latent-join-secret") };
        let Some(key) = &knock.intent.join_key else {
            return Finding::unknown("the controller has no key of join secrets");
        };
        if key.fits(knock.worker, attempt, given) {
            return Finding::proved(format!("it knows the join secret of attempt {attempt}"));
        }
        let other =
            knock.inventory.into_iter().flat_map(|inventory| inventory.instances.values()).find(|instance| {
                ours(knock, instance).is_some_and(|(worker, attempt)| key.fits(&worker, &attempt, given))
            });
        let why = format!("its join secret is not that of attempt {attempt}; {STALE_INFO}");
        Finding { evidence: Evidence::Contradicted(why, other.map(|instance| instance.id.clone())), look: false }
    }
}

const STALE_INFO: &str =
    "if it is the right one, its AMI brings an info/ of another instance: write these files anew at each boot";
const INSTANCE_ID_CURE: &str = "let the AMI write it at each boot (amis/guest/identity.sh), or ask for another proof";
const JOIN_SECRET_CURE: &str = "write {{ join_secret }} of the user data into info/latent-join-secret; an instance that was \
                                launched before that cannot have it: latent stop";
const DOCUMENT_CURE: &str = "let the AMI write it at each boot (amis/guest/identity.sh), keep the region's certificate right, or ask for another proof";

impl Evidence {
    fn proved(&self) -> Option<&str> {
        if let Evidence::Proved(text) = self { Some(text) } else { None }
    }

    fn unknown(&self) -> Option<&str> {
        if let Evidence::Unknown(text) = self { Some(text) } else { None }
    }
}

impl Finding {
    fn proved(text: String) -> Self {
        Self { evidence: Evidence::Proved(text), look: false }
    }

    fn unknown(text: &str) -> Self {
        Self { evidence: Evidence::Unknown(text.to_owned()), look: false }
    }
}
