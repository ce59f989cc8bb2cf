//! Exit codes, and errors that carry one.

use std::fmt;

use crate::control::ControlError;
use crate::ledger::{JournalError, LedgerError};
use crate::link::{ClientError, ServeError};

/// What the program's end says to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something unexpected.
    Unexpected,
    /// The command line is wrong.
    Usage,
    /// The configuration has problems; each was printed.
    Configuration,
    /// No controller answers.
    NotRunning,
    /// The controller refused; the reason was printed.
    Refused,
    /// The ledger cannot be used.
    Ledger,
    /// A controller runs already.
    AlreadyRunning,
    /// The simulation found something that must not happen.
    Violated,
    /// The end of a sweep, which has codes of its own.
    Sweep(SweepExit),
    /// The end of a check-up, which has two codes of its own.
    Doctor(DoctorExit),
    /// The end of a rebake that did not lead to a new generation.
    Rebake(RebakeExit),
    /// A ledger was changed by somebody else than its controller, or something of it is missing.
    NotWhole,
    /// The end of a report that is not whole, or not confirmed.
    Audit(AuditExit),
}

/// The end of `latent audit` that a script should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditExit {
    /// The report was written, and something that was to be looked at could not be seen.
    Unseen,
    /// The report that was verified differs from what the ledger says.
    Differs,
}

/// The end of a rebake that did not lead to a new generation. Whatever it had made is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebakeExit {
    /// A step failed.
    Failed,
    /// The new generation was worse than the one before.
    RolledBack,
    /// Somebody ended it.
    Aborted,
}

/// The end of a check-up that did not find everything right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoctorExit {
    /// It has a warning and nothing worse.
    Warned,
    /// It has a problem, or something that it could not see.
    Unfit,
}

/// The end of a sweep, for whoever runs it from cron.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepExit {
    /// The configuration has problems; each was printed.
    Configuration,
    /// Something is left over: it was told, marked, or waits for its second look.
    Found,
    /// Something was to be done, and failed or did not come true.
    Failed,
    /// A guard refused to do anything.
    Guarded,
    /// Not everything could be seen: nothing was done.
    Incomplete,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Unexpected => 1,
            Exit::Usage | Exit::Sweep(SweepExit::Configuration) => 2,
            Exit::Configuration | Exit::Sweep(SweepExit::Found) => 3,
            Exit::NotRunning | Exit::Sweep(SweepExit::Failed) => 4,
            Exit::Refused | Exit::Sweep(SweepExit::Guarded) => 5,
            Exit::Ledger | Exit::Sweep(SweepExit::Incomplete) => 6,
            Exit::AlreadyRunning => 7,
            Exit::Violated => 8,
            Exit::Doctor(DoctorExit::Warned) => 9,
            Exit::Doctor(DoctorExit::Unfit) => 10,
            Exit::Rebake(RebakeExit::Failed) => 11,
            Exit::Rebake(RebakeExit::RolledBack) => 12,
            Exit::Rebake(RebakeExit::Aborted) => 13,
            Exit::NotWhole => 14,
            Exit::Audit(AuditExit::Unseen) => 15,
            Exit::Audit(AuditExit::Differs) => 16,
        }
    }
}

pub(super) const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 unexpected, 2 usage, 3 configuration, 4 no controller answers,
5 the controller refused, 6 the ledger cannot be used, 7 a controller runs already, 8 the simulation
found something that must not happen, 9 the check-up warns, 10 it has a problem or could not see,
11 a rebake failed, 12 it was rolled back, 13 it was aborted, 14 a ledger is not whole,
15 a report was written without something that could not be seen, 16 a verified report differs;
`latent sweep` has codes of its own, see its help";

pub(super) const SWEEP_AFTER_HELP: &str = "\
latent sweep --region us-west-2            looks, and changes nothing
latent sweep --region us-west-2 --apply    shows the same, asks, does it, and looks whether it is done

Exit codes: 0 nothing is left over, or all of it was taken away and seen to be gone; 1 unexpected;
2 usage or configuration; 3 something is left over (told, marked, or waiting for its second look);
4 something could not be taken away, or did not go; 5 a guard refused to do anything;
6 not everything could be seen, so nothing was done

Tags on a resource that protect it: latent:keep=true, latent:keep-until=2030-01-31T00:00:00Z";

/// The exit codes of `latent doctor`.
pub(super) const DOCTOR_AFTER_HELP: &str = "\
What would change the account is sent as a dry run alone. What could not be seen is
unknown, never ok.
Exit codes: 0 all ok, 3 configuration, 9 a warning is the worst, 10 a problem, or
something is unknown";

/// The exit codes of `latent rebake`.
pub(super) const REBAKE_AFTER_HELP: &str = "\
latent rebake ami-0123456789abcdef0        asks the controller, and follows
latent rebake ami-… --region us-west-2     without a configuration: works here, and hands the AMI over

Whatever is ended in between goes on where it stopped: by itself in the controller, by --resume here.
Exit codes: 0 the new AMI is in use, or handed over; 3 configuration; 5 refused; 6 the journal cannot
be used; 11 a step failed, 12 the new generation was worse, 13 aborted: what it made is taken back";

/// The exit codes of `latent ledger verify`.
pub(super) const VERIFY_AFTER_HELP: &str = "\
latent ledger verify                       the configured ledger, also while a controller writes it
latent ledger verify ledger.jsonl          what latent ledger export wrote
latent ledger verify --head HEX@SEQ        that nothing up to the entry of that note is missing either

It tells any change to an entry and any gap. What was cut off at the end it can tell only from a
--head that somebody noted before: each report has one. Whoever may write the file can also write all
of it anew, chain and all; that, too, a noted --head tells.
Exit codes: 0 whole, 2 usage, 3 configuration, 6 it cannot be read, 14 it is not whole";

/// The exit codes of `latent audit`.
pub(super) const AUDIT_AFTER_HELP: &str = "\
latent audit --owner alice -o report.html      one page that needs no network
latent audit --since 2026-11-01 -o reports/    one for each owner, who is told nothing of the others
latent audit --fleet NAME --region us-west-2   the owner alone: no configuration, no ledger, read-only
                                               credentials (the role of latent iam --role audit)
latent audit --verify report.json              makes a report again from the ledger

Exit codes: 0 written, and everything was seen that was to be looked at (or the report is confirmed);
2 usage, 3 configuration, 6 the ledger cannot be used; 15 written, and something could not be seen:
the report says what; 16 the verified report differs from the ledger";

/// An error with its exit code.
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    error: anyhow::Error,
}

impl CommandError {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// What a program without the AWS SDK says to a command that needs it.
    #[cfg(not(feature = "ec2"))]
    pub(super) fn without_ec2(cannot: &str) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!("this latent was built without the feature ec2 and cannot {cannot}"))
    }

    /// The same error, told as a sweep tells it.
    #[cfg(feature = "ec2")]
    pub(super) fn of_a_sweep(self) -> Self {
        match self.exit {
            Exit::Configuration => Self { exit: Exit::Sweep(SweepExit::Configuration), ..self },
            _ => self,
        }
    }

    /// Prints the error with its causes, once, and gives the exit code.
    #[expect(clippy::print_stderr, reason = "the one place where errors are printed")]
    pub(super) fn report(self) -> Exit {
        if self.exit == Exit::Done {
            return self.exit;
        }
        if matches!(self.exit, Exit::Configuration | Exit::Sweep(SweepExit::Configuration)) {
            eprintln!("{}", self.error);
        } else {
            eprintln!("latent: {:#}", self.error);
        }
        self.exit
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough is no failure.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Unexpected };
        Self::new(exit, error)
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => std::io::Error::from(kind).into(),
            None => Self::new(Exit::Unexpected, error),
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning { .. } | ClientError::Broken { .. } | ClientError::Slow { .. } => Exit::NotRunning,
            ClientError::Refused { .. } => Exit::Refused,
            ClientError::Incompatible { .. } => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

impl From<LedgerError> for CommandError {
    fn from(error: LedgerError) -> Self {
        let exit = if matches!(error, LedgerError::Locked { .. }) { Exit::AlreadyRunning } else { Exit::Ledger };
        Self::new(exit, error)
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Ledger(error) => error.into(),
            other => Self::new(Exit::Refused, other),
        }
    }
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        let exit = if matches!(error, JournalError::Unknown { .. }) { Exit::Usage } else { Exit::Ledger };
        Self::new(exit, error)
    }
}

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        let exit = if matches!(error, ServeError::InUse { .. }) { Exit::AlreadyRunning } else { Exit::Unexpected };
        Self::new(exit, error)
    }
}
