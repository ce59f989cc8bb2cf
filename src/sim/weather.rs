//! What may go wrong, by name, and how often: one table.

use std::fmt;
use std::str::FromStr;

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The chance of each call to the cloud.
    Call,
    /// The chance of each launch.
    Launch,
    /// The chance of each change that readers are to see.
    Change,
    /// The chance of each stop or termination.
    Ending,
    /// How many times an hour, for each running instance.
    InstanceHour,
    /// The share of time in which it holds.
    Time,
    /// How many times a day.
    Day,
    /// The chance of each step of the controller: a call sent, done or answered, a write begun or ended.
    Step,
    /// The chance of each write to the ledger.
    Write,
    /// The chance of each reboot that a script asks for.
    Reboot,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Call => "of calls",
            Unit::Launch => "of launches",
            Unit::Change => "of changes",
            Unit::Ending => "of endings",
            Unit::InstanceHour => "per instance-hour",
            Unit::Time => "of the time",
            Unit::Day => "per day",
            Unit::Step => "of steps",
            Unit::Write => "of writes",
            Unit::Reboot => "of reboots",
        })
    }
}

macro_rules! faults {
    ($($variant:ident, $name:literal, $unit:ident, $rough:literal, $storm:literal, $what:literal;)*) => {
        /// Something that may go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $(#[doc = $what] $variant,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }

            /// What its rate counts.
            pub fn unit(self) -> Unit {
                match self { $(Fault::$variant => Unit::$unit,)* }
            }

            /// What happens.
            pub fn what(self) -> &'static str {
                match self { $(Fault::$variant => $what,)* }
            }

            fn rates(self) -> (f64, f64) {
                match self { $(Fault::$variant => ($rough, $storm),)* }
            }
        }
    };
}

faults! {
    ReplyLost, "reply-lost", Call, 0.01, 0.05, "The call is done and its answer is lost.";
    Hang, "hang", Call, 0.003, 0.02, "The call is not done and never answered.";
    InternalError, "internal-error", Call, 0.01, 0.05, "HTTP 500 InternalError; nothing was done.";
    Throttle, "throttle", Call, 0.02, 0.1, "HTTP 503 RequestLimitExceeded, whatever the bucket holds.";
    SlowReply, "slow-reply", Call, 0.02, 0.1, "The answer takes ten to forty times as long.";
    ForeignLoad, "foreign-load", Call, 0.02, 0.1, "The owner's other tools have used up half of the bucket.";
    PageExpired, "page-expired", Call, 0.005, 0.05, "The next page's token has expired.";
    AsyncFailure, "async-failure", Launch, 0.02, 0.1, "RunInstances answers 200 and the instance ends by itself.";
    LateRunning, "late-running", Launch, 0.02, 0.1, "The instance is pending for a minute or more.";
    Lag, "lag", Change, 0.1, 0.3, "Readers see the change 1 to 10 s late, now and then a minute or more.";
    TagsLate, "tags-late", Change, 0.02, 0.1, "Readers see the change of tags up to half a minute late.";
    StuckEnding, "stuck-ending", Ending, 0.01, 0.1, "Stopping or shutting down takes 10 to 60 minutes.";
    NoCapacity, "no-capacity", Time, 0.03, 0.2, "A type, zone and market has no capacity, for ten minutes.";
    ZoneOutage, "zone-outage", Time, 0.005, 0.03, "A zone fails: listings that do not name another zone fail whole.";
    QuotaReached, "quota-reached", Time, 0.005, 0.03, "The account's vCPU quota is used up, for ten minutes.";
    CredentialsExpired, "credentials-expired", Time, 0.003, 0.02, "The owner's credentials are not taken, for ten minutes.";
    RoleDenied, "role-denied", Time, 0.002, 0.02, "Writes are not authorized, for ten minutes.";
    ThirdPartyStop, "third-party-stop", InstanceHour, 0.005, 0.03, "Somebody stops the instance.";
    ThirdPartyTerminate, "third-party-terminate", InstanceHour, 0.005, 0.03, "Somebody terminates the instance.";
    ThirdPartyRetag, "third-party-retag", InstanceHour, 0.005, 0.03, "Somebody takes a tag of ours off the instance.";
    SpotInterruption, "spot-interruption", InstanceHour, 0.1, 0.5, "EC2 takes a spot instance back.";
    SpotLate, "spot-late", Launch, 0.1, 0.3, "A spot request is fulfilled minutes later.";
    AgentLost, "agent-lost", Reboot, 0.02, 0.1, "The SSM agent does not come back from a reboot that it made.";
    BootLate, "boot-late", Launch, 0.05, 0.2, "The guest takes five to ten times as long to boot.";
    BootNever, "boot-never", Launch, 0.01, 0.05, "The guest runs and its worker never connects.";
    ConnectTwice, "connect-twice", Launch, 0.01, 0.05, "The guest's worker connects a second time.";
    StaleTwin, "stale-twin", Ending, 0.05, 0.2, "The guest of an instance that ends connects once more.";
    ConnectionLost, "connection-lost", InstanceHour, 0.1, 0.5, "The worker's connection breaks and comes back.";
    GuestHang, "guest-hang", InstanceHour, 0.01, 0.05, "The guest's worker stops for ever; the instance runs on.";
    GuestPowerOff, "guest-power-off", InstanceHour, 0.02, 0.1, "The guest powers itself off.";
    MasterKill, "master-kill", Day, 2.0, 12.0, "The master is killed by a deploy and comes back without a memory.";
    MasterSilence, "master-silence", Day, 1.0, 6.0, "The master and the controller cannot reach each other for a while.";
    Reconfig, "reconfig", Day, 2.0, 12.0, "The configuration changes while builds run.";
    Operator, "operator", Day, 4.0, 24.0, "Somebody holds a worker's instance, lifts the hold, or asks that it go.";
    Canary, "canary", Day, 2.0, 12.0, "A rebake has a worker prove an AMI, or takes that back.";
    Crash, "crash", Step, 0.0003, 0.003, "The controller is killed at this very step and started again.";
    LedgerTorn, "ledger-torn", Write, 0.002, 0.02, "A write to the ledger fails; nothing or all of it was written.";
    LedgerLost, "ledger-lost", Day, 0.3, 2.0, "The controller's machine is lost, and its ledger with it.";
    SecondController, "second-controller", Day, 0.3, 2.0, "Somebody starts a second controller on the same ledger.";
}

impl Fault {
    /// Whether `latent sim run` plays it; the others need EC2's own protocol, or an SSM agent.
    pub fn is_played(self) -> bool {
        !matches!(self, Fault::PageExpired | Fault::SpotLate | Fault::AgentLost)
    }

    /// Whether `latent sim serve` plays it; the others need guests, a master or a controller of the simulation's own.
    pub fn is_served(self) -> bool {
        let first = Fault::BootLate as usize;
        (self as usize) < first
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.iter().find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| UnknownName { what: "fault", name: text.to_owned() })
    }
}

/// A name that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}")]
pub struct UnknownName {
    /// What it should have named.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

/// How often each fault happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    name: &'static str,
    rates: Vec<f64>,
}

impl Weather {
    /// The named ones.
    pub const NAMES: [&'static str; 3] = ["calm", "rough", "storm"];

    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self { name: "calm", rates: vec![0.0; Fault::ALL.len()] }
    }

    /// A bad day.
    pub fn rough() -> Self {
        Self { name: "rough", rates: Fault::ALL.iter().map(|fault| fault.rates().0).collect() }
    }

    /// Worse than anybody has seen.
    pub fn storm() -> Self {
        Self { name: "storm", rates: Fault::ALL.iter().map(|fault| fault.rates().1).collect() }
    }

    /// The name it began with.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How often a fault happens, in its own unit.
    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault as usize]
    }

    /// The faults whose rate is not what the name says.
    pub fn changed(&self) -> Vec<(Fault, f64)> {
        let usual = self.name.parse::<Weather>().unwrap_or_else(|_| Self::calm());
        let rates = Fault::ALL.iter().map(|fault| (*fault, self.rate(*fault)));
        rates.filter(|(fault, rate)| (usual.rate(*fault) - rate).abs() > f64::EPSILON).collect()
    }

    /// Changes one rate.
    pub fn set(&mut self, fault: Fault, rate: f64) {
        self.rates[fault as usize] = rate;
    }
}

impl FromStr for Weather {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "calm" => Ok(Self::calm()),
            "rough" => Ok(Self::rough()),
            "storm" => Ok(Self::storm()),
            _ => Err(UnknownName { what: "weather", name: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_played_or_served() {
        assert!(Fault::ALL.iter().all(|fault| fault.is_played() || fault.is_served()));
        assert!(Fault::SpotLate.is_served() && !Fault::SpotLate.is_played());
        assert!(Fault::Crash.is_played() && !Fault::Crash.is_served() && !Fault::GuestHang.is_served());
    }

    #[test]
    fn every_fault_has_a_name_of_its_own_and_is_worse_in_a_storm() {
        let (calm, rough, storm) = (Weather::calm(), Weather::rough(), Weather::storm());
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
            assert!(calm.rate(*fault) <= 0.0 && rough.rate(*fault) > 0.0, "{fault}");
            assert!(storm.rate(*fault) > rough.rate(*fault), "{fault}");
        }
        assert!("drizzle".parse::<Weather>().is_err() && "rain".parse::<Fault>().is_err());
    }
}
