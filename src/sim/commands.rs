//! SSM Run Command: agents, and the scripts that they are sent. What time brings to a command is worked out
//! when it is looked at.

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::instance::Instance;
use super::site::{Site, hash};
use super::weather::Fault;
use crate::model::{AgentPlatform, CommandId, InstanceId, InstanceState, OUTPUT_CHARACTERS_MAX, Script};

/// How often an agent says that it is there.
const HEARTBEAT: TimeDelta = TimeDelta::minutes(5);
/// An agent that is silent for so long counts as lost. SSM's own limit is not documented.
const SILENCE: TimeDelta = TimeDelta::minutes(10);
/// After so long without an agent a command is said to be delayed.
const DELAYED_AFTER: TimeDelta = TimeDelta::seconds(15);
/// How much of standard error is kept, in characters.
const ERRORS_CHARACTERS_MAX: usize = 8_000;

/// The agent of an instance, as SSM knows it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// The system that it runs on.
    pub platform: AgentPlatform,
    registered: DateTime<Utc>,
    heard: DateTime<Utc>,
    /// The start of the instance that it came with.
    life: DateTime<Utc>,
    /// It reboots its instance.
    away: bool,
    /// It does not come back from its reboot.
    lost: bool,
}

/// What SendCommand says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// The instance.
    pub instance: InstanceId,
    /// Whether it is for PowerShell.
    pub windows: bool,
    /// The script.
    pub text: String,
    /// What the caller says of it.
    pub comment: String,
    /// How long the agent has to take it, in seconds.
    pub delivery_s: u32,
    /// How long one run may take, in seconds.
    pub execution_s: u32,
}

/// Where the agent is with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// Since then, in the life of the instance that began then.
    Running {
        since: DateTime<Utc>,
        life: DateTime<Utc>,
    },
    Rebooting,
    Over {
        exit_code: i32,
    },
}

/// A command to one instance.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// What was sent.
    pub sent: NewCommand,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    shown_at: DateTime<Utc>,
    order: u64,
    progress: Progress,
    runs: u32,
    output: String,
    error_output: String,
}

/// What SSM says of a command, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The detailed status.
    pub details: &'static str,
    /// The short one.
    pub status: &'static str,
    /// The exit code, -1 while there is none.
    pub code: i32,
    /// The beginning of the output.
    pub output: String,
    /// The beginning of what went to standard error.
    pub error_output: String,
}

/// A run that an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The command.
    pub command: CommandId,
    /// Its script.
    pub text: String,
    /// Whether it is for PowerShell.
    pub windows: bool,
    /// After how many seconds the agent ends it.
    pub execution_s: u32,
    /// Which run of this command it is, from 1.
    pub run: u32,
}

/// What becomes of the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It comes too late, or from nobody's agent.
    Ignored,
    /// The command is over.
    Over,
    /// The agent reboots the instance; after that the script runs again, unless the agent is lost.
    Reboots,
}

impl Command {
    fn expires(&self) -> DateTime<Utc> {
        self.sent_at + seconds(self.sent.delivery_s) + seconds(self.sent.execution_s)
    }

    fn is_shown(&self, now: DateTime<Utc>) -> bool {
        self.shown_at <= now
    }
}

fn seconds(count: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(count))
}

impl Site {
    // --- what callers of the API see -----------------------------------------------------------------

    /// The agent of an instance that has not ended, if it ever registered.
    pub fn agent(&self, id: &InstanceId) -> Option<&Agent> {
        self.agents.get(id).filter(|_| self.instances.get(id).is_some_and(|instance| !instance.is_over()))
    }

    /// When SSM heard of an agent last, and whether it takes it for connected.
    pub fn last_ping(&self, id: &InstanceId, now: DateTime<Utc>) -> Option<(DateTime<Utc>, bool)> {
        let agent = self.agent(id)?;
        let beats = (now - agent.registered).num_seconds() / HEARTBEAT.num_seconds();
        let beat = agent.registered + HEARTBEAT * i32::try_from(beats).unwrap_or(i32::MAX);
        let last = if self.agent_is_up(id) { beat.max(agent.heard) } else { agent.heard };
        Some((last, now - last < SILENCE))
    }

    /// SendCommand.
    ///
    /// # Errors
    /// `InvalidInstanceId`, `UnsupportedPlatformType`.
    pub fn send_command(&mut self, new: &NewCommand, now: DateTime<Utc>) -> Result<CommandId, ApiError> {
        let Some(agent) = self.agent(&new.instance) else {
            let message = format!("Instances [[{}]] not in a valid state for account {}", new.instance, self.account);
            return Err(ApiError::client("InvalidInstanceId", message));
        };
        if !new.windows && agent.platform == AgentPlatform::Windows {
            let message = "The document does not support the platform type of the given instance.";
            return Err(ApiError::client("UnsupportedPlatformType", message));
        }
        let shown_at = now + self.delays()[0];
        let order = u64::try_from(self.commands.len()).unwrap_or(u64::MAX);
        let id = self.command_id(order)?;
        let command = Command {
            id: id.clone(),
            sent: new.clone(),
            sent_at: now,
            shown_at,
            order,
            progress: Progress::Waiting,
            runs: 0,
            output: String::new(),
            error_output: String::new(),
        };
        self.commands.insert(id.clone(), command);
        Ok(id)
    }

    fn command_id(&self, order: u64) -> Result<CommandId, ApiError> {
        let (high, low) = (hash(&(self.seed, "command", order)), hash(&(order, "command", self.seed)));
        let text = format!("{high:016x}{low:016x}");
        let text = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-");
        text.parse().map_err(|_| ApiError::server("InternalError", "An internal error has occurred"))
    }

    /// The commands that readers see, to one instance or to all, the latest first.
    pub fn commands_sent(&self, to: Option<&InstanceId>, now: DateTime<Utc>) -> Vec<&Command> {
        let fits = |command: &&Command| command.is_shown(now) && to.is_none_or(|id| command.sent.instance == *id);
        let mut found: Vec<&Command> = self.commands.values().filter(fits).collect();
        found.sort_by_key(|command| std::cmp::Reverse(command.order));
        found
    }

    /// GetCommandInvocation.
    ///
    /// # Errors
    /// `InvocationDoesNotExist`.
    pub fn invocation(&self, id: &InstanceId, command: &CommandId, now: DateTime<Utc>) -> Result<Told, ApiError> {
        let known = self.commands.get(command).filter(|known| known.sent.instance == *id && known.is_shown(now));
        known.map(|known| self.told(known, now)).ok_or_else(|| {
            ApiError::client("InvocationDoesNotExist", "The command ID and managed node ID do not match an invocation.")
        })
    }

    /// What SSM says of a command now.
    pub fn told(&self, command: &Command, now: DateTime<Utc>) -> Told {
        let (details, status, code) = self.status(command, now);
        // SSM shows the output when the command is over.
        let over = !matches!(status, "Pending" | "Delayed" | "InProgress");
        let shown = |text: &str, most: usize| text.chars().take(if over { most } else { 0 }).collect();
        let output = shown(&command.output, OUTPUT_CHARACTERS_MAX);
        Told { details, status, code, output, error_output: shown(&command.error_output, ERRORS_CHARACTERS_MAX) }
    }

    fn status(&self, command: &Command, now: DateTime<Utc>) -> (&'static str, &'static str, i32) {
        let instance = self.instance(&command.sent.instance);
        let over = instance.is_none_or(Instance::is_over);
        match command.progress {
            Progress::Over { exit_code: 0 } => ("Success", "Success", 0),
            Progress::Over { exit_code } => ("Failed", "Failed", exit_code),
            Progress::Waiting if over => ("Undeliverable", "Failed", -1),
            _ if now >= command.expires() => ("DeliveryTimedOut", "TimedOut", -1),
            Progress::Running { since, life }
                if now >= since + seconds(command.sent.execution_s)
                    && self.agent_lives(&command.sent.instance, life) =>
            {
                ("ExecutionTimedOut", "TimedOut", -1)
            }
            Progress::Running { .. } | Progress::Rebooting => ("InProgress", "InProgress", -1),
            Progress::Waiting
                if now >= command.sent_at + DELAYED_AFTER && !self.agent_is_up(&command.sent.instance) =>
            {
                ("Delayed", "Delayed", -1)
            }
            Progress::Waiting => ("Pending", "Pending", -1),
        }
    }

    // --- what agents do ------------------------------------------------------------------------------

    /// The start of the life that a running instance is in.
    fn life(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        let running = self.instances.get(id).filter(|instance| *instance.state() == InstanceState::Running);
        running.map(|instance| instance.facts().launch_time)
    }

    fn agent_lives(&self, id: &InstanceId, life: DateTime<Utc>) -> bool {
        let here = |agent: &Agent| agent.life == life && !agent.away && !agent.lost;
        self.life(id) == Some(life) && self.agents.get(id).is_some_and(here)
    }

    fn agent_is_up(&self, id: &InstanceId) -> bool {
        self.life(id).is_some_and(|life| self.agent_lives(id, life))
    }

    /// The agent of a running instance says that it is there: after each boot. Whether SSM hears it.
    pub fn agent_pings(
        &mut self,
        id: &InstanceId,
        version: &str,
        platform: &AgentPlatform,
        now: DateTime<Utc>,
    ) -> bool {
        let Some(life) = self.life(id) else { return false };
        let known = self.agents.get(id).filter(|agent| agent.life == life);
        if known.is_some_and(|agent| agent.lost) {
            return false;
        }
        let registered = known.map_or(now, |agent| agent.registered);
        let (version, platform) = (version.to_owned(), platform.clone());
        let agent = Agent { version, platform, registered, heard: now, life, away: false, lost: false };
        self.agents.insert(id.clone(), agent);
        true
    }

    /// The next run for the agent of an instance, which begins with this: the oldest command that waits, that
    /// a reboot has interrupted, or that an earlier life of the instance did not end.
    pub fn agent_takes(&mut self, id: &InstanceId, now: DateTime<Utc>) -> Option<Taken> {
        let life = self.life(id).filter(|life| self.agent_lives(id, *life))?;
        let due = |command: &&mut Command| {
            let in_time = match command.progress {
                Progress::Waiting => now < command.sent_at + seconds(command.sent.delivery_s),
                Progress::Rebooting => now < command.expires(),
                Progress::Running { life: earlier, .. } => earlier != life && now < command.expires(),
                Progress::Over { .. } => false,
            };
            command.sent.instance == *id && in_time
        };
        let command = self.commands.values_mut().filter(due).min_by_key(|command| command.order)?;
        command.progress = Progress::Running { since: now, life };
        command.runs += 1;
        let sent = &command.sent;
        Some(Taken {
            command: command.id.clone(),
            text: sent.text.clone(),
            windows: sent.windows,
            execution_s: sent.execution_s,
            run: command.runs,
        })
    }

    /// A run has ended with this exit code, and has written this.
    pub fn agent_answers(
        &mut self,
        id: &InstanceId,
        command: &CommandId,
        (exit_code, output, error_output): (i32, &str, &str),
        now: DateTime<Utc>,
    ) -> Answered {
        let Some(known) = self.commands.get(command).filter(|known| known.sent.instance == *id) else {
            return Answered::Ignored;
        };
        let Progress::Running { life, .. } = known.progress else { return Answered::Ignored };
        if !self.agent_lives(id, life) || self.status(known, now).0 != "InProgress" {
            return Answered::Ignored;
        }
        let reboots = exit_code == Script::reboot_code(self.agents.get(id).is_some_and(Agent::is_windows));
        let lost = reboots && self.chance(Fault::AgentLost);
        if let Some(agent) = self.agents.get_mut(id) {
            (agent.heard, agent.away, agent.lost) = (now, reboots, lost);
        }
        if let Some(known) = self.commands.get_mut(command) {
            known.output.push_str(output);
            known.error_output.push_str(error_output);
            known.progress = if reboots { Progress::Rebooting } else { Progress::Over { exit_code } };
        }
        if reboots { Answered::Reboots } else { Answered::Over }
    }
}

impl Agent {
    fn is_windows(&self) -> bool {
        self.platform == AgentPlatform::Windows
    }
}

/// A refusal of the model, in the words of SSM.
pub(super) fn in_ssms_words(error: ApiError) -> ApiError {
    match &*error.code {
        "RequestLimitExceeded" => ApiError::client("ThrottlingException", "Rate exceeded"),
        "InternalError" => ApiError::server("InternalServerError", error.message),
        "ExpiredToken" => ApiError::client("ExpiredTokenException", error.message),
        "AuthFailure" => ApiError::client("UnrecognizedClientException", error.message),
        "UnauthorizedOperation" => {
            ApiError::client("AccessDeniedException", "User is not authorized to perform this action of ssm")
        }
        _ => error,
    }
}
