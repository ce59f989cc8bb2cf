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
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use super::Controller;
use super::rebake::RebakeView;
use crate::ledger::Ledger;

/// Between two values of [`Labels`]: in no name and in no code.
const BETWEEN: char = '\0';

/// The labels of a series, in the order of its [`Meter`]; the values as one text, for there are many series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels {
    keys: &'static [&'static str],
    values: Box<str>,
}

impl Labels {
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        for label in self.keys.iter().copied().zip(self.values.split(BETWEEN)) {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Pairs the labels of a meter with their values.
fn labels<const N: usize>(meter: &Meter, values: [&str; N]) -> Labels {
    Labels { keys: meter.labels, values: values.join("\0").into() }
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
