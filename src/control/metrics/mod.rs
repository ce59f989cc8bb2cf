//! The numbers for Prometheus: what is counted as it happens, and what is looked up when it is asked for.
//!
//! Counters begin anew with the process, as Prometheus expects. Series of what is configured are there from the
//! start with 0, so that no first event is lost to `rate()`; what has left the configuration goes after an hour.

mod counted;
mod gauges;
mod known;
mod meters;

pub(in crate::control) use counted::{Metrics, Vitals};
pub use meters::{METERS, Meter, MeterKind};

use prometheus_client::encoding::text::{encode_eof, encode_registry};

use super::Controller;
use super::rebake::RebakeView;
use crate::ledger::Ledger;

/// The labels of a series, in the order of its [`Meter`].
type Labels = Vec<(&'static str, String)>;

/// Pairs the labels of a meter with their values.
fn labels<const N: usize>(meter: &Meter, values: [&str; N]) -> Labels {
    meter.labels.iter().copied().zip(values.map(ToOwned::to_owned)).collect()
}

impl<L: Ledger + 'static> Controller<L> {
    /// Whoever tells people says how many places messages do not reach now, for the numbers.
    pub fn note_unreached(&self, places: usize) {
        self.shared.metrics().set_unreached(u32::try_from(places).unwrap_or(u32::MAX));
    }

    /// All numbers as OpenMetrics text; `rebakes` are those that the controller knows of.
    ///
    /// # Errors
    /// That of the encoder, which writes into memory.
    pub fn metrics(&self, rebakes: &[RebakeView]) -> Result<String, std::fmt::Error> {
        let (metrics, now) = (self.shared.metrics(), self.clock.now());
        metrics.keep_to(now, &self.shared.intent());
        let mut text = String::new();
        encode_registry(&mut text, metrics.registry())?;
        encode_registry(&mut text, &gauges::registry(&self.shared, now, rebakes))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
