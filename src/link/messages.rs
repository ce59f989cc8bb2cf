//! The messages of the interface. Unknown fields of a request are refused, so that a misspelt one
//! is heard of; answers may gain fields, and clients ignore what they do not know.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{AmiView, BudgetView, CellView, WorkerView};
use crate::model::{
    Actor, AmiId, BuildId, Built, Canary, Cause, Entry, InstanceId, MasterId, RebakeId, RequestId, WorkerName,
};
use crate::plan::day::LineView;
use crate::plan::sweep::Claims;
use crate::plan::{Admission, Info, Report, WorkerReport};
use crate::policy::Secret;

/// A master (or an operator) wants a worker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Chosen by the master, unique; repeating it is harmless.
    pub request: RequestId,
    /// Which master asks; an operator if absent.
    #[serde(default)]
    pub master: Option<MasterId>,
}

/// A master no longer wants a worker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The request that is taken back; any if absent.
    #[serde(default)]
    pub request: Option<RequestId>,
    /// Which master; an operator if absent.
    #[serde(default)]
    pub master: Option<MasterId>,
}

/// Somebody with a worker's name and password wants to connect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdmitRequest {
    /// The master at whose door it is.
    pub master: MasterId,
    /// The address that the connection comes from, without its port; absent if it is not known.
    #[serde(default)]
    pub peer: Option<String>,
    /// What it says of itself.
    #[serde(default)]
    pub info: AdmitInfo,
}

/// What a worker's `info/` says of where it is.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdmitInfo {
    /// The instance's id.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// The secret that the user data told it.
    #[serde(default)]
    pub join_secret: Option<String>,
    /// The identity document of the metadata service, to the byte.
    #[serde(default)]
    pub identity_document: Option<String>,
    /// Its signature in base64.
    #[serde(default)]
    pub identity_signature: Option<String>,
}

/// Whether its connection is to be taken.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdmitAnswer {
    /// Take it.
    pub admit: bool,
    /// What was proved, in words.
    pub proof: String,
    /// Why it is not to be taken, and what to do, in words.
    pub why: Option<String>,
    /// An earlier instance of ours that it is on, which the controller ends.
    pub twin: Option<InstanceId>,
}

/// Everything a master knows of its latent workers, said whole each time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    /// By worker.
    pub workers: BTreeMap<WorkerName, WorkerReportBody>,
}

/// What a master knows of one worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerReportBody {
    /// The last request that the master made for it.
    #[serde(default)]
    pub request: Option<RequestId>,
    /// Whether the master wants it.
    pub wanted: bool,
    /// Whether it is connected.
    pub attached: bool,
    /// The build it runs.
    #[serde(default)]
    pub build: Option<BuildId>,
    /// Whether the worker itself asked its master for a graceful shutdown.
    #[serde(default)]
    pub leaving: bool,
    /// How the smoke build of the worker's canary ended; said until the canary is over.
    #[serde(default)]
    pub smoke: Option<SmokeReport>,
}

/// How a smoke build ended that a master was to run on a canary.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmokeReport {
    /// The rebake whose canary it is.
    pub rebake: RebakeId,
    /// The build.
    pub build: BuildId,
    /// Buildbot's number of its result: 0 success, 1 warnings, all others are failures.
    pub results: u8,
}

/// A rebake wants the worker's next instance to be a canary.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRequest {
    /// The rebake.
    pub rebake: RebakeId,
    /// The candidate.
    pub ami: AmiId,
    /// The generation that it would be.
    pub generation: u32,
    /// The builder whose build it must pass; null if it need not build.
    #[serde(default)]
    pub smoke: Option<String>,
    /// How long its worker may take to connect, in seconds; the policy's `connect_deadline` if null.
    #[serde(default)]
    pub connect_deadline_s: Option<u32>,
    /// Whether it waits for no more than the running build.
    #[serde(default)]
    pub now: bool,
}

/// How launches went, by AMI.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AmisAnswer {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// The last eight AMIs of each image, by image and then by the last launch.
    pub amis: Vec<AmiView>,
}

/// All the workers that a master declares.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareBody {
    /// By worker. Null leaves what it declared of the worker before: a master that does not know yet what
    /// its next build wants, say.
    #[schemars(with = "BTreeMap<String, Option<DeclarationBody>>")]
    pub workers: BTreeMap<String, serde_json::Value>,
}

/// What a master says of one worker: all that latent.toml, `amis/` and `policies/` would say of it, but for
/// its password. It is read by the rules of those files, and each mistake is told with its key.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the form of what policy::Declaration reads; secrets are not kept in it")]
pub struct DeclarationBody {
    /// Who pays. An owner of latent.toml, or any name, with `credentials`.
    owner: String,
    /// How to act in the owner's account; absent for an owner of latent.toml.
    #[serde(default)]
    credentials: Option<CredentialsBody>,
    /// Another address of the EC2 and STS API, for a local EC2.
    #[serde(default)]
    endpoint: Option<String>,
    /// The keys of `amis/NAME.toml`, but for `owner` and `user_data`.
    #[serde(default)]
    image: serde_json::Map<String, serde_json::Value>,
    /// The user data, sent as it is; the lease watch beside it where `image.lease_watch` says so.
    #[serde(default)]
    user_data: Option<String>,
    /// The keys of `policies/NAME.toml`.
    #[serde(default)]
    policy: serde_json::Map<String, serde_json::Value>,
}

/// Exactly one way to act.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the form of what policy::Declaration reads; secrets are not kept in it")]
pub(super) struct CredentialsBody {
    /// `true`: what the controller's environment offers.
    #[serde(default)]
    environment: Option<bool>,
    /// A profile of the shared AWS configuration.
    #[serde(default)]
    profile: Option<String>,
    /// The absolute path of a file of two lines: access key id, secret key.
    #[serde(default)]
    key_file: Option<String>,
    /// The key itself; the controller keeps it in a file that nobody else may read.
    #[serde(default)]
    access_key: Option<AccessKeyBody>,
}

/// An access key.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the form of what policy::Declaration reads; secrets are not kept in it")]
pub(super) struct AccessKeyBody {
    /// Its id.
    id: String,
    /// The secret key.
    secret: String,
}

/// What became of the declarations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeclareAnswer {
    /// The workers that hold as they were declared.
    pub accepted: Vec<String>,
    /// What is wrong with the others, and what to do, by name. Such a one keeps its earlier declaration.
    pub refused: BTreeMap<String, String>,
}

/// The answer to a report: what the controller knows of the workers that were named.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    /// By worker.
    pub workers: BTreeMap<String, WorkerView>,
    /// Names that the controller does not know.
    pub unknown: Vec<String>,
    /// Workers that another master uses, and which one. They are not among `workers`: nothing of them is this
    /// master's, and what it says of them has no influence.
    #[serde(default)]
    pub elsewhere: BTreeMap<String, String>,
    /// The place of the ledger's last entry: ask for news after it.
    pub seq: u64,
}

/// Keep an instance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// For how many seconds.
    pub seconds: u32,
}

/// Until when an instance is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HoldAnswer {
    /// Until then, and no longer.
    pub until: DateTime<Utc>,
}

/// A drain was ordered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DrainAnswer {
    /// The worker as it is now.
    pub worker: WorkerView,
}

/// Every worker and every cell.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatusAnswer {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// The fleet.
    pub fleet: String,
    /// The controller's id.
    pub controller: String,
    /// The workers, by name.
    pub workers: Vec<WorkerView>,
    /// The accounts and regions.
    pub cells: Vec<CellView>,
    /// The owners' budgets.
    #[serde(default)]
    pub budgets: Vec<BudgetView>,
    /// What needs a person's eye, in words.
    pub warnings: Vec<String>,
}

/// What the controller knows of instances: whatever is not here, it does not know.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClaimsAnswer {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// The fleet.
    pub fleet: String,
    /// The controller's id.
    pub controller: String,
    /// Whether every account was listed since the controller started: before that it may not have
    /// adopted what is its own.
    pub listed: bool,
    /// By instance.
    pub claims: Claims,
}

/// A controller that does not say it speaks the first.
fn oldest_interface() -> u32 {
    1
}

/// Who answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct VersionAnswer {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of this interface.
    pub interface: u32,
    /// The oldest version of the interface whose clients are still understood: one that speaks a version
    /// from this to `interface` is served, any other asks for an upgrade.
    #[serde(default = "oldest_interface")]
    pub interface_min: u32,
    /// The process.
    pub pid: u32,
}

/// One entry of the ledger, for a reader.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its place.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who caused it; absent where the controller is older than this.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// The worker it is about.
    pub worker: Option<String>,
    /// Its kind, such as `launched`.
    pub kind: String,
    /// What it says, for a person.
    pub text: String,
    /// What it says, for a program.
    pub body: serde_json::Value,
}

/// Entries of the ledger, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// The entries.
    pub events: Vec<EventView>,
    /// Ask again after this one.
    pub last: u64,
}

/// One worker: what holds, its last day, and its last entries.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WorkerDayAnswer {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// As it is now.
    pub worker: WorkerView,
    /// What holds, since when, until when, and what would change it: as `latent explain` has it.
    pub explained: String,
    /// Its last 24 hours.
    pub day: LineView,
    /// Its last entries and those about its instances, the last one first; at most 50.
    pub events: Vec<EventView>,
}

/// What went wrong with a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// For programs.
    pub code: FailureCode,
    /// For people: what, and what to do.
    pub message: String,
}

/// Kinds of errors of the interface itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// No such worker (404).
    UnknownWorker,
    /// The request does not have its form (400).
    BadRequest,
    /// The token is missing or wrong (401).
    Unauthorized,
    /// It cannot be done now (409).
    Conflict,
    /// The ledger cannot be written; nothing was done (503).
    Ledger,
    /// The AMI is young enough (409).
    NotDue,
    /// No such rebake or image (404).
    UnknownRebake,
    /// EC2 could not be asked, or refused (502).
    Cloud,
}

impl From<ReportBody> for Report {
    fn from(body: ReportBody) -> Self {
        let workers = body.workers.into_iter().map(|(name, said)| {
            let WorkerReportBody { request, wanted, attached, build, leaving, smoke } = said;
            let smoke = smoke.map(|SmokeReport { rebake, build, results }| (rebake, Built { build, results }));
            let said = WorkerReport { request, wanted, attached, build, leaving, smoke };
            (name, said)
        });
        Report { workers: workers.collect() }
    }
}

impl From<CanaryRequest> for Canary {
    fn from(asked: CanaryRequest) -> Self {
        let CanaryRequest { rebake, ami, generation, smoke, connect_deadline_s, now } = asked;
        Self { rebake, ami, generation, smoke, connect_deadline_s, now }
    }
}

impl std::fmt::Debug for AdmitRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdmitRequest").field("master", &self.master).field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl From<AdmitInfo> for Info {
    fn from(said: AdmitInfo) -> Self {
        Self {
            instance_id: said.instance_id,
            join_secret: said.join_secret.map(Secret::new),
            identity_document: said.identity_document,
            identity_signature: said.identity_signature,
        }
    }
}

impl From<Admission> for AdmitAnswer {
    fn from(admission: Admission) -> Self {
        let Admission { admit, proof, why, twin, .. } = admission;
        Self { admit, proof, why, twin }
    }
}

impl From<&Entry> for EventView {
    fn from(entry: &Entry) -> Self {
        let body = serde_json::to_value(&entry.body).unwrap_or_default();
        let kind = body.as_object().and_then(|object| object.keys().next().cloned()).unwrap_or_default();
        let fields = body.as_object().and_then(|object| object.values().next().cloned()).unwrap_or_default();
        Self {
            seq: entry.seq,
            at: entry.at,
            actor: Some(entry.actor.clone()),
            worker: entry.body.worker().map(ToString::to_string),
            kind,
            text: entry.body.describe(),
            body: fields,
        }
    }
}

/// The cause that a release over the interface has.
pub(super) fn release_cause(by_master: bool) -> Cause {
    if by_master { Cause::Released } else { Cause::Operator }
}
