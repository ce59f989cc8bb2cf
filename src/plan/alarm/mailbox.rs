//! What waits for each place where somebody is told, and when it goes out.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::notice::{Notice, NoticePhase};
use crate::model::{AlarmClass, OwnerName};
use crate::policy::{Addressee, Intent, Window};

/// What comes first waits so long for what comes with it.
const GATHER: TimeDelta = TimeDelta::minutes(1);
/// The most notices in one message; the others are counted. Urgent ones are never among those.
const NOTICES_MAX: usize = 20;
/// The most notices that wait; the others are counted. What is urgent, and the week, takes the place of what is neither.
const WAITING_MAX: usize = 100;

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// An owner.
    Owner(OwnerName),
    /// The admin.
    Admin,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(name) => write!(f, "owner {name}"),
            Self::Admin => f.write_str("the admin"),
        }
    }
}

/// A place where somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// An address.
    Mail(String),
    /// A webhook, by its name.
    Webhook(String),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(address) => write!(f, "mail {address}"),
            Self::Webhook(name) => write!(f, "webhook {name}"),
        }
    }
}

/// A text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a place where somebody is told")]
pub struct NoChannel;

impl FromStr for Channel {
    type Err = NoChannel;

    fn from_str(text: &str) -> Result<Self, NoChannel> {
        match text.split_once(' ') {
            Some(("mail", address)) => Ok(Self::Mail(address.to_owned())),
            Some(("webhook", name)) => Ok(Self::Webhook(name.to_owned())),
            _ => Err(NoChannel),
        }
    }
}

/// A message for one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Its id: the same however often it is sent.
    pub id: String,
    /// For whom.
    pub who: Who,
    /// Where.
    pub channel: Channel,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What it tells.
    pub notices: Vec<Notice>,
    /// How much more there is than it tells.
    pub more: u32,
}

/// What waits for one place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// What waits, the oldest first.
    pub waiting: Vec<Notice>,
    /// Since when.
    since: Option<DateTime<Utc>>,
    /// What found no room.
    more: u32,
    /// When something was sent last.
    sent: Option<DateTime<Utc>>,
    /// The day of which the messages are counted.
    day: Option<NaiveDate>,
    /// How many there were.
    sent_today: u32,
    /// How many there ever were: a part of each message's id.
    count: u64,
}

/// When messages to a place may go out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) digest: TimeDelta,
    pub(super) daily_max: u32,
    pub(super) quiet: Option<Window>,
}

/// Everybody who can be told of something, with what they want to hear and where.
pub fn addressees(intent: &Intent) -> Vec<(Who, &Addressee, Vec<Channel>)> {
    let owners = intent.owners.iter().map(|(name, owner)| (Who::Owner(name.clone()), &owner.notify));
    let all = owners.chain([(Who::Admin, &intent.notify.admin)]);
    all.map(|(who, addressee)| {
        // The contact is written to only where something says how mail goes out.
        let mail = addressee.mail.iter().filter(|_| intent.notify.mail.is_some());
        let webhooks = addressee.webhook.iter().filter(|name| intent.notify.webhooks.contains_key(*name));
        let channels = mail.cloned().map(Channel::Mail).chain(webhooks.cloned().map(Channel::Webhook));
        let channels: BTreeSet<Channel> = channels.collect();
        (who, addressee, channels.into_iter().collect())
    })
    .collect()
}

/// Where a notice goes: to its owner, and to the admin where that is not the very same place.
pub(super) fn route(
    notice: &Notice,
    not_by: Option<&Channel>,
    addressees: &[(Who, &Addressee, Vec<Channel>)],
) -> Vec<(Who, Channel)> {
    let mut places: Vec<(Who, Channel)> = Vec::new();
    for (who, addressee, channels) in addressees {
        let concerns = match who {
            Who::Owner(name) => notice.owner.as_deref() == Some(name.as_str()),
            // An owner's summary is the owner's; the admin's own tells of all.
            Who::Admin => notice.class != AlarmClass::Weekly || notice.owner.is_none(),
        };
        if !concerns || !addressee.classes.contains(&notice.class) {
            continue;
        }
        for channel in channels.iter().filter(|channel| Some(*channel) != not_by) {
            if places.iter().all(|(_, known)| known != channel) {
                places.push((who.clone(), channel.clone()));
            }
        }
    }
    places
}

impl Mailbox {
    pub(super) fn put(&mut self, notice: Notice, now: DateTime<Utc>) {
        let beginning = |waiting: &Notice| waiting.key == notice.key && waiting.phase != NoticePhase::Ends;
        if notice.phase == NoticePhase::Ends && self.waiting.iter().any(beginning) {
            // Nobody has heard of it yet: that it was and is over is one thing to tell.
            self.waiting.retain(|waiting| waiting.key != notice.key);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.more = self.more.saturating_add(1);
            // It counts as told and does not come again, so what nobody may miss is not the one that is only counted.
            let ordinary = |notice: &Notice| !notice.urgent && notice.class != AlarmClass::Weekly;
            let given = self.waiting.iter().position(ordinary).filter(|_| !ordinary(&notice));
            let Some(given) = given else { return };
            self.waiting.remove(given);
        }
        self.since.get_or_insert(now);
        self.waiting.push(notice);
    }

    /// The message that goes out now, if one does. The summary of a week is one of its own.
    pub(super) fn take(&mut self, who: &Who, channel: &Channel, manners: Manners, now: DateTime<Utc>) -> Option<Post> {
        let today = now.date_naive();
        if self.day != Some(today) {
            (self.day, self.sent_today) = (Some(today), 0);
        }
        let since = self.since?;
        let urgent = self.waiting.iter().any(|notice| notice.urgent);
        let weekly = self.waiting.iter().any(|notice| notice.class == AlarmClass::Weekly);
        // What is urgent has a share of its own, so that a day of trifles does not keep it back.
        let most = if urgent { manners.daily_max.saturating_mul(2) } else { manners.daily_max };
        let gathered = now - since >= GATHER.min(manners.digest);
        let rested = self.sent.is_none_or(|sent| now - sent >= manners.digest);
        let quiet = manners.quiet.is_some_and(|quiet| quiet.contains(now));
        if self.sent_today >= most || !(urgent || weekly || (gathered && rested && !quiet)) {
            return None;
        }
        let (summaries, mut others): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|notice| notice.class == AlarmClass::Weekly);
        let (notices, left, more) = if weekly && !urgent {
            (summaries, others, 0)
        } else {
            // The urgent ones are not among those that are only counted, however many they are.
            others.sort_by_key(|notice| !notice.urgent);
            let urgent = others.iter().filter(|notice| notice.urgent).count();
            let rest = others.split_off(others.len().min(NOTICES_MAX.max(urgent)));
            let found_no_room = std::mem::take(&mut self.more);
            (others, summaries, found_no_room.saturating_add(u32::try_from(rest.len()).unwrap_or(u32::MAX)))
        };
        self.waiting = left;
        if self.waiting.is_empty() {
            self.since = None;
        }
        (self.sent, self.sent_today, self.count) = (Some(now), self.sent_today + 1, self.count + 1);
        let id = format!("{}.{}", now.timestamp(), self.count);
        Some(Post { id, who: who.clone(), channel: channel.clone(), at: now, notices, more })
    }
}
