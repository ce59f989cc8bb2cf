//! A lifecycle policy: every limit of a worker's life.

use std::str::FromStr as _;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::key::POLICY_KEYS;
use super::price::Money;
use super::problem::{Problems, Shown};
use super::proof::Proof;
use super::reader::{Layer, Located, Reader, Span};
use super::window::Window;

/// How long a worker may have nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTimeout {
    /// This long.
    After(TimeDelta),
    /// Until `max_lifetime`; spelled out by the owner.
    Never,
    /// As long as costs the least.
    Auto(AutoIdle),
}

/// What an idle time is chosen within, and by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoIdle {
    /// The least.
    pub min: TimeDelta,
    /// The most.
    pub max: TimeDelta,
    /// What an hour is worth in which a build waits.
    pub wait_price: Money,
}

/// What happens to an idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnIdle {
    /// It is gone.
    Terminate,
    /// It is stopped, and started for the next request.
    Stop,
    /// It is hibernated, and goes on where it was for the next request; stopped where that cannot be.
    Hibernate,
}

impl OnIdle {
    fn of(word: &str) -> Self {
        match word {
            "stop" => Self::Stop,
            "hibernate" => Self::Hibernate,
            _ => Self::Terminate,
        }
    }

    /// Whether the instance stays, with its disks, for the next request.
    pub fn keeps_instance(self) -> bool {
        match self {
            Self::Terminate => false,
            Self::Stop | Self::Hibernate => true,
        }
    }
}

/// Every limit of a worker's life.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of the same name, documented in default.toml")]
pub struct Lifecycle {
    pub idle_timeout: IdleTimeout,
    pub on_idle: OnIdle,
    pub warm: Vec<Window>,
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
    pub(super) fn read(layers: Vec<Layer<'_>>, name: &str, problems: &mut Problems) -> Option<(Self, Arc<[Shown]>)> {
        let mut reader = Reader::new(layers, POLICY_KEYS, name, problems);
        let idle = reader.span_or_never("idle_timeout");
        let on_idle = reader.choice("on_idle");
        let proof = reader.choice("proof");
        let max_age = reader.span_or_never("max_age");
        let old = max_age.as_ref().and_then(Located::span);
        let max_builds = reader.count("max_builds");
        let warm = warm(&mut reader);
        let wait_price = reader.amount("wait_price");
        let mut span = |key| reader.span(key);
        let (idle_min, idle_max) = (span("idle_timeout_min"), span("idle_timeout_max"));
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
            (&idle_min, &idle_max, "idle_timeout_min", "idle_timeout_max"),
            (&old, &max_lifetime, "max_age", "max_lifetime"),
            (&retry_pause, &retry_pause_max, "retry_pause", "retry_pause_max"),
            (&offering_memory, &offering_memory_max, "offering_memory", "offering_memory_max"),
        ] {
            ordered(&mut reader, less.as_ref(), more.as_ref(), low, high);
        }
        let shown = reader.finish();
        let auto = AutoIdle {
            min: idle_min?.value,
            max: idle_max?.value,
            wait_price: Money::micro_dollars(wait_price?.value),
        };
        let policy = Lifecycle {
            idle_timeout: match idle?.value {
                Span::Of(span) => IdleTimeout::After(span),
                Span::Never => IdleTimeout::Never,
                Span::Auto => IdleTimeout::Auto(auto),
            },
            on_idle: OnIdle::of(&on_idle?.value),
            warm,
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
        Some((policy, shown.into()))
    }

    /// The pause after so many failures in a row.
    pub fn pause_after(&self, failures: u32) -> TimeDelta {
        doubled(self.retry_pause, failures, self.retry_pause_max)
    }

    /// When the present warm window began and when it ends, if one is open; windows that follow at once are one.
    pub fn warm_at(&self, now: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let open = |at: DateTime<Utc>| self.warm.iter().filter_map(move |window| window.current(at));
        let since = open(now).map(|(since, _)| since).min()?;
        let mut until = now;
        // Those that never end are told a week ahead.
        for _ in 0..=7 {
            match open(until).map(|(_, end)| end).max() {
                Some(end) => until = end,
                None => break,
            }
        }
        Some((since, until))
    }

    /// When the next warm window begins, `now` itself included; none if there is no window.
    pub fn warm_from(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.warm.iter().map(|window| window.next_start(now)).min()
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

fn warm(reader: &mut Reader<'_, '_>) -> Vec<Window> {
    let mut windows = Vec::new();
    for text in reader.list("warm").unwrap_or_default() {
        match Window::from_str(&text.value) {
            Ok(window) => windows.push(window),
            Err(error) => {
                let cure = "write \"Mon-Fri 07:00-18:00\", \"Sat 02:00-06:00\", or \"07:00-18:00\" for every day, in \
                            UTC; the end of a day is 24:00";
                reader.report(text.at, "warm", Some(format!("{:?}", text.value)), error, cure);
            }
        }
    }
    windows
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
