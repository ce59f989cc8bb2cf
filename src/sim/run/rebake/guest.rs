//! A builder's guest: what it says on its console or to its agent, life by life, until it powers itself off.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{AgentPlatform, CommandId, GuestStep, InstanceId, InstanceState, RebakeChannel, Script};
use crate::sim::{Answered, Site};

/// From the start to the first word of the system.
const BOOT: TimeDelta = TimeDelta::seconds(20);
/// How long a run of the script takes when an agent runs it.
const RUN: TimeDelta = TimeDelta::minutes(4);

/// How a guest behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// As it should.
    #[default]
    Sound,
    /// It does not run its user data: it says nothing and stays on.
    Mute,
    /// It never powers itself off.
    Restless,
    /// A step of its script fails; it powers itself off.
    Fails(GuestStep),
    /// It leaves the reboot out.
    NoReboot,
    /// It says that it rebooted, and has the same boot id.
    SameBoot,
    /// It goes off without its last word.
    NoLastWord,
    /// Somebody terminates it while it updates.
    Ended,
    /// It has no agent.
    NoAgent,
    /// Its agent does not come back from the reboot.
    AgentLost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Deed {
    Say(String),
    PowerOff,
    End,
}

/// What an agent is at.
#[derive(Debug, Clone)]
struct Run {
    command: CommandId,
    number: u32,
    ends: DateTime<Utc>,
}

/// One builder.
#[derive(Debug)]
pub(super) struct Guest {
    id: InstanceId,
    manner: Manner,
    nonce: String,
    deeds: VecDeque<(DateTime<Utc>, Deed)>,
    agent_from: Option<DateTime<Utc>>,
    run: Option<Run>,
}

/// Marks with their numbers.
struct Marks<'a> {
    nonce: &'a str,
    seq: u32,
}

impl Marks<'_> {
    fn say(&mut self, word: &str) -> String {
        self.seq += 1;
        format!("latent-rebake {} {} {word}\n", self.nonce, self.seq)
    }
}

/// The script's two lives: seconds since the boot, and what it says then.
fn lives(manner: Manner) -> [Vec<(i64, String)>; 2] {
    let plain = |lines: &[(i64, &str)]| lines.iter().map(|(at, word)| (*at, (*word).to_owned())).collect::<Vec<_>>();
    let first = plain(&[
        (1, "boot id=b1"),
        (5, "step name=quiesce"),
        (20, "step name=update"),
        (25, "round n=1 found=12"),
        (220, "package op=~ name=openssl from=3.0.1 to=3.0.2"),
        (230, "round n=2 found=0"),
        (240, "step name=reboot"),
    ]);
    let (boot, reboots) = match manner {
        Manner::NoReboot => (None, 0),
        Manner::SameBoot => (Some("boot id=b1"), 1),
        _ => (Some("boot id=b2"), 1),
    };
    let mut second: Vec<(i64, String)> = boot.iter().map(|word| (1, (*word).to_owned())).collect();
    second.extend(plain(&[(5, "step name=settle"), (65, "step name=clean"), (80, "step name=off")]));
    if manner != Manner::NoLastWord {
        second.push((81, format!("done rounds=2 reboots={reboots} packages=1 sha=5eed")));
    }
    [first, second]
}

/// The lives up to the step that fails.
fn cut(lives: [Vec<(i64, String)>; 2], manner: Manner) -> [Vec<(i64, String)>; 2] {
    let Manner::Fails(step) = manner else { return lives };
    let mut over = false;
    lives.map(|life| {
        let mut kept = Vec::new();
        for (at, word) in life {
            if over {
                break;
            }
            over = word == format!("step name={step}");
            kept.push((at, word));
            if over {
                kept.push((at + 1, format!("fail step={step} code=100 why=the~simulated~package~manager~failed")));
            }
        }
        kept
    })
}

impl Guest {
    /// A builder that runs since `now`. What it says can be read `late` later.
    pub(super) fn booted(
        id: InstanceId,
        manner: Manner,
        nonce: &str,
        (channel, late): (RebakeChannel, TimeDelta),
        now: DateTime<Utc>,
    ) -> Self {
        let by_user_data = channel != RebakeChannel::Ssm && manner != Manner::Mute;
        let deeds = if by_user_data { by_itself(manner, nonce, late, now + BOOT) } else { VecDeque::new() };
        let agent_from = (manner != Manner::NoAgent).then_some(now + BOOT);
        Self { id, manner, nonce: nonce.to_owned(), deeds, agent_from, run: None }
    }

    pub(super) fn is(&self, id: &InstanceId) -> bool {
        self.id == *id
    }

    /// Everything that it has done by now.
    pub(super) fn tend(&mut self, site: &mut Site, now: DateTime<Utc>) {
        while self.deeds.front().is_some_and(|(at, _)| *at <= now) {
            match self.deeds.pop_front() {
                Some((_, Deed::Say(line))) => site.console_says(&self.id, &line),
                Some((_, Deed::PowerOff)) => site.power_off(&self.id, now),
                Some((_, Deed::End)) => site.end_from_outside(&self.id, now, "Client.UserInitiatedShutdown"),
                None => {}
            }
        }
        if self.agent_from.is_some_and(|from| from <= now) {
            self.agent(site, now);
        }
    }

    /// The agent says that it is there, takes what it was sent, and answers.
    fn agent(&mut self, site: &mut Site, now: DateTime<Utc>) {
        if !site.instance(&self.id).is_some_and(|instance| *instance.state() == InstanceState::Running) {
            return;
        }
        let Some(run) = self.run.clone() else {
            if site.agent_pings(&self.id, "3.3.987", &AgentPlatform::Linux, now)
                && let Some(taken) = site.agent_takes(&self.id, now)
            {
                self.run = Some(Run { command: taken.command, number: taken.run, ends: now + RUN });
            }
            return;
        };
        if now < run.ends {
            return;
        }
        self.run = None;
        let (code, output) = self.output(run.number);
        match site.agent_answers(&self.id, &run.command, (code, &output, ""), now) {
            Answered::Reboots if self.manner == Manner::AgentLost => self.agent_from = None,
            Answered::Reboots => self.agent_from = Some(now + BOOT),
            Answered::Over if self.manner != Manner::Restless => {
                self.deeds.push_back((now + TimeDelta::seconds(5), Deed::PowerOff));
            }
            Answered::Over | Answered::Ignored => {}
        }
    }

    /// What a run of the script writes, and its exit code.
    fn output(&self, number: u32) -> (i32, String) {
        let mut marks = Marks { nonce: &self.nonce, seq: 0 };
        let mut texts = cut(lives(self.manner), self.manner)
            .map(|life| life.into_iter().map(|(_, word)| marks.say(&word)).collect::<String>());
        let failed = texts.iter().position(|text| text.contains(" fail "));
        let run = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(1);
        let code = match (failed, run) {
            (Some(at), run) if at == run => 100,
            (_, 0) => Script::reboot_code(false),
            _ => 0,
        };
        (code, std::mem::take(&mut texts[run]))
    }
}

/// A script that comes in the user data, and runs at each boot.
fn by_itself(manner: Manner, nonce: &str, late: TimeDelta, boot: DateTime<Utc>) -> VecDeque<(DateTime<Utc>, Deed)> {
    let mut marks = Marks { nonce, seq: 0 };
    let mut deeds = Vec::new();
    let (mut from, mut last) = (boot, boot);
    let [first, second] = cut(lives(manner), manner);
    for life in [first, second] {
        for (at, word) in life {
            last = from + TimeDelta::seconds(at);
            deeds.push((last + late, Deed::Say(marks.say(&word))));
            if manner == Manner::Ended && word.starts_with("round n=1") {
                deeds.push((last + TimeDelta::minutes(1), Deed::End));
            }
        }
        from = last + BOOT;
    }
    if manner != Manner::Restless {
        deeds.push((last + TimeDelta::seconds(5), Deed::PowerOff));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds.into()
}
