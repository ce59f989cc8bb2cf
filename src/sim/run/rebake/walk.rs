//! A whole rebake, with the process that works on it killed at each of its steps in turn.

use std::sync::atomic::Ordering;

use super::house::{Case, House};
use crate::model::Outcome;

/// What came of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebakeWalk {
    /// How many steps a whole rebake has.
    pub steps: u64,
    /// How often the process was killed: at each step that is walked once to go on, and once to take everything back.
    pub kills: u64,
    /// What did not hold.
    pub violations: Vec<String>,
}

/// Walks a rebake twice: whoever comes after a kill goes on, or takes everything back. Of the steps every one of so
/// many is walked; with 1, all of them.
///
/// # Errors
/// If there is no runtime to be had.
pub fn rebake_walk(case: &Case, stride: u64) -> std::io::Result<RebakeWalk> {
    let mut walk = RebakeWalk::default();
    let (steps, whole) = one(case, None, false)?;
    walk.steps = steps;
    walk.violations.extend(whole.err().map(|what| format!("nobody was killed: {what}")));
    for step in (1..=steps).step_by(usize::try_from(stride.max(1)).unwrap_or(1)) {
        for aborted in [false, true] {
            let (_, walked) = one(case, Some(step), aborted)?;
            walk.kills += 1;
            let then = if aborted { "taken back" } else { "gone on with" };
            walk.violations
                .extend(walked.err().map(|what| format!("killed at step {step} of {steps}, {then}: {what}")));
        }
    }
    Ok(walk)
}

/// One rebake on a clock of its own.
fn one(case: &Case, crash_at: Option<u64>, aborted: bool) -> std::io::Result<(u64, Result<(), String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(async {
        let house = House::new(case.clone(), |_, _| ());
        let walked = walked(&house, crash_at, aborted).await;
        (house.steps.load(Ordering::Relaxed), walked)
    }))
}

async fn walked(house: &House, crash_at: Option<u64>, aborted: bool) -> Result<(), String> {
    let told = |what: String| format!("{what}\n{}", house.story());
    if let (Some(step), true) = (crash_at, aborted) {
        let worked = house.work(Some(step), async |_| ()).await;
        let over = house.record().is_ok_and(|rebake| rebake.outcome.is_some());
        house.abort();
        let outcome = house.to_the_end(None).await.map_err(told)?;
        let right = outcome == Outcome::Aborted {} || over;
        return if right { Ok(()) } else { Err(told(format!("{worked:?}, and then {outcome}"))) };
    }
    match house.to_the_end(crash_at).await.map_err(told)? {
        Outcome::Done { .. } => Ok(()),
        other => Err(told(format!("it ended as: {other}"))),
    }
}
