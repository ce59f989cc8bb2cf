//! A rebake as it goes, for whoever looks on.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::cli::exit::{CommandError, Exit, RebakeExit};
use crate::cli::output::{line_width, plain, span};
use crate::control::{Clock, RebakeEventView, RebakeView};
use crate::link::{Client, ClientError, RebakeAnswer};
use crate::model::{Outcome, RebakeId, Step};

/// How long one wait for news lasts, in seconds.
const WAIT_SECONDS: u64 = 20;
/// How long a controller may be away before nobody waits for it.
const CONTROLLER_AWAY: TimeDelta = TimeDelta::minutes(2);
/// How soon it is asked again.
const ASK_AGAIN: TimeDelta = TimeDelta::seconds(1);

/// How a rebake is shown.
#[derive(Debug)]
pub(in crate::cli) struct Showing {
    json: bool,
    to_the_end: bool,
    bar: Option<ProgressBar>,
}

impl Showing {
    /// Lines, JSON, or on a terminal lines above a line that moves.
    pub(in crate::cli) fn new(json: bool, to_the_end: bool) -> Self {
        let bar = (!json && std::io::stdout().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { json, to_the_end, bar }
    }

    /// Shows news.
    pub(super) fn news(
        &self,
        now: DateTime<Utc>,
        rebake: &RebakeView,
        events: &[RebakeEventView],
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        for event in events {
            let line = if self.json {
                serde_json::to_string(event)?
            } else {
                print::paragraph(&format!("{} {}", event.at.format("%H:%M:%SZ"), event.text))
            };
            match &self.bar {
                Some(bar) => bar.println(line),
                None => writeln!(out, "{line}")?,
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_message(moving(now, rebake));
        }
        out.flush()?;
        Ok(())
    }

    /// Says that nobody answers for now.
    fn away(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        let why = "the controller does not answer; waiting until it is there again";
        match &self.bar {
            Some(bar) => bar.set_message(why),
            None if self.json => {}
            None => writeln!(out, "{why}")?,
        }
        Ok(())
    }

    /// Whether there is nothing more to look on at.
    pub(super) fn is_over(&self, rebake: &RebakeView) -> bool {
        let left_alone = !self.to_the_end && rebake.undoing.is_none() && rebake.step >= Step::Soak;
        rebake.outcome.is_some() || left_alone
    }

    /// The last word.
    pub(super) fn end(&self, answer: &RebakeAnswer, out: &mut dyn Write) -> Result<Exit, CommandError> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        print::end(answer, self.json, out)?;
        Ok(exit_of(answer.rebake.outcome.as_ref()))
    }
}

fn exit_of(outcome: Option<&Outcome>) -> Exit {
    match outcome {
        None | Some(Outcome::Done { .. } | Outcome::HandedOver { .. }) => Exit::Done,
        Some(Outcome::Failed { .. }) => Exit::Rebake(RebakeExit::Failed),
        Some(Outcome::Aborted {}) => Exit::Rebake(RebakeExit::Aborted),
        Some(Outcome::RolledBack { .. }) => Exit::Rebake(RebakeExit::RolledBack),
    }
}

/// The step, how long it may yet take, what it waits for, and what the console showed last.
fn moving(now: DateTime<Utc>, rebake: &RebakeView) -> String {
    let left = span(rebake.deadline - now);
    let what = rebake.undoing.as_ref().map_or_else(|| rebake.step.to_string(), |_| "taking back".to_owned());
    let mut line = format!("{what} ({left} left)");
    if let Some(waits) = &rebake.waits {
        line = format!("{line}: {waits}");
    }
    let width = line_width().saturating_sub(3);
    let cut = |text: &str| plain(text).chars().take(width).collect::<String>();
    let tail = rebake.tail.iter().flat_map(|tail| tail.lines()).map(|line| format!("\n  | {}", cut(line)));
    std::iter::once(cut(&line)).chain(tail).collect()
}

/// Asks a controller that may be started anew meanwhile: the rebake goes on after that, and so does who follows it.
async fn patiently(
    client: &Client,
    url: &str,
    showing: &Showing,
    out: &mut dyn Write,
) -> Result<RebakeAnswer, CommandError> {
    let clock = Clock::system();
    let until = clock.now() + CONTROLLER_AWAY;
    let mut told = false;
    loop {
        match client.get(url).await {
            Err(ClientError::NotRunning { .. } | ClientError::Broken { .. }) if clock.now() < until => {
                if !told {
                    showing.away(out)?;
                }
                told = true;
                clock.sleep_until(clock.now() + ASK_AGAIN).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Follows a rebake of a controller until there is nothing more to look on at.
pub(super) async fn follow(
    client: &Client,
    id: &RebakeId,
    showing: Showing,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let (mut after, mut wait) = (0, 0);
    loop {
        let answer = patiently(client, &format!("/v1/rebakes/{id}?after={after}&wait={wait}"), &showing, out).await?;
        showing.news(answer.now, &answer.rebake, &answer.events, out)?;
        if showing.is_over(&answer.rebake) {
            let whole = patiently(client, &format!("/v1/rebakes/{id}"), &showing, out).await?;
            return showing.end(&whole, out);
        }
        (after, wait) = (answer.rebake.seq, WAIT_SECONDS);
    }
}
