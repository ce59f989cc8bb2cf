//! How long an idle instance is worth keeping: pure, from prices, the times of earlier starts, and how long its worker
//! was idle before.
//!
//! To let an instance go costs the next start: its boot, a minute at least, and what the build is worth that waits for
//! it. To keep it costs every second. Of the times that its worker was idle before, the one is chosen that would have
//! cost the least in all. While too few are known it is kept until idling has cost as much as a start: that is never
//! more than twice what the best choice would have cost, whatever comes.

use chrono::TimeDelta;

use crate::model::{Fleet, IdleBasis, IdleChoice, ImageName, Worker, WorkerName};
use crate::policy::price::{self, Money, SECONDS_MIN, Software};
use crate::policy::{AutoIdle, IdleTimeout, Image, Intent};

/// So many times that a worker was idle tell something of the next one.
const GAPS_MIN: usize = 10;
/// So many launches of an AMI tell how long one takes; with fewer, those of the image's other AMIs count too.
const BOOTS_MIN: usize = 3;
/// What a start is taken to last of which nothing is known.
const BOOT_ASSUMED_S: u32 = 60;
/// What is chosen where no price is known, within the bounds of the policy.
const UNPRICED: TimeDelta = TimeDelta::minutes(10);
/// A time that is chosen is in whole steps of so many seconds, but for the bounds.
const STEP_S: u32 = 60;

/// How long a worker's instance is kept idle, and why; `None` where the policy says the time itself.
pub fn idle_choice(intent: &Intent, fleet: &Fleet, name: &WorkerName, worker: &Worker) -> Option<IdleChoice> {
    let configured = intent.workers.get(name);
    let policy = configured.map_or(&intent.base_policy, |configured| &configured.policy);
    let IdleTimeout::Auto(auto) = policy.idle_timeout else { return None };
    let image = configured.and_then(|configured| intent.images.get(&configured.image));
    let hourly = image.and_then(|image| hourly(intent, worker, image));
    let (boot, boots) = boot(fleet, worker, configured.map(|configured| &configured.image), image);
    let gaps: Vec<u32> = worker.history.gaps.iter().copied().collect();
    Some(choose(auto, hourly, (boot, boots), &gaps))
}

/// What an hour of the present instance costs at the most, or of the image's first offering.
fn hourly(intent: &Intent, worker: &Worker, image: &Image) -> Option<Money> {
    let spec = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref());
    let offering = spec.map(|spec| &spec.offering).or_else(|| image.offerings.first())?;
    let software = Software::of(image.platform)?;
    let hourly = intent.prices.hourly(&offering.instance_type, &image.region, software, offering.market)?;
    Some((hourly + price::address_hour()).high)
}

/// The median from a launch to a connected worker, in seconds, and of how many launches.
fn boot(fleet: &Fleet, worker: &Worker, name: Option<&ImageName>, image: Option<&Image>) -> (u32, u32) {
    let spec = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref());
    let ami = spec.map(|spec| &spec.ami).or_else(|| image.and_then(|image| image.ami.named()));
    let own = ami.and_then(|ami| fleet.generations.get(ami)).map(|one| &one.connect_seconds);
    let mut times: Vec<u32> = own.into_iter().flatten().copied().collect();
    if times.len() < BOOTS_MIN {
        let of_image = fleet.generations.values().filter(|one| Some(&one.image) == name);
        times = of_image.flat_map(|one| one.connect_seconds.iter().copied()).collect();
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(BOOT_ASSUMED_S);
    (median, u32::try_from(times.len()).unwrap_or(u32::MAX))
}

/// What idle time and starts cost, in micro-dollars of an hour times seconds: no division, so nothing is lost.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// A second of idle time.
    idle: u128,
    /// A start.
    start: u128,
}

impl Costs {
    fn new(hourly: Money, wait_price: Money, boot_seconds: u32) -> Self {
        let (idle, boot) = (u128::from(hourly.as_micro_dollars()), u128::from(boot_seconds));
        let waits = u128::from(wait_price.as_micro_dollars()) * boot;
        Self { idle, start: idle * boot.max(u128::from(SECONDS_MIN)) + waits }
    }

    /// What these idle times would have cost, had the instance been let go of after so many seconds.
    fn of(&self, seconds: u32, gaps: &[u32]) -> u128 {
        let of_one = |gap: &u32| {
            if *gap <= seconds { self.idle * u128::from(*gap) } else { self.idle * u128::from(seconds) + self.start }
        };
        gaps.iter().map(of_one).sum()
    }

    /// After how many idle seconds as much is spent as a start costs.
    fn break_even(&self) -> u32 {
        self.start.checked_div(self.idle).and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(u32::MAX)
    }
}

fn choose(auto: AutoIdle, hourly: Option<Money>, (boot_seconds, boots): (u32, u32), gaps: &[u32]) -> IdleChoice {
    let (min, max) = (seconds_of(auto.min), seconds_of(auto.max));
    let known = hourly.map(|hourly| Costs::new(hourly, auto.wait_price, boot_seconds));
    let (basis, seconds) = match known {
        None => (IdleBasis::Unpriced, seconds_of(UNPRICED)),
        Some(costs) if gaps.len() < GAPS_MIN => (IdleBasis::BreakEven, costs.break_even()),
        Some(costs) => (IdleBasis::History, cheapest(costs, min, max, gaps)),
    };
    IdleChoice {
        seconds: seconds.clamp(min, max.max(min)),
        basis,
        hourly: hourly.map(Money::as_micro_dollars),
        wait_price: auto.wait_price.as_micro_dollars(),
        boot_seconds,
        boots,
        gaps: u32::try_from(gaps.len()).unwrap_or(u32::MAX),
        break_even_seconds: known.map(|costs| costs.break_even()),
    }
}

/// The shortest time of those that would have cost the least: a bound, or just enough for one of the gaps.
fn cheapest(costs: Costs, min: u32, max: u32, gaps: &[u32]) -> u32 {
    let enough =
        gaps.iter().map(|gap| gap.div_ceil(STEP_S).saturating_mul(STEP_S)).filter(|gap| (min..=max).contains(gap));
    let all = enough.chain([min, max]);
    all.min_by_key(|seconds| (costs.of(*seconds, gaps), *seconds)).unwrap_or(min)
}

fn seconds_of(span: TimeDelta) -> u32 {
    u32::try_from(span.num_seconds().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A dollar an hour: an idle hour and an hour of waiting are easily compared.
    const DOLLAR: Money = Money::micro_dollars(1_000_000);

    fn auto(min: i64, max: i64, wait_price: Money) -> AutoIdle {
        AutoIdle { min: TimeDelta::minutes(min), max: TimeDelta::minutes(max), wait_price }
    }

    fn chosen(auto: AutoIdle, boot: u32, gaps: &[u32]) -> (IdleBasis, u32) {
        let choice = choose(auto, Some(DOLLAR), (boot, 5), gaps);
        (choice.basis, choice.seconds)
    }

    #[test]
    fn without_a_history_it_idles_for_what_a_start_costs() {
        let even = |wait: Money, boot| chosen(auto(1, 60, wait), boot, &[]);
        assert_eq!(even(Money::ZERO, 20), (IdleBasis::BreakEven, 60), "a start is billed for a minute at least");
        assert_eq!(even(Money::ZERO, 300), (IdleBasis::BreakEven, 300));
        assert_eq!(even(DOLLAR, 300), (IdleBasis::BreakEven, 600), "and its build waits for five minutes");
        assert_eq!(even(DOLLAR.times(100), 300).1, 3600, "the policy's bound");
        assert_eq!(chosen(auto(5, 60, Money::ZERO), 20, &[]).1, 300, "and the other one");
    }

    #[test]
    fn the_dearer_an_hour_the_shorter_it_idles() {
        let of = |hourly: u64| choose(auto(1, 600, DOLLAR), Some(Money::micro_dollars(hourly)), (60, 5), &[]).seconds;
        assert_eq!([of(100_000), of(1_000_000), of(10_000_000)], [660, 120, 66]);
    }

    #[test]
    fn gaps_that_are_shorter_than_a_start_is_dear_are_bridged_and_others_are_not() {
        // A start costs as much as ten minutes of idle time.
        let short = |gap| chosen(auto(1, 60, DOLLAR), 300, &[gap; 12]);
        assert_eq!(short(290), (IdleBasis::History, 300));
        assert_eq!(short(600), (IdleBasis::History, 600));
        assert_eq!(short(1200), (IdleBasis::History, 60), "it would only cost more");
        // Half of them within four minutes, the others next morning.
        let mut mixed = vec![200; 6];
        mixed.extend([50_000; 6]);
        assert_eq!(chosen(auto(1, 60, DOLLAR), 300, &mixed), (IdleBasis::History, 240));
        assert_eq!(chosen(auto(1, 60, DOLLAR), 300, &[200; 9]).0, IdleBasis::BreakEven, "too few");
    }

    #[test]
    fn without_a_price_it_is_a_fixed_time_within_the_bounds() {
        for (bounds, seconds) in [((2, 60), 600), ((2, 5), 300), ((20, 60), 1200)] {
            let choice = choose(auto(bounds.0, bounds.1, DOLLAR), None, (60, 0), &[5; 50]);
            assert_eq!((choice.basis, choice.seconds), (IdleBasis::Unpriced, seconds));
        }
    }

    #[test]
    fn what_costs_nothing_is_kept_for_the_longest_time() {
        assert_eq!(choose(auto(1, 60, DOLLAR), Some(Money::ZERO), (60, 5), &[]).seconds, 3600);
    }

    proptest! {
        #[test]
        fn no_other_whole_minute_would_have_cost_less(
            gaps in prop::collection::vec(0_u32..20_000, 10..100), hourly in 1_u64..10_000_000,
            wait in 0_u64..10_000_000, boot in 0_u32..2_000, min in 1_i64..30, more in 0_i64..200,
        ) {
            let bounds = auto(min, min + more, Money::micro_dollars(wait));
            let choice = choose(bounds, Some(Money::micro_dollars(hourly)), (boot, 5), &gaps);
            let costs = Costs::new(Money::micro_dollars(hourly), Money::micro_dollars(wait), boot);
            let own = costs.of(choice.seconds, &gaps);
            for minutes in min..=min + more {
                let other = costs.of(u32::try_from(minutes * 60).expect("few"), &gaps);
                prop_assert!(own <= other, "{} at {minutes} minutes is less than {}", other, own);
            }
        }

        #[test]
        fn the_break_even_costs_at_most_twice_the_best(gap in 0_u32..1_000_000, hourly in 1_u64..10_000_000, wait in 0_u64..10_000_000, boot in 0_u32..2_000) {
            let costs = Costs::new(Money::micro_dollars(hourly), Money::micro_dollars(wait), boot);
            let best = costs.start.min(costs.idle * u128::from(gap));
            prop_assert!(costs.of(costs.break_even(), &[gap]) <= 2 * best);
        }
    }
}
