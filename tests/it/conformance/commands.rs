//! The checks of Run Command, whoever plays SSM. What an agent does comes from the `Guest` of the cloud under test.

use futures_util::future::LocalBoxFuture;
use latent::cloud::{Cloud, Commands};
use latent::model::{
    AgentPlatform, CommandId, CommandState, CommandStatus, DELIVERY_S, FailureKind, InstanceId, InstanceState,
    OUTPUT_CHARACTERS_MAX, Script,
};
use latent::sim::Taken;

use super::{Checked, Ground, against_the_table, done, refused, same};

/// The SSM agents of the cloud under test.
pub(crate) trait Guest {
    /// The agent of a running instance says that it is there; whether it was heard.
    fn pings<'a>(&'a self, of: &'a InstanceId, platform: &'a str) -> LocalBoxFuture<'a, Result<bool, String>>;

    /// Its next run, which begins with this.
    fn takes<'a>(&'a self, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Option<Taken>, String>>;

    /// A run has ended with this exit code and output.
    fn answers<'a>(
        &'a self,
        of: &'a InstanceId,
        run: &'a Taken,
        ended: (i32, &'a str),
    ) -> LocalBoxFuture<'a, Result<(), String>>;

    /// So many seconds pass.
    fn waits(&self, seconds: u32) -> LocalBoxFuture<'_, Result<(), String>>;
}

/// A cloud with its agents.
pub(crate) struct Site<'a, C> {
    ground: &'a Ground<C>,
    guest: &'a dyn Guest,
}

type Check<C> = for<'a> fn(&'a Site<'a, C>) -> LocalBoxFuture<'a, Checked>;

macro_rules! list {
    ($($name:ident),+ $(,)?) => {
        /// Name and function of each.
        pub(super) fn list<C: Cloud + Commands>() -> Vec<(&'static str, Check<C>)> {
            vec![$((stringify!($name), (|site| Box::pin($name(site))) as Check<C>)),+]
        }
    };
}

list! {
    an_instance_without_an_agent_is_not_registered,
    an_agent_that_is_there_is_registered,
    a_command_without_an_agent_is_refused_for_now,
    a_command_waits_for_its_agent,
    a_command_tells_its_exit_code_and_output,
    a_reboot_runs_the_script_again,
    windows_reboots_by_a_code_of_its_own,
    output_is_kept_from_its_beginning,
    a_command_that_nobody_takes_times_out,
    an_agent_that_does_not_come_back_leaves_its_command_to_the_clock,
    a_shell_script_for_windows_is_the_owners_to_mend,
    commands_are_found_by_their_comment,
    what_is_sent_twice_runs_twice,
    an_unknown_command_is_not_found,
    what_ssm_would_refuse_is_not_sent,
}

/// Runs every check, and holds each against the table of departures.
pub(crate) async fn commands_conform<C: Cloud + Commands>(who: &str, ground: &Ground<C>, guest: &dyn Guest) {
    let site = Site { ground, guest };
    let mut wrong = Vec::new();
    for (name, check) in list::<C>() {
        wrong.extend(against_the_table(who, name, check(&site).await));
    }
    assert!(wrong.is_empty(), "{who} is not as SSM, or not as departures.rs says:\n  {}", wrong.join("\n  "));
}

fn script(comment: &str) -> Script {
    Script { windows: false, text: "uname\n".to_owned(), timeout_s: 60, comment: comment.to_owned() }
}

impl<C: Cloud + Commands> Site<'_, C> {
    async fn running(&self, attempt: &str) -> Result<InstanceId, String> {
        let id = self.ground.launched(attempt).await?;
        self.ground.becomes(&id, InstanceState::Running).await?;
        Ok(id)
    }

    /// A running instance whose agent is there.
    async fn with_agent(&self, attempt: &str, platform: &str) -> Result<InstanceId, String> {
        let id = self.running(attempt).await?;
        same("whether its agent is heard", &self.guest.pings(&id, platform).await?, &true)?;
        Ok(id)
    }

    async fn send(&self, id: &InstanceId, script: &Script) -> Result<CommandId, String> {
        done("sending", self.ground.cloud.send_script(id, script).await)
    }

    async fn state(&self, id: &InstanceId, command: &CommandId) -> Result<CommandState, String> {
        done("asking", self.ground.cloud.command(id, command).await)
    }

    async fn status(&self, id: &InstanceId, command: &CommandId, expected: CommandStatus) -> Checked {
        same("the status", &self.state(id, command).await?.status, &expected)
    }

    async fn takes(&self, id: &InstanceId) -> Result<Taken, String> {
        self.guest.takes(id).await?.ok_or_else(|| "the agent is given nothing".to_owned())
    }
}

async fn an_instance_without_an_agent_is_not_registered<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.running("agent-1").await?;
    same("what is known of its agent", &done("asking", site.ground.cloud.online(&id).await)?, &None)
}

async fn an_agent_that_is_there_is_registered<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-2", "Windows").await?;
    let known = done("asking", site.ground.cloud.online(&id).await)?.ok_or("it is not registered")?;
    same("its platform", &known.platform, &AgentPlatform::Windows)?;
    same("whether it is connected", &known.connected, &true)?;
    same(
        "whether its version and last sign are told",
        &(known.version.is_empty(), known.last_ping.is_some()),
        &(false, true),
    )
}

async fn a_command_without_an_agent_is_refused_for_now<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.running("agent-3").await?;
    refused("a command", site.ground.cloud.send_script(&id, &script("latent 3")).await, FailureKind::RetrySame)
}

async fn a_command_waits_for_its_agent<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-4", "Linux").await?;
    let command = site.send(&id, &script("latent 4")).await?;
    let state = site.state(&id, &command).await?;
    same("the status", &state.status, &CommandStatus::Pending)?;
    same("what it came to", &(state.exit_code, state.output.as_str()), &(None, ""))?;
    let run = site.takes(&id).await?;
    same("the script that the agent is given", &(run.text.as_str(), run.windows, run.run), &("uname\n", false, 1))?;
    same("the time that it may take", &run.execution_s, &60)?;
    site.status(&id, &command, CommandStatus::InProgress).await
}

async fn a_command_tells_its_exit_code_and_output<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-5", "Linux").await?;
    for (code, status) in [(0, CommandStatus::Success), (7, CommandStatus::Failed)] {
        let command = site.send(&id, &script("latent 5")).await?;
        let run = site.takes(&id).await?;
        site.guest.answers(&id, &run, (code, "Linux\n")).await?;
        let state = site.state(&id, &command).await?;
        same("the status", &state.status, &status)?;
        same("what it came to", &(state.exit_code, state.output.as_str()), &(Some(code), "Linux\n"))?;
    }
    Ok(())
}

async fn a_reboot_runs_the_script_again<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-6", "Linux").await?;
    let command = site.send(&id, &script("latent 6")).await?;
    for code in [194, 194, 0] {
        let run = site.takes(&id).await?;
        site.status(&id, &command, CommandStatus::InProgress).await?;
        site.guest.answers(&id, &run, (code, &format!("run {}\n", run.run))).await?;
        if code == 194 {
            site.status(&id, &command, CommandStatus::InProgress).await?;
            same("what an agent is given that is away", &site.guest.takes(&id).await?.is_none(), &true)?;
            same("whether it is heard again", &site.guest.pings(&id, "Linux").await?, &true)?;
        }
    }
    let state = site.state(&id, &command).await?;
    same("the status", &state.status, &CommandStatus::Success)?;
    same("what it came to", &(state.exit_code, state.output.as_str()), &(Some(0), "run 1\nrun 2\nrun 3\n"))
}

async fn windows_reboots_by_a_code_of_its_own<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-7", "Windows").await?;
    let script = Script { windows: true, ..script("latent 7") };
    for (code, status) in [(3010, CommandStatus::InProgress), (194, CommandStatus::Failed)] {
        let command = site.send(&id, &script).await?;
        let run = site.takes(&id).await?;
        same("whether it is for PowerShell", &run.windows, &true)?;
        site.guest.answers(&id, &run, (code, "")).await?;
        site.status(&id, &command, status).await?;
        if code == 3010 {
            site.guest.pings(&id, "Windows").await?;
            let run = site.takes(&id).await?;
            site.guest.answers(&id, &run, (0, "")).await?;
            site.status(&id, &command, CommandStatus::Success).await?;
        }
    }
    Ok(())
}

async fn output_is_kept_from_its_beginning<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-8", "Linux").await?;
    let command = site.send(&id, &script("latent 8")).await?;
    let run = site.takes(&id).await?;
    let long = format!("{}é{}", "a".repeat(OUTPUT_CHARACTERS_MAX - 1), "z".repeat(100));
    site.guest.answers(&id, &run, (0, &long)).await?;
    let output = site.state(&id, &command).await?.output;
    same("its length", &output.chars().count(), &OUTPUT_CHARACTERS_MAX)?;
    same("its last character", &output.chars().last(), &Some('é'))
}

async fn a_command_that_nobody_takes_times_out<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-9", "Linux").await?;
    let command = site.send(&id, &script("latent 9")).await?;
    site.guest.waits(DELIVERY_S).await?;
    same("what the agent is given too late", &site.guest.takes(&id).await?.is_none(), &true)?;
    site.guest.waits(60).await?;
    site.status(&id, &command, CommandStatus::DeliveryTimedOut).await?;
    same("its exit code", &site.state(&id, &command).await?.exit_code, &None)
}

async fn an_agent_that_does_not_come_back_leaves_its_command_to_the_clock<C: Cloud + Commands>(
    site: &Site<'_, C>,
) -> Checked {
    let id = site.with_agent("agent-10", "Linux").await?;
    let command = site.send(&id, &script("latent 10")).await?;
    let run = site.takes(&id).await?;
    site.guest.answers(&id, &run, (194, "")).await?;
    site.guest.waits(DELIVERY_S / 2).await?;
    site.status(&id, &command, CommandStatus::InProgress).await?;
    site.guest.waits(DELIVERY_S / 2 + 60).await?;
    site.status(&id, &command, CommandStatus::DeliveryTimedOut).await
}

async fn a_shell_script_for_windows_is_the_owners_to_mend<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-11", "Windows").await?;
    refused("a command", site.ground.cloud.send_script(&id, &script("latent 11")).await, FailureKind::Owner)
}

async fn commands_are_found_by_their_comment<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let (id, other) = (site.with_agent("agent-12", "Linux").await?, site.with_agent("agent-13", "Linux").await?);
    let ours = site.send(&id, &script("latent 12")).await?;
    site.send(&id, &script("latent 13")).await?;
    site.send(&other, &script("latent 12")).await?;
    let found = done("listing", site.ground.cloud.sent(&id, "latent 12").await)?;
    same("what was sent with the comment", &found, &vec![ours])?;
    let none = done("listing", site.ground.cloud.sent(&id, "latent 1").await)?;
    same("what was sent with the beginning of it", &none.len(), &0)
}

async fn what_is_sent_twice_runs_twice<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-14", "Linux").await?;
    // More than a page of the listing holds.
    for _ in 0..52 {
        site.send(&id, &script("latent 14")).await?;
    }
    let found = done("listing", site.ground.cloud.sent(&id, "latent 14").await)?;
    same("how many were sent", &found.len(), &52)
}

async fn an_unknown_command_is_not_found<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-15", "Linux").await?;
    let nobody: CommandId = "8b5f1d9e-3a4c-4d2e-9f60-0c1d2e3f4a5b".parse().map_err(|error| format!("{error}"))?;
    refused("a question", site.ground.cloud.command(&id, &nobody).await, FailureKind::NotFound)
}

async fn what_ssm_would_refuse_is_not_sent<C: Cloud + Commands>(site: &Site<'_, C>) -> Checked {
    let id = site.with_agent("agent-16", "Linux").await?;
    let long = Script { comment: "c".repeat(101), ..script("") };
    refused("a comment that is too long", site.ground.cloud.send_script(&id, &long).await, FailureKind::Bug)?;
    let found = done("listing", site.ground.cloud.sent(&id, &long.comment).await)?;
    same("how many were sent", &found.len(), &0)
}
