//! Every metric there is: its name, what kind it is, its labels and what it says. docs/METRICS.md has the same
//! table, and a test holds the two together.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// What a metric counts or shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeterKind {
    /// It only grows, but for restarts.
    Counter,
    /// It is as it is now.
    Gauge,
    /// How long things took, in buckets.
    Histogram,
    /// A text, as a label of a 1.
    Info,
}

impl MeterKind {
    /// Its name, as it is served.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    pub(super) fn as_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    /// Its name in queries; a histogram's has `_bucket`, `_sum` and `_count` after it.
    pub name: &'static str,
    /// Its kind.
    pub kind: MeterKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, without the point at the end.
    pub help: &'static str,
}

/// The units that names end with.
const UNITS: [&str; 4] = ["seconds", "bytes", "ratio", "dollars_per_hour"];

impl Meter {
    /// Its unit, which its name ends with.
    pub fn unit(&self) -> Option<&'static str> {
        let bare = self.name.strip_suffix("_total").unwrap_or(self.name);
        UNITS.into_iter().find(|unit| bare.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
    }

    /// The name without unit and suffix, as the encoder wants it, and the unit.
    pub(super) fn parts(&self) -> (&'static str, Option<Unit>) {
        let bare = ["_total", "_info"].iter().find_map(|end| self.name.strip_suffix(end)).unwrap_or(self.name);
        let Some(unit) = self.unit() else { return (bare, None) };
        let bare = bare.strip_suffix(unit).and_then(|rest| rest.strip_suffix('_')).unwrap_or(bare);
        (bare, Some(Unit::Other(unit.to_owned())))
    }
}

macro_rules! meters {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) const $constant: Meter =
                Meter { name: $name, kind: MeterKind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All metrics, in the order in which they are served and documented.
        pub const METERS: &[Meter] = &[$($constant,)*];
    };
}

meters! {
    BUILD_INFO = Info "latent_build_info" ["version"]
        "The version that runs";
    STARTED = Gauge "latent_controller_start_time_seconds" []
        "When this controller started, in seconds since 1970";
    PHASES = Histogram "latent_phase_duration_seconds" ["phase", "begun", "image", "zone"]
        "How long a phase of a worker's life took, by image and zone";
    WORKER_PHASES = Histogram "latent_worker_phase_duration_seconds" ["phase", "worker"]
        "How long a phase of a worker's life took, by worker";
    REQUESTS = Counter "latent_requests_total" ["worker"]
        "Requests for a worker";
    REQUESTS_FAILED = Counter "latent_requests_failed_total" ["worker", "reason"]
        "Requests that were answered with a failure, by its reason";
    LAUNCHES = Counter "latent_launches_total" ["image", "outcome"]
        "Launches and starts that were answered: launched, or the reason of the refusal";
    BUILDS = Counter "latent_builds_total" ["worker"]
        "Builds that began";
    INSTANCES_ENDED = Counter "latent_instances_ended_total" ["owner", "cause"]
        "Instances that ended, or whose end was ordered, by cause";
    INTERRUPTIONS = Counter "latent_interruptions_total" ["image"]
        "Spot instances that EC2 took back";
    TURNED_AWAY = Counter "latent_turned_away_total" ["worker"]
        "Connections with the worker's name and password that were refused at a master's door";
    API_CALLS = Counter "latent_api_calls_total" ["owner", "region", "action"]
        "Calls of the loops to EC2; pages and repetitions within one call are not counted apart";
    API_ERRORS = Counter "latent_api_errors_total" ["owner", "region", "action", "reason"]
        "Calls that were refused or not answered, by reason; throttled ones are EC2's rate limit";
    API_TOKENS = Gauge "latent_api_tokens" ["owner", "region", "bucket"]
        "Calls that may be sent at once, by our own model of EC2's rate limits";
    API_PACE = Gauge "latent_api_pace_ratio" ["owner", "region", "bucket"]
        "How fast the bucket fills: 1 is our share of the published rate, less follows refusals";
    WORKERS = Gauge "latent_workers" ["owner", "state"]
        "Workers by state";
    WORKER_CONNECTED = Gauge "latent_worker_connected" ["worker"]
        "Whether the worker's master sees it connected";
    WORKER_WAITING = Gauge "latent_worker_waiting_seconds" ["worker"]
        "For how long the worker's request has been waiting; 0 if none waits";
    WORKER_FAILURES = Gauge "latent_worker_failures_in_a_row" ["worker"]
        "Launches or connections of the worker that failed since the last that did not";
    INSTANCES = Gauge "latent_instances" ["owner", "region", "state"]
        "The fleet's instances in the last listing, by state";
    DEPARTING_AGE = Gauge "latent_departing_age_seconds" ["owner", "region"]
        "Age of the oldest order to end an instance that is not seen to be over; 0 if there is none";
    STRANGE = Gauge "latent_strange_instances" ["owner", "region"]
        "Instances of the fleet that are left alone because no record explains them, or whose tags somebody changed";
    LEFTOVERS = Gauge "latent_leftovers" ["owner", "region", "kind"]
        "What the last sweep found left over";
    SWEEP_AGE = Gauge "latent_sweep_age_seconds" ["owner", "region"]
        "Time since the last sweep, or since the start";
    SWEEP_PERIOD = Gauge "latent_sweep_period_seconds" ["owner", "region"]
        "The configured time between two sweeps";
    SWEEP_GAPS = Gauge "latent_sweep_gaps" ["owner", "region"]
        "Kinds of resources that the last sweep could not see";
    LEASE_LEFT = Gauge "latent_lease_left_seconds" ["owner", "region"]
        "The least that is left of a lease of an instance in use; absent if there is none; negative if it is over";
    LEASE_RATIO = Gauge "latent_lease_left_ratio" ["owner", "region"]
        "The least share that is left of a lease of an instance in use; it is renewed at a half";
    LISTING_AGE = Gauge "latent_listing_age_seconds" ["owner", "region"]
        "Time since the last complete listing, or since the start";
    LISTING_FAILED = Gauge "latent_listing_failed" ["owner", "region"]
        "Whether the last listing failed";
    COST_RATE = Gauge "latent_cost_dollars_per_hour" ["owner", "region", "bound"]
        "What the fleet's running instances cost at list price, at the least and at the most, without disks and addresses";
    UNPRICED = Gauge "latent_unpriced_instances" ["owner", "region"]
        "Running instances whose price is not known, and which the cost leaves out";
    LEDGER_SEQ = Gauge "latent_ledger_seq" []
        "The place of the ledger's last entry";
    LEDGER_SIZE = Gauge "latent_ledger_size_bytes" []
        "What the ledger takes on the disk; absent if it is in memory";
    LEDGER_FAILING = Gauge "latent_ledger_write_failing" []
        "Whether the last write of the ledger failed: nothing is started then";
    LEDGER_FAILURES = Counter "latent_ledger_write_failures_total" []
        "Writes of the ledger that failed";
    REBAKES = Gauge "latent_rebakes" ["state"]
        "Rebakes by state, of those whose journals are kept";
    REBAKE_FAILED = Gauge "latent_rebake_failed" ["image"]
        "Whether the last rebake of the image that ended failed or was rolled back";
    UNREACHED = Gauge "latent_notices_unreached" []
        "Addresses and webhooks that messages do not reach; 0 as long as nobody is told anything";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for meter in METERS {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(meter.name.starts_with("latent_") && meter.name.chars().all(plain), "{}", meter.name);
            assert_eq!(meter.name.ends_with("_total"), meter.kind == MeterKind::Counter, "{}", meter.name);
            assert_eq!(meter.name.ends_with("_info"), meter.kind == MeterKind::Info, "{}", meter.name);
            assert!(meter.kind != MeterKind::Histogram || meter.unit() == Some("seconds"), "{}", meter.name);
            assert!(!meter.help.ends_with('.') && !meter.help.is_empty(), "{}", meter.name);
        }
    }

    #[test]
    fn the_parts_of_a_name_are_the_name() {
        for meter in METERS {
            let (bare, unit) = meter.parts();
            let end = match meter.kind {
                MeterKind::Counter => "_total",
                MeterKind::Info => "_info",
                MeterKind::Gauge | MeterKind::Histogram => "",
            };
            let unit = unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
            assert_eq!(format!("{bare}{unit}{end}"), meter.name);
        }
    }
}
