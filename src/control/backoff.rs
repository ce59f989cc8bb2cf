//! How long to wait before what was refused is tried again.

use chrono::TimeDelta;

/// The first pause after a refused call; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: TimeDelta = TimeDelta::seconds(1);
/// The longest pause.
pub(super) const BACKOFF_MAX: TimeDelta = TimeDelta::seconds(60);

/// The pause after so many refusals in a row.
pub(super) fn backoff(refusals: u32, random: &mut fastrand::Rng) -> TimeDelta {
    let factor = 1_i32 << refusals.saturating_sub(1).min(10);
    let pause = (BACKOFF * factor).min(BACKOFF_MAX);
    // Jitter keeps cells that were refused together from coming back together.
    pause - TimeDelta::milliseconds(random.i64(0..=pause.num_milliseconds() / 4))
}
