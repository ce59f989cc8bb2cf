//! Exit codes, and errors that carry one.

use std::fmt;

use crate::control::ControlError;
use crate::ledger::LedgerError;
use crate::link::{ClientError, ServeError};

/// What the program's end says to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something unexpected.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration has problems; each was printed.
    Configuration = 3,
    /// No controller answers.
    NotRunning = 4,
    /// The controller refused; the reason was printed.
    Refused = 5,
    /// The ledger cannot be used.
    Ledger = 6,
    /// A controller runs already.
    AlreadyRunning = 7,
    /// The simulation found something that must not happen.
    Violated = 8,
}

pub(super) const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 unexpected, 2 usage, 3 configuration, 4 no controller answers,
5 the controller refused, 6 the ledger cannot be used, 7 a controller runs already, 8 the simulation
found something that must not happen";

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

    /// Prints the error with its causes, once, and gives the exit code.
    #[expect(clippy::print_stderr, reason = "the one place where errors are printed")]
    pub(super) fn report(self) -> Exit {
        if self.exit == Exit::Done {
            return self.exit;
        }
        if self.exit == Exit::Configuration {
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
            ClientError::NotRunning { .. } | ClientError::Slow { .. } => Exit::NotRunning,
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

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        let exit = if matches!(error, ServeError::InUse { .. }) { Exit::AlreadyRunning } else { Exit::Unexpected };
        Self::new(exit, error)
    }
}
