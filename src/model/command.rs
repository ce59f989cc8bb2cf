//! Scripts that SSM Run Command runs on an instance, and what SSM says of them. The facts are those of its API.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How long SSM waits for the agent to take a command, in seconds; after that it is not begun.
pub const DELIVERY_S: u32 = 600;
/// The most characters of a comment that SSM takes.
const COMMENT_CHARACTERS_MAX: usize = 100;
/// The most bytes of a script: SSM's limit for a document with its parameters is 64 KB.
const TEXT_BYTES_MAX: usize = 60_000;
/// The longest time that SSM's own shell documents take, in seconds.
const TIMEOUT_S_MAX: u32 = 172_800;
/// How much of a script's standard output SSM keeps, in characters, from its beginning.
pub const OUTPUT_CHARACTERS_MAX: usize = 24_000;
/// What asks the agent for a reboot and a further run of the same script: on Windows, and elsewhere.
const REBOOT: (i32, i32) = (3010, 194);

/// A script for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Whether PowerShell runs it, or the system's shell.
    pub windows: bool,
    /// The script. It must be able to run again: after a reboot it begins anew.
    pub text: String,
    /// How long one run of it may take, in seconds. Together with [`DELIVERY_S`] it is also the most that all
    /// its runs and reboots may take.
    pub timeout_s: u32,
    /// What it is told apart by, as there is no token: a script that is sent twice runs twice.
    pub comment: String,
}

impl Script {
    /// What SSM would refuse of it, found before it is sent; nothing if all is well.
    pub fn fault(&self) -> Option<String> {
        let (comment, text) = (self.comment.chars().count(), self.text.len());
        if comment == 0 || comment > COMMENT_CHARACTERS_MAX {
            return Some(format!("the comment has {comment} characters; SSM takes 1 to {COMMENT_CHARACTERS_MAX}"));
        }
        if self.text.trim().is_empty() || text > TEXT_BYTES_MAX {
            return Some(format!("the script has {text} bytes; it may have 1 to {TEXT_BYTES_MAX}"));
        }
        if !(1..=TIMEOUT_S_MAX).contains(&self.timeout_s) {
            return Some(format!("the timeout is {} s; SSM takes 1 to {TIMEOUT_S_MAX}", self.timeout_s));
        }
        None
    }

    /// The exit code with which a script asks for a reboot, after which it is run again.
    pub fn reboot_code(windows: bool) -> i32 {
        if windows { REBOOT.0 } else { REBOOT.1 }
    }
}

/// The system that an agent runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentPlatform {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// macOS.
    MacOs,
    /// A word that nobody knows here.
    Unknown(String),
}

impl AgentPlatform {
    /// Reads SSM's word.
    pub fn read(word: &str) -> Self {
        match word {
            "Linux" => Self::Linux,
            "Windows" => Self::Windows,
            "MacOS" => Self::MacOs,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// What SSM knows of the agent of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The agent's version.
    pub version: String,
    /// The system that it runs on.
    pub platform: AgentPlatform,
    /// When SSM heard of it last. It says so about every five minutes, so this does not prove that it is there.
    pub last_ping: Option<DateTime<Utc>>,
    /// Whether SSM takes it for connected.
    pub connected: bool,
}

/// Where a command stands on one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStatus {
    /// The agent has not taken it yet.
    Pending,
    /// The agent was not to be reached; SSM tries again.
    Delayed,
    /// The agent has taken it. So it stays through its reboots, and when the agent does not come back.
    InProgress,
    /// Somebody takes it back.
    Cancelling,
    /// The script's exit code was 0.
    Success,
    /// The script's exit code was another one.
    Failed,
    /// No agent took it in time, or the agent that took it said nothing of it until the time of all was over.
    DeliveryTimedOut,
    /// One run took longer than it may; the agent ended it.
    ExecutionTimedOut,
    /// Somebody took it back.
    Cancelled,
    /// The instance is not there any more.
    Undeliverable,
    /// SSM gave it up for the same command's failures elsewhere; not for a command to one instance.
    Terminated,
    /// A word that nobody knows here: it is neither over nor known to go on.
    Unknown(String),
}

impl CommandStatus {
    /// Reads SSM's detailed status, which some answers write with spaces, or else its short one.
    pub fn read(details: &str, short: &str) -> Self {
        let details: String = details.chars().filter(|c| !c.is_whitespace()).collect();
        Self::of(&details).or_else(|| Self::of(short)).unwrap_or_else(|| {
            let word = if details.is_empty() { short } else { &details };
            Self::Unknown(word.chars().take(80).collect())
        })
    }

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Pending" => Self::Pending,
            "Delayed" => Self::Delayed,
            "InProgress" => Self::InProgress,
            "Cancelling" => Self::Cancelling,
            "Success" => Self::Success,
            "Failed" => Self::Failed,
            "DeliveryTimedOut" => Self::DeliveryTimedOut,
            // The short status says no more than this of either timeout.
            "ExecutionTimedOut" | "TimedOut" => Self::ExecutionTimedOut,
            "Cancelled" => Self::Cancelled,
            "Undeliverable" => Self::Undeliverable,
            "Terminated" => Self::Terminated,
            _ => return None,
        })
    }

    /// Whether nothing will change any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Success
            | Self::Failed
            | Self::DeliveryTimedOut
            | Self::ExecutionTimedOut
            | Self::Cancelled
            | Self::Undeliverable
            | Self::Terminated => true,
            Self::Pending | Self::Delayed | Self::InProgress | Self::Cancelling | Self::Unknown(_) => false,
        }
    }
}

/// A command on one instance, as SSM tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandState {
    /// Where it stands.
    pub status: CommandStatus,
    /// The exit code of the last run, once it is over and if the script ran to its end.
    pub exit_code: Option<i32>,
    /// The beginning of its standard output over all runs, [`OUTPUT_CHARACTERS_MAX`] characters at most. SSM
    /// shows it when the command is over; before that it may be empty.
    pub output: String,
    /// The beginning of what it wrote to standard error.
    pub error_output: String,
}

impl CommandState {
    /// The state in SSM's words. An exit code of -1 stands for none.
    pub fn read(details: &str, short: &str, code: i32, output: &str, error_output: &str) -> Self {
        let status = CommandStatus::read(details, short);
        let ran = matches!(status, CommandStatus::Success | CommandStatus::Failed);
        let exit_code = Some(code).filter(|code| ran && *code != -1);
        Self { status, exit_code, output: output.to_owned(), error_output: error_output.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script { windows: false, text: "true\n".to_owned(), timeout_s: 3600, comment: "latent".to_owned() }
    }

    #[test]
    fn what_ssm_would_refuse_is_found_before_it_is_sent() {
        assert_eq!(script().fault(), None);
        let wrong = [
            (Script { comment: "c".repeat(101), ..script() }, "101 characters"),
            (Script { comment: String::new(), ..script() }, "0 characters"),
            (Script { text: "x".repeat(60_001), ..script() }, "60001 bytes"),
            (Script { text: " \n".to_owned(), ..script() }, "2 bytes"),
            (Script { timeout_s: 0, ..script() }, "0 s"),
            (Script { timeout_s: 172_801, ..script() }, "172801 s"),
        ];
        for (script, why) in wrong {
            let fault = script.fault().expect(why);
            assert!(fault.contains(why), "{fault}");
        }
        assert_eq!(Script { comment: "é".repeat(100), ..script() }.fault(), None, "characters, not bytes");
    }

    #[test]
    fn every_status_is_read_with_and_without_spaces() {
        let read = |details: &str| CommandStatus::read(details, "");
        assert_eq!(read("Delivery Timed Out"), CommandStatus::DeliveryTimedOut);
        assert_eq!(read("DeliveryTimedOut"), CommandStatus::DeliveryTimedOut);
        assert_eq!(read("In Progress"), CommandStatus::InProgress);
        assert_eq!(CommandStatus::read("", "TimedOut"), CommandStatus::ExecutionTimedOut);
        assert_eq!(CommandStatus::read("Details placeholder", "Success"), CommandStatus::Success);
        let novel = CommandStatus::read("Novel", "");
        assert_eq!(novel, CommandStatus::Unknown("Novel".to_owned()));
        assert!(!novel.is_over(), "unknown is not over");
        for word in ["Success", "Failed", "ExecutionTimedOut", "Cancelled", "Undeliverable", "Terminated"] {
            assert!(read(word).is_over(), "{word}");
        }
        for word in ["Pending", "Delayed", "InProgress", "Cancelling"] {
            assert!(!read(word).is_over() && CommandStatus::of(word).is_some(), "{word}");
        }
    }

    #[test]
    fn an_exit_code_is_that_of_a_script_that_ran_to_its_end() {
        let code = |details: &str, code| CommandState::read(details, "", code, "", "").exit_code;
        assert_eq!((code("Success", 0), code("Failed", 7)), (Some(0), Some(7)));
        assert_eq!((code("InProgress", -1), code("InProgress", 0), code("ExecutionTimedOut", 137)), (None, None, None));
        assert_eq!(code("Failed", -1), None, "it was not begun");
    }
}
