//! All simulated accounts, and what every call to them goes through: faults, credentials, buckets, the trace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::latency::Latency;
use super::pace::Pace;
use super::site::{Effect, Site};
use super::trace::Trace;
use super::trail;
use super::weather::{Fault, Weather};

/// An account in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId {
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
}

/// What may be made to happen to the next calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mishap {
    /// Refused; nothing was done.
    Refuse(ApiError),
    /// Done, and the answer is lost.
    LoseReply,
    /// Not done, and the connection ends without an answer.
    LoseRequest,
    /// Not done, and never answered.
    Hang,
}

/// A mishap that waits for a call.
#[derive(Debug, Clone)]
struct Waiting {
    action: Option<String>,
    place: Option<SiteId>,
    mishap: Mishap,
}

/// A call, as far as buckets and faults are concerned.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Whose account, and where.
    pub place: &'a SiteId,
    /// EC2's name of it.
    pub action: &'static str,
    /// Whether it names ids, filters or a page size, which gives reads a larger bucket.
    pub paged: bool,
    /// How many instances it starts or ends.
    pub resources: u32,
    /// Whom it concerns, for the trace.
    pub subject: &'a str,
    /// Who calls: a user, or a role and its session with a slash between.
    pub by: &'a str,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served<T> {
    /// The answer, which arrives after this time.
    Answer(Result<T, ApiError>, TimeDelta),
    /// Done or not, the connection ends without an answer after this time.
    Lost(TimeDelta),
    /// Nothing ever comes.
    Never,
}

/// Told of everything that happens to instances, at the moment it happens.
pub trait Watcher: Send {
    /// Something happened. `site` is as it is right after.
    fn saw(&mut self, now: DateTime<Utc>, site: &Site, effect: &Effect);

    /// A call was answered; what it did has been told before.
    fn answered(&mut self, now: DateTime<Utc>, request: &Request<'_>, error: Option<&ApiError>) {
        let _ = (now, request, error);
    }
}

/// All simulated accounts.
pub struct World {
    seed: u64,
    weather: Arc<Weather>,
    sites: BTreeMap<SiteId, Site>,
    names: BTreeMap<SiteId, Arc<str>>,
    waiting: VecDeque<Waiting>,
    calls: BTreeMap<(SiteId, &'static str), u64>,
    watcher: Option<Box<dyn Watcher>>,
    steady: bool,
    lenient: bool,
    trail_late: TimeDelta,
    pace: Pace,
    /// How often the weather struck a call.
    pub struck: u64,
    /// What happened.
    pub trace: Trace,
}

impl SiteId {
    /// An account in a region.
    pub fn new(account: &str, region: &str) -> Self {
        Self { account: account.to_owned(), region: region.to_owned() }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("weather", &self.weather.name()).finish_non_exhaustive()
    }
}

impl World {
    /// A world in which times vary and images, types and groups must exist.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            seed,
            weather: Arc::new(weather),
            sites: BTreeMap::new(),
            names: BTreeMap::new(),
            waiting: VecDeque::new(),
            calls: BTreeMap::new(),
            watcher: None,
            steady: false,
            lenient: false,
            trail_late: trail::LATE,
            pace: Pace::default(),
            struck: 0,
            trace: Trace::default(),
        }
    }

    /// A calm world in which everything takes the same time each time, and any image, type and group exists.
    pub fn steady() -> Self {
        Self { steady: true, lenient: true, ..Self::new(0, Weather::calm()) }
    }

    /// Any image, type, subnet and group is taken to exist.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Somebody is told of everything from now on.
    pub fn watch(&mut self, watcher: Box<dyn Watcher>) {
        self.watcher = Some(watcher);
    }

    /// The seed that everything random comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Changes how often a fault happens, from now on.
    pub fn set_rate(&mut self, fault: Fault, rate: f64) {
        let mut weather = (*self.weather).clone();
        weather.set(fault, rate);
        self.weather = Arc::new(weather);
        for site in self.sites.values_mut() {
            site.weather = Arc::clone(&self.weather);
        }
    }

    /// How late CloudTrail may tell what happens from now on; a quarter of an hour without this.
    pub fn set_trail_late(&mut self, late: TimeDelta) {
        self.trail_late = late;
        for site in self.sites.values_mut() {
            site.trail.late = late;
        }
    }

    /// What is fixed from now on, for a measurement.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        for site in self.sites.values_mut() {
            site.pace = pace;
        }
    }

    /// Another weather for one account in one region, whatever the others have.
    pub fn set_weather_at(&mut self, place: &SiteId, weather: Weather) {
        self.site(place).weather = Arc::new(weather);
    }

    /// An account in a region; it is made on first use.
    pub fn site(&mut self, place: &SiteId) -> &mut Site {
        let (seed, weather, steady, lenient) = (self.seed, &self.weather, self.steady, self.lenient);
        let (late, pace) = (self.trail_late, self.pace);
        self.sites.entry(place.clone()).or_insert_with(|| {
            let mut site = Site::new(&place.account, &place.region, seed, Arc::clone(weather));
            (site.steady, site.lenient, site.trail.late, site.pace) = (steady, lenient, late, pace);
            site
        })
    }

    /// Every account and region that was used.
    pub fn sites(&self) -> impl Iterator<Item = (&SiteId, &Site)> {
        self.sites.iter()
    }

    /// Nothing is left of anything, as after an emulator's reset; the weather stays.
    pub fn reset(&mut self) {
        self.sites.clear();
        self.waiting.clear();
        self.calls.clear();
        self.trace = Trace::default();
    }

    /// When something happens next by itself.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.sites.values().filter_map(Site::next_due).min()
    }

    /// Everything that is due up to now happens.
    pub fn advance(&mut self, now: DateTime<Utc>) {
        let due: Vec<SiteId> = self
            .sites
            .iter()
            .filter(|(_, site)| site.next_due().is_some_and(|at| at <= now))
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            if let Some(site) = self.sites.get_mut(&place) {
                site.advance(now);
            }
            self.tell(&place, now, None);
        }
    }

    /// Does something to an account from outside the API: a guest, a third party, EC2 itself.
    pub fn touch<T>(&mut self, place: &SiteId, now: DateTime<Utc>, act: impl FnOnce(&mut Site) -> T) -> T {
        let site = self.site(place);
        site.advance(now);
        let result = act(site);
        self.tell(place, now, None);
        result
    }

    /// The next call of this action (any, if none is named) at this place meets this.
    pub fn inject(&mut self, action: Option<&str>, place: Option<&SiteId>, mishap: Mishap, times: usize) {
        let waiting = Waiting { action: action.map(ToOwned::to_owned), place: place.cloned(), mishap };
        self.waiting.extend(std::iter::repeat_n(waiting, times));
    }

    /// Mishaps that still wait are taken back.
    pub fn clear_injected(&mut self) {
        self.waiting.clear();
    }

    /// How often an action was called at a place, refused calls included.
    pub fn calls(&self, place: &SiteId, action: &str) -> u64 {
        self.calls.iter().filter(|((at, name), _)| at == place && *name == action).map(|(_, count)| count).sum()
    }

    /// How long a call is on its way to EC2.
    pub fn way_there(&mut self, place: &SiteId) -> TimeDelta {
        self.site(place).draw(Latency::Request)
    }

    /// A call arrives: what the weather and the account allow is done, and the answer sent on its way.
    pub fn serve<T>(
        &mut self,
        request: &Request<'_>,
        now: DateTime<Utc>,
        effect: impl FnOnce(&mut Site, DateTime<Utc>) -> Result<T, ApiError>,
    ) -> Served<T> {
        *self.calls.entry((request.place.clone(), request.action)).or_default() += 1;
        let mishap = self.waiting_for(request);
        let site = self.site(request.place);
        site.advance(now);
        // What came due before is nobody's call.
        site.close_trail(None);
        let struck = mishap.is_none();
        let mishap = mishap.or_else(|| site.mishap(request.action, now));
        let struck = struck && mishap.is_some();
        let mut back = site.draw(Latency::Reply);
        if site.chance(Fault::SlowReply) {
            back = back * site.random.i32(10..40);
        }
        let act = |site: &mut Site| {
            site.take(request.action, request.paged, request.resources, now)?;
            effect(site, now)
        };
        let served = match mishap {
            Some(Mishap::Refuse(error)) => Served::Answer(Err(error), back),
            Some(Mishap::Hang) => Served::Never,
            Some(Mishap::LoseRequest) => Served::Lost(back),
            Some(Mishap::LoseReply) => {
                let _ = act(site);
                Served::Lost(back)
            }
            None => Served::Answer(act(site), back),
        };
        self.struck += u64::from(struck);
        let outcome = match &served {
            Served::Answer(Ok(_), _) => "ok",
            Served::Answer(Err(error), _) => &error.code,
            Served::Lost(_) => "answer lost",
            Served::Never => "hangs",
        };
        self.note(now, request.place, request.action, request.subject, outcome);
        if let (Served::Answer(Err(error), _), Some(site)) = (&served, self.sites.get_mut(request.place)) {
            site.trail_refusal(now, request.action, request.by, error);
        }
        self.tell(request.place, now, Some(request.by));
        if let (Served::Answer(result, _), Some(watcher)) = (&served, self.watcher.as_mut()) {
            watcher.answered(now, request, result.as_ref().err());
        }
        served
    }

    /// Adds to the trace.
    pub fn note(&mut self, now: DateTime<Utc>, place: &SiteId, what: &'static str, subject: &str, outcome: &str) {
        let name =
            self.names.entry(place.clone()).or_insert_with(|| format!("{} {}", place.account, place.region).into());
        self.trace.add(now, name, what, subject, outcome);
    }

    fn waiting_for(&mut self, request: &Request<'_>) -> Option<Mishap> {
        let fits = |waiting: &Waiting| {
            waiting.action.as_ref().is_none_or(|action| action == request.action)
                && waiting.place.as_ref().is_none_or(|place| place == request.place)
        };
        let at = self.waiting.iter().position(fits)?;
        self.waiting.remove(at).map(|waiting| waiting.mishap)
    }

    /// What happened goes into the trace, and to whoever watches.
    fn tell(&mut self, place: &SiteId, now: DateTime<Utc>, caller: Option<&str>) {
        if let Some(site) = self.sites.get_mut(place) {
            site.close_trail(caller);
        }
        let Some(site) = self.sites.get_mut(place).filter(|site| !site.effects.is_empty()) else { return };
        let effects = std::mem::take(&mut site.effects);
        for (at, effect) in effects {
            if let (Some(watcher), Some(site)) = (self.watcher.as_mut(), self.sites.get(place)) {
                watcher.saw(at, site, &effect);
            }
            let (what, id, by) = effect.words();
            self.note(at, place, what, id.as_str(), by);
        }
        debug_assert!(self.sites.get(place).is_none_or(|site| site.next_due().is_none_or(|due| due > now)));
    }
}
