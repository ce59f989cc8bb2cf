//! A lifecycle policy: every limit of a worker's life.

use chrono::TimeDelta;

use super::key::POLICY_KEYS;
use super::problem::{Problems, Shown};
use super::proof::Proof;
use super::reader::{Layer, Located, Reader, Span};

/// How long a worker may have nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTimeout {
    /// This long.
    After(TimeDelta),
    /// Until `max_lifetime`; spelled out by the owner.
    Never,
}

/// What happens to an idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnIdle {
    /// It is gone.
    Terminate,
    /// It is stopped, and started for the next request.
    Stop,
}

/// Every limit of a worker's life.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of the same name, documented in default.toml")]
pub struct Lifecycle {
    pub idle_timeout: IdleTimeout,
    pub on_idle: OnIdle,
    pub launch_deadline: TimeDelta,
    pub connect_deadline: TimeDelta,
    pub stop_deadline: TimeDelta,
    pub drain_deadline: TimeDelta,
    pub max_lifetime: TimeDelta,
    pub max_age: Option<TimeDelta>,
    pub max_builds: Option<u32>,
    pub master_silence: TimeDelta,
    pub lease: TimeDelta,
    pub retry_pause: TimeDelta,
    pub retry_pause_max: TimeDelta,
    pub offering_memory: TimeDelta,
    pub offering_memory_max: TimeDelta,
    pub absence_grace: TimeDelta,
    pub orphan_grace: TimeDelta,
    pub proof: Proof,
}

impl Lifecycle {
    /// Reads the layers, the highest first; the lowest is the embedded default, so nothing is missing.
    pub(super) fn read(layers: Vec<Layer<'_>>, name: &str, problems: &mut Problems) -> Option<(Self, Vec<Shown>)> {
        let mut reader = Reader::new(layers, POLICY_KEYS, name, problems);
        let idle = reader.span_or_never("idle_timeout");
        let on_idle = reader.choice("on_idle");
        let proof = reader.choice("proof");
        let max_age = reader.span_or_never("max_age");
        let old = max_age.as_ref().and_then(Located::span);
        let max_builds = reader.count("max_builds");
        let mut span = |key| reader.span(key);
        let launch_deadline = span("launch_deadline");
        let connect_deadline = span("connect_deadline");
        let stop_deadline = span("stop_deadline");
        let drain_deadline = span("drain_deadline");
        let max_lifetime = span("max_lifetime");
        let master_silence = span("master_silence");
        let lease = span("lease");
        let retry_pause = span("retry_pause");
        let retry_pause_max = span("retry_pause_max");
        let offering_memory = span("offering_memory");
        let offering_memory_max = span("offering_memory_max");
        let absence_grace = span("absence_grace");
        let orphan_grace = span("orphan_grace");
        for (less, more, low, high) in [
            (&drain_deadline, &max_lifetime, "drain_deadline", "max_lifetime"),
            (&connect_deadline, &max_lifetime, "connect_deadline", "max_lifetime"),
            (&old, &max_lifetime, "max_age", "max_lifetime"),
            (&retry_pause, &retry_pause_max, "retry_pause", "retry_pause_max"),
            (&offering_memory, &offering_memory_max, "offering_memory", "offering_memory_max"),
        ] {
            ordered(&mut reader, less.as_ref(), more.as_ref(), low, high);
        }
        let shown = reader.finish();
        let policy = Lifecycle {
            idle_timeout: match idle?.value {
                Span::Of(span) => IdleTimeout::After(span),
                Span::Never => IdleTimeout::Never,
            },
            on_idle: if on_idle?.value == "stop" { OnIdle::Stop } else { OnIdle::Terminate },
            launch_deadline: launch_deadline?.value,
            connect_deadline: connect_deadline?.value,
            stop_deadline: stop_deadline?.value,
            drain_deadline: drain_deadline?.value,
            max_lifetime: max_lifetime?.value,
            max_age: max_age.map(|_| old.map(|old| old.value))?,
            max_builds: max_builds.map(|count| count.value),
            master_silence: master_silence?.value,
            lease: lease?.value,
            retry_pause: retry_pause?.value,
            retry_pause_max: retry_pause_max?.value,
            offering_memory: offering_memory?.value,
            offering_memory_max: offering_memory_max?.value,
            absence_grace: absence_grace?.value,
            orphan_grace: orphan_grace?.value,
            proof: Proof::of(&proof?.value),
        };
        Some((policy, shown))
    }

    /// The pause after so many failures in a row.
    pub fn pause_after(&self, failures: u32) -> TimeDelta {
        doubled(self.retry_pause, failures, self.retry_pause_max)
    }

    /// How long an offering is left alone after so many refusals in a row.
    pub fn memory_after(&self, refusals: u32) -> TimeDelta {
        doubled(self.offering_memory, refusals, self.offering_memory_max)
    }
}

fn doubled(base: TimeDelta, times: u32, max: TimeDelta) -> TimeDelta {
    let factor = 1_i32 << times.saturating_sub(1).min(16);
    base.checked_mul(factor).map_or(max, |span| span.min(max))
}

fn ordered(
    reader: &mut Reader<'_, '_>,
    less: Option<&Located<TimeDelta>>,
    more: Option<&Located<TimeDelta>>,
    low: &str,
    high: &str,
) {
    if let (Some(less), Some(more)) = (less, more)
        && less.value > more.value
    {
        let message = format!("is longer than {high} ({})", more.at);
        reader.report(less.at.clone(), low, None, message, format!("make it at most {high}, or raise {high}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_never_overflow() {
        let (base, max) = (TimeDelta::seconds(30), TimeDelta::minutes(30));
        let pauses: Vec<i64> = (1..=8).map(|n| doubled(base, n, max).num_seconds()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(doubled(TimeDelta::days(300), u32::MAX, max), max);
    }
}
