//! How the world may refuse, sorted by what the caller should do next.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The code of a launch that an owner's budget does not allow.
pub const BUDGET_EXCEEDED: &str = "BudgetExceeded";
/// The code of a launch of which nobody knows what it costs, under a budget.
pub const PRICE_UNKNOWN: &str = "PriceUnknown";

/// What kind of refusal it was: the caller's reaction, not the cloud's wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Too many calls: send the same again, later. Never means "no capacity".
    Throttled,
    /// The cloud stumbled: send the same again.
    RetrySame,
    /// No answer at all: the call may or may not have happened; send the same again.
    Unreachable,
    /// Not here: another zone, type or market, under a new token.
    Elsewhere,
    /// A quota of the owner is full: wait, and tell the owner.
    Quota,
    /// The owner's set-up is wrong: no retry helps.
    Owner,
    /// The credentials are not good (any more): stop using the account.
    Credentials,
    /// We sent something wrong.
    Bug,
    /// The attempt is over already (its instance has ended): a new attempt, a new token.
    AttemptOver,
    /// The instance ran, the worker did not connect to its master in time.
    NotConnected,
    /// The instance ended before its worker could be used.
    Ended,
    /// A canary did not do what its rebake asks of it.
    Candidate,
    /// The cloud does not know the id. On a young id this proves nothing.
    NotFound,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Throttled,
        Self::RetrySame,
        Self::Unreachable,
        Self::Elsewhere,
        Self::Quota,
        Self::Owner,
        Self::Credentials,
        Self::Bug,
        Self::AttemptOver,
        Self::NotConnected,
        Self::Ended,
        Self::Candidate,
        Self::NotFound,
    ];

    /// Its name for machines, as in the ledger and in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::RetrySame => "retry_same",
            Self::Unreachable => "unreachable",
            Self::Elsewhere => "elsewhere",
            Self::Quota => "quota",
            Self::Owner => "owner",
            Self::Credentials => "credentials",
            Self::Bug => "bug",
            Self::AttemptOver => "attempt_over",
            Self::NotConnected => "not_connected",
            Self::Ended => "ended",
            Self::Candidate => "candidate",
            Self::NotFound => "not_found",
        }
    }

    /// Whether the outcome of the refused call is still open, so that the identical call must be
    /// sent again before anything else is tried.
    pub fn leaves_outcome_open(self) -> bool {
        match self {
            FailureKind::Throttled | FailureKind::RetrySame | FailureKind::Unreachable => true,
            FailureKind::Elsewhere
            | FailureKind::Quota
            | FailureKind::Owner
            | FailureKind::Credentials
            | FailureKind::Bug
            | FailureKind::AttemptOver
            | FailureKind::NotConnected
            | FailureKind::Ended
            | FailureKind::Candidate
            | FailureKind::NotFound => false,
        }
    }

    /// Whether only a person can mend it: the master is told that a retry is of no use.
    pub fn needs_a_person(self) -> bool {
        matches!(self, FailureKind::Owner | FailureKind::Credentials | FailureKind::Bug)
    }

    /// Whether waiting a little or trying elsewhere does not help: a request is answered with it at once.
    pub fn is_answer(self) -> bool {
        self.needs_a_person() || self == FailureKind::Quota
    }

    /// What to do about it, in one sentence.
    pub fn cure(self) -> &'static str {
        match self {
            FailureKind::Throttled => {
                "nothing to do: latent slows down and tries again; if it lasts, see who else calls EC2 in this account"
            }
            FailureKind::RetrySame => "nothing to do: latent tries again",
            FailureKind::Unreachable => "check the network from the controller to EC2 and the endpoint settings",
            FailureKind::Elsewhere => "add instance types, subnets or a second market to the image manifest",
            FailureKind::Quota => "the owner asks AWS for a higher quota, or ends other instances",
            FailureKind::Owner => "the owner corrects the image manifest in amis/ or the AWS set-up it names",
            FailureKind::Credentials => "the owner checks the role, its trust policy and its permissions",
            FailureKind::Bug => "please report this with the log around it",
            FailureKind::AttemptOver => "nothing to do: latent makes a new attempt",
            FailureKind::NotConnected => {
                "look at the instance's console output; check the worker's name and password in the image, the master's address, and that the security group lets it out"
            }
            FailureKind::Ended => {
                "see the reason EC2 gives; a worker that powers itself off, an owner's clean-up or a spot interruption looks like this"
            }
            FailureKind::Candidate => "the manifest names the AMI before it still; see what the candidate lacks",
            FailureKind::NotFound => {
                "nothing to do if it is young; otherwise check that the account and region are the right ones"
            }
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Throttled => "throttled",
            FailureKind::RetrySame => "a passing fault",
            FailureKind::Unreachable => "no answer",
            FailureKind::Elsewhere => "no capacity here",
            FailureKind::Quota => "quota",
            FailureKind::Owner => "owner must fix",
            FailureKind::Credentials => "credentials",
            FailureKind::Bug => "our bug",
            FailureKind::AttemptOver => "attempt over",
            FailureKind::NotConnected => "worker never connected",
            FailureKind::Ended => "instance ended",
            FailureKind::Candidate => "candidate not proven",
            FailureKind::NotFound => "not found",
        })
    }
}

/// How far a start had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before or in the launch call.
    Launch,
    /// The instance was launched, the worker had not connected.
    Connect,
    /// The instance runs, and was not given what its manifest says.
    Equip,
    /// A new generation of the image was being made.
    Rebake,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Launch => "launch",
            Phase::Connect => "connect",
            Phase::Equip => "equip",
            Phase::Rebake => "rebake",
        })
    }
}

/// The answer to a request that could not be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// How far it came.
    pub phase: Phase,
    /// What to do about it.
    pub kind: FailureKind,
    /// The cloud's error code, or ours.
    pub code: String,
    /// What the cloud said, shortened.
    pub message: String,
    /// The last lines of the instance's console, if it ran and they could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
}

impl Failure {
    /// Builds a failure; the message is cut to 400 characters and freed of control characters.
    pub fn new(phase: Phase, kind: FailureKind, code: &str, message: &str) -> Self {
        let message = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
        Self { phase, kind, code: code.chars().take(80).collect(), message, console: None }
    }

    /// What to do about it, in one sentence.
    pub fn cure(&self) -> &'static str {
        match self.code.as_str() {
            BUDGET_EXCEEDED => "the owner raises budget.hard in latent.toml, or waits until the month is over",
            PRICE_UNKNOWN => {
                "run `latent prices update` and SIGHUP the controller, choose a type of which the price is known and an \
                 AMI without a paid licence, or the owner writes unpriced = \"allow\" in the budget"
            }
            _ => self.kind.cure(),
        }
    }

    /// The same with what the instance's console showed last.
    #[must_use]
    pub fn with_console(self, console: Option<String>) -> Self {
        Self { console, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} phase: {} ({}): {}; {}", self.phase, self.code, self.kind, self.message, self.cure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_for_machines_are_those_of_the_ledger() {
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("json"), kind.code());
        }
    }
}
