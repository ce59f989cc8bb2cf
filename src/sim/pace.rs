//! What a measurement fixes: how long things take, and whether anything is throttled.

use chrono::TimeDelta;

use super::latency::Latency;

/// What is the same each time; what is not given here is drawn, and the published buckets hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// How long each call is under way, half of it there and half of it back.
    pub round_trip: Option<TimeDelta>,
    /// From the launch or the start to `running`.
    pub pending: Option<TimeDelta>,
    /// No bucket refuses anything, as for an account whose limits were raised far enough.
    pub unthrottled: bool,
}

impl Pace {
    /// How long something takes, if that is fixed.
    pub(super) fn of(&self, latency: Latency) -> Option<TimeDelta> {
        match latency {
            Latency::Request | Latency::Reply => self.round_trip.map(|whole| whole / 2),
            Latency::Pending => self.pending,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::sim::site::Site;
    use crate::sim::weather::Weather;
    use crate::sim::world::{SiteId, World};

    fn site(pace: Pace) -> (World, SiteId) {
        let mut world = World::new(1, Weather::calm());
        let place = SiteId::new("123456789012", "us-west-2");
        world.site(&place);
        world.set_pace(pace);
        (world, place)
    }

    fn launches(site: &mut Site) -> usize {
        (0..20).filter(|_| site.take("RunInstances", false, 1, DateTime::<Utc>::UNIX_EPOCH).is_ok()).count()
    }

    #[test]
    fn what_is_fixed_takes_that_long_each_time_and_the_rest_is_drawn() {
        let second = TimeDelta::seconds(1);
        let (mut world, place) = site(Pace { round_trip: Some(second), pending: Some(second * 20), ..Pace::default() });
        let site = world.site(&place);
        assert!((0..10).all(|_| site.draw(Latency::Request) == second / 2 && site.draw(Latency::Reply) == second / 2));
        assert!((0..10).all(|_| site.draw(Latency::Pending) == second * 20));
        let drawn = site.draw(Latency::Ending);
        assert!((0..10).any(|_| site.draw(Latency::Ending) != drawn));
    }

    #[test]
    fn only_an_unthrottled_account_has_more_than_the_published_bucket() {
        let (mut world, place) = site(Pace::default());
        assert_eq!(launches(world.site(&place)), 5);
        let (mut world, place) = site(Pace { unthrottled: true, ..Pace::default() });
        assert_eq!(launches(world.site(&place)), 20);
        let elsewhere = SiteId::new("123456789012", "us-east-1");
        assert_eq!(launches(world.site(&elsewhere)), 20, "also where nobody has been yet");
    }
}
