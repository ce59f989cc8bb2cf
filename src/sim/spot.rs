//! The spot market: prices, and requests with their statuses (Amazon EC2: Spot request status).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::instance::{Reason, RunInstances, SpotOptions, TagTarget, Tags};
use super::latency::Latency;
use super::site::{By, Due, Effect, Site, hash};
use super::types::instance_type;
use super::weather::Fault;
use crate::model::{InstanceId, InstanceState};

/// The product whose prices the model has.
pub(super) const PRODUCT: &str = "Linux/UNIX";
/// How far back prices go.
const HISTORY: TimeDelta = TimeDelta::days(90);
/// How long a price holds.
pub(super) const PRICE_WINDOW: TimeDelta = TimeDelta::hours(6);
/// How long before its end a spot instance is told.
const NOTICE: TimeDelta = TimeDelta::minutes(2);
/// When a request is looked at again that could not be fulfilled.
const AGAIN: TimeDelta = TimeDelta::seconds(60);
/// Dollars per hour of a type that nobody knows.
const UNKNOWN_PRICE: f64 = 0.1;

/// The state of a spot request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are EC2's states")]
pub enum SpotState {
    Open,
    Active,
    Disabled,
    Closed,
    Cancelled,
    Failed,
}

/// A spot request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotRequest {
    /// Its id.
    pub id: String,
    /// What it launches.
    pub params: Arc<RunInstances>,
    /// Its state.
    pub state: SpotState,
    /// EC2's code of its status.
    pub status: &'static str,
    /// Since when it has that status.
    pub since: DateTime<Utc>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Until when it may be fulfilled.
    pub valid_until: Option<DateTime<Utc>>,
    /// The instance that it has.
    pub instance: Option<InstanceId>,
    /// Its tags.
    pub tags: Tags,
}

impl SpotState {
    /// EC2's word.
    pub fn word(self) -> &'static str {
        match self {
            SpotState::Open => "open",
            SpotState::Active => "active",
            SpotState::Disabled => "disabled",
            SpotState::Closed => "closed",
            SpotState::Cancelled => "cancelled",
            SpotState::Failed => "failed",
        }
    }
}

impl SpotRequest {
    /// What it says of the market.
    pub fn options(&self) -> Option<&SpotOptions> {
        self.params.spot.as_ref()
    }

    fn becomes(&mut self, state: SpotState, status: &'static str, now: DateTime<Utc>) {
        (self.state, self.status, self.since) = (state, status, now);
    }

    fn is_persistent(&self) -> bool {
        self.options().is_some_and(|options| options.persistent)
    }

    /// A sentence on its status.
    pub fn message(&self) -> &'static str {
        match self.status {
            "pending-evaluation" => "Your Spot request has been submitted for review, and is pending evaluation.",
            "pending-fulfillment" => "Your Spot request is pending fulfillment.",
            "fulfilled" => "Your spot request is fulfilled.",
            "price-too-low" => "Your Spot request price is lower than the minimum required Spot price.",
            "capacity-not-available" => "There is no Spot capacity available that matches your request.",
            "limit-exceeded" => "You've reached the quota of Spot capacity in your account.",
            "bad-parameters" => "Your Spot request was not valid.",
            "schedule-expired" => "Your Spot request expired before it was fulfilled.",
            "canceled-before-fulfillment" => "Your Spot request is canceled before it was fulfilled.",
            "request-canceled-and-instance-running" => {
                "Your Spot request is canceled, but your instance is still running."
            }
            "marked-for-termination" => "Your Spot instance is marked for termination.",
            "marked-for-stop" => "Your Spot instance is marked for stopping.",
            "instance-terminated-by-user" => "Spot Instance terminated due to user-initiated termination.",
            "instance-terminated-no-capacity" => "Your Spot instance was terminated because there is no Spot capacity.",
            "instance-stopped-by-user" => "Spot Instance stopped due to user-initiated stop.",
            _ => "",
        }
    }
}

impl Site {
    /// The price per hour of a type in a zone at a time, in dollars.
    pub fn spot_price(&self, kind: &str, zone: &str, at: DateTime<Utc>) -> f64 {
        let window = at.timestamp().div_euclid(PRICE_WINDOW.num_seconds());
        #[expect(clippy::cast_precision_loss, reason = "a number below a thousand")]
        let share = |of: u64| (of % 1000) as f64 / 1000.0;
        let base = 0.25 + 0.25 * share(hash(&(self.seed, kind, zone)));
        let now = 0.9 + 0.2 * share(hash(&(self.seed, kind, zone, window)));
        instance_type(kind).map_or(UNKNOWN_PRICE, |known| known.price) * base * now
    }

    /// The prices of a type in a zone that held at some time of a period, the oldest first, and since when.
    pub fn spot_history(
        &self,
        kind: &str,
        zone: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<(DateTime<Utc>, f64)> {
        let window = PRICE_WINDOW.num_seconds();
        let since = since.max(until - HISTORY);
        let (first, last) = (since.timestamp().div_euclid(window), until.timestamp().div_euclid(window));
        let begin = |number: i64| DateTime::from_timestamp(number * window, 0).unwrap_or(since);
        (first..=last).map(begin).map(|at| (at, self.spot_price(kind, zone, at))).collect()
    }

    /// A launch that names a price below the market's is refused.
    pub(super) fn check_spot_price(
        &self,
        request: &RunInstances,
        zone: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        let named = request.spot.as_ref().and_then(|options| options.max_price.as_deref());
        let Some(named) = named else { return Ok(()) };
        let Ok(highest) = named.parse::<f64>() else {
            return Err(ApiError::invalid_value(format!("Invalid value '{named}' for the maximum Spot price.")));
        };
        let price = self.spot_price(&request.instance_type, zone, now);
        if highest >= price {
            return Ok(());
        }
        let message = format!(
            "Your Spot request price of {named} is lower than the minimum required Spot request fulfillment price of {price:.4}."
        );
        Err(ApiError::client("SpotMaxPriceTooLow", message))
    }

    /// An instance that RunInstances launches from the spot market has a request from birth.
    pub(super) fn bear_spot_request(&mut self, of: &InstanceId, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get(of) else { return };
        let Some(id) = instance.spot_request.clone() else { return };
        let params = Arc::clone(&instance.params);
        let request = SpotRequest {
            id: id.clone(),
            state: SpotState::Active,
            status: "fulfilled",
            since: now,
            created: now,
            valid_until: None,
            instance: Some(of.clone()),
            tags: params.tags.get(&TagTarget::SpotRequest).cloned().unwrap_or_default(),
            params,
        };
        self.spot_requests.insert(id, request);
    }

    /// RequestSpotInstances: the ids of the requests.
    ///
    /// # Errors
    /// Those of a launch that can be told before it is tried.
    pub fn request_spot(
        &mut self,
        params: &RunInstances,
        count: u32,
        valid_until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, ApiError> {
        self.check_launch(params)?;
        let params = Arc::new(RunInstances { min: 1, max: 1, ..params.clone() });
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = self.new_id("sir");
            let request = SpotRequest {
                id: id.clone(),
                params: Arc::clone(&params),
                state: SpotState::Open,
                status: "pending-evaluation",
                since: now,
                created: now,
                valid_until,
                instance: None,
                tags: params.tags.get(&TagTarget::SpotRequest).cloned().unwrap_or_default(),
            };
            self.spot_requests.insert(id.clone(), request);
            self.try_later(&id, now);
            ids.push(id);
        }
        Ok(ids)
    }

    fn try_later(&mut self, id: &str, now: DateTime<Utc>) {
        let late = self.chance(Fault::SpotLate);
        if late {
            self.set_spot(id, SpotState::Open, "pending-fulfillment", now);
        }
        let wait = self.draw(if late { Latency::LateSpot } else { Latency::Spot });
        self.schedule(now + wait, Due::Spot(id.to_owned()));
    }

    fn set_spot(&mut self, id: &str, state: SpotState, status: &'static str, now: DateTime<Utc>) {
        if let Some(request) = self.spot_requests.get_mut(id) {
            request.becomes(state, status, now);
        }
    }

    /// An open request is tried.
    pub(super) fn spot_moves_on(&mut self, id: &str, now: DateTime<Utc>) {
        let Some(request) = self.spot_requests.get(id).filter(|request| request.state == SpotState::Open) else {
            return;
        };
        if request.valid_until.is_some_and(|until| until <= now) {
            self.set_spot(id, SpotState::Closed, "schedule-expired", now);
            return;
        }
        let params = Arc::clone(&request.params);
        match self.run_instances(&params, None, now) {
            Ok(instances) => {
                if let Some(instance) = instances.into_iter().next() {
                    self.fulfilled(id, instance, now);
                }
            }
            Err(error) => {
                let status = match &*error.code {
                    "SpotMaxPriceTooLow" => "price-too-low",
                    "InsufficientInstanceCapacity" => "capacity-not-available",
                    "MaxSpotInstanceCountExceeded" => "limit-exceeded",
                    _ => {
                        self.set_spot(id, SpotState::Failed, "bad-parameters", now);
                        return;
                    }
                };
                self.set_spot(id, SpotState::Open, status, now);
                self.schedule(now + AGAIN, Due::Spot(id.to_owned()));
            }
        }
    }

    /// The launch brought a request of its own along: this one takes its place.
    fn fulfilled(&mut self, id: &str, instance: InstanceId, now: DateTime<Utc>) {
        if let Some(born) = self.instances.get_mut(&instance) {
            let own = born.spot_request.replace(id.to_owned());
            own.and_then(|own| self.spot_requests.remove(&own));
        }
        if let Some(request) = self.spot_requests.get_mut(id) {
            request.instance = Some(instance);
            request.becomes(SpotState::Active, "fulfilled", now);
        }
    }

    /// CancelSpotInstanceRequests: running instances go on, stopped ones are terminated.
    ///
    /// # Errors
    /// `InvalidSpotInstanceRequestID.NotFound`; nothing is cancelled then.
    pub fn cancel_spot(&mut self, ids: &[&str], now: DateTime<Utc>) -> Result<(), ApiError> {
        if let Some(unknown) = ids.iter().find(|id| !self.spot_requests.contains_key(**id)) {
            return Err(no_request(unknown));
        }
        for id in ids {
            let Some(request) = self.spot_requests.get_mut(*id) else { continue };
            let instance = request.instance.clone();
            match request.state {
                SpotState::Open => request.becomes(SpotState::Cancelled, "canceled-before-fulfillment", now),
                SpotState::Active => {
                    request.becomes(SpotState::Cancelled, "request-canceled-and-instance-running", now);
                }
                SpotState::Disabled => {
                    request.becomes(SpotState::Cancelled, "instance-terminated-by-user", now);
                    if let Some(instance) = instance {
                        self.end_from_outside(&instance, now, "Server.SpotInstanceTermination");
                    }
                }
                SpotState::Closed | SpotState::Cancelled | SpotState::Failed => {}
            }
        }
        Ok(())
    }

    /// EC2 says that it takes a spot instance back in two minutes.
    pub fn interrupt(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        if *instance.state() != InstanceState::Running || instance.params.spot.is_none() || instance.notice.is_some() {
            return;
        }
        instance.notice = Some(now + NOTICE);
        let (epoch, request) = (instance.epoch, instance.spot_request.clone());
        let ends = instance.params.spot.as_ref().is_none_or(|options| options.interruption == "terminate");
        // What was cancelled has its status until its instance ends.
        let request = request.and_then(|id| self.spot_requests.get_mut(&id));
        if let Some(request) = request.filter(|request| request.state == SpotState::Active) {
            let status = if ends { "marked-for-termination" } else { "marked-for-stop" };
            request.becomes(SpotState::Active, status, now);
        }
        self.schedule(now + NOTICE, Due::Interruption(id.clone(), epoch));
        self.happened(now, Effect::Warned(id.clone()));
    }

    /// EC2 takes a spot instance back, unless it has stopped or ended since.
    pub(super) fn interruption(&mut self, id: &InstanceId, epoch: u32, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.epoch == epoch) else { return };
        instance.notice = None;
        let ends = instance.params.spot.as_ref().is_none_or(|options| options.interruption == "terminate");
        if ends {
            self.end_from_outside(id, now, "Server.SpotInstanceTermination");
        } else {
            let reason = Reason::new("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot interruption");
            self.begin_stop(id, reason, By::Ec2, now);
        }
    }

    /// An instance of the spot market changed its state: its request follows, and if it is persistent it opens again.
    pub(super) fn spot_follows(&mut self, of: &InstanceId, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get(of) else { return };
        let Some(id) = instance.spot_request.clone() else { return };
        let by_ec2 = instance.facts().reason.as_ref().is_some_and(|reason| reason.code.starts_with("Server."));
        let state = instance.state().clone();
        let Some(request) = self.spot_requests.get_mut(&id) else { return };
        let cancelled = request.state == SpotState::Cancelled;
        match state {
            InstanceState::ShuttingDown => {
                let status = if by_ec2 { "instance-terminated-no-capacity" } else { "instance-terminated-by-user" };
                let again = request.is_persistent() && !cancelled;
                let closed = if cancelled { SpotState::Cancelled } else { SpotState::Closed };
                request.becomes(if again { SpotState::Open } else { closed }, status, now);
                if again {
                    request.instance = None;
                    self.try_later(&id, now);
                }
            }
            InstanceState::Stopping if !cancelled => {
                let status = if by_ec2 { "instance-stopped-no-capacity" } else { "instance-stopped-by-user" };
                request.becomes(SpotState::Disabled, status, now);
            }
            InstanceState::Pending if !cancelled => request.becomes(SpotState::Active, "fulfilled", now),
            InstanceState::Pending
            | InstanceState::Running
            | InstanceState::Stopping
            | InstanceState::Stopped
            | InstanceState::Terminated
            | InstanceState::Unknown(_) => {}
        }
    }
}

/// The refusal of a request's id.
pub(super) fn no_request(id: &str) -> ApiError {
    let message = format!("The spot instance request ID '{id}' does not exist");
    ApiError::client("InvalidSpotInstanceRequestID.NotFound", message)
}
