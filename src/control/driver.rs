//! Time, for everything above the plan: the only file that reads a clock or sleeps.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// A difference between the wall and our clock that is worth a warning.
const JUMP_SECONDS: i64 = 30;

/// The wall clock as it was at the start, moved on by the monotonic clock: it never jumps, whatever
/// is done to the machine's clock meanwhile. Under paused tokio time it is a virtual clock.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: DateTime<Utc>,
    machine: DateTime<Utc>,
    started: Instant,
    /// How many of its seconds pass in one of the machine's.
    speed: Option<f64>,
}

impl Clock {
    /// A clock that begins with the machine's time.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn system() -> Self {
        Self::starting_at(Utc::now())
    }

    /// A clock that begins with `wall`.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn starting_at(wall: DateTime<Utc>) -> Self {
        Self { wall, machine: Utc::now(), started: Instant::now(), speed: None }
    }

    /// The same clock, on which so many seconds pass in one of the machine's.
    #[must_use]
    pub fn at_speed(self, speed: f64) -> Self {
        Self { speed: Some(speed), ..self }
    }

    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        let elapsed = self.started.elapsed();
        let elapsed = self.speed.map_or(elapsed, |speed| elapsed.mul_f64(speed));
        self.wall + TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX)
    }

    /// How far the machine's clock has moved away from ours since the start, if that is worth a warning; a clock
    /// with a speed of its own is not compared.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn jump(&self) -> Option<TimeDelta> {
        let difference = Utc::now() - self.machine - (self.now() - self.wall);
        (self.speed.is_none() && difference.num_seconds().abs() >= JUMP_SECONDS).then_some(difference)
    }

    /// Sleeps until `at`; not at all if that is past.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub async fn sleep_until(&self, at: DateTime<Utc>) {
        let wait = (at - self.now()).to_std().unwrap_or(Duration::ZERO);
        let wait = self.speed.map_or(wait, |speed| wait.div_f64(speed));
        tokio::time::sleep(wait).await;
    }

    /// The future's output, or `None` when it takes longer than `limit`.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}
