//! From what is seen and what was told before to the messages that are due.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::book::{Alarms, note};
use super::fact::Facts;
use super::judge::{Happening, judge};
use super::mailbox::{Channel, Mailbox, Manners, Post, Who, addressees, route};
use super::notice::{Notice, NoticePhase};
use super::pulse::Pulse;
use super::summary::summary;
use crate::model::OwnerName;
use crate::policy::{Addressee, Intent};

/// How long it is remembered that something was told that happened once.
const TOLD_FOR: TimeDelta = TimeDelta::days(120);
/// The least time between two summaries of the week.
const WEEK: TimeDelta = TimeDelta::days(5);

/// Everything that is remembered from one step to the next, and over a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When the first step was made: what happened before is no news.
    pub began: Option<DateTime<Utc>>,
    /// What the ledger says of the workers.
    pub pulse: Pulse,
    /// What is so.
    pub alarms: Alarms,
    /// What happened and was told.
    told: BTreeMap<String, DateTime<Utc>>,
    /// When each owner's summary was made last.
    weekly: BTreeMap<OwnerName, DateTime<Utc>>,
    /// What waits for each place.
    pub mailboxes: Vec<(Who, Channel, Mailbox)>,
}

/// What a step came to.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// What is to be remembered, together with the messages or not at all.
    pub kept: Kept,
    /// The messages that are due.
    pub posts: Vec<Post>,
}

/// One step. The entries of the ledger are in `kept.pulse` already.
pub fn step(mut kept: Kept, facts: &Facts, intent: &Intent) -> Stepped {
    let now = facts.now;
    let began = *kept.began.get_or_insert(now);
    kept.pulse.age(now);
    let addressees = addressees(intent);
    let mut verdict = judge(facts, &kept.pulse);
    verdict.silent.extend(of_places_left(&kept.alarms, &addressees));
    let mut told = note(&mut kept.alarms, &verdict, now);
    for happening in &verdict.happened {
        let told_so = happening.key.strip_suffix("/ended").and_then(|key| kept.alarms.get(key));
        // Of whose presence somebody was told, the end is told too.
        let told_so = told_so.is_some_and(|alarm| alarm.told.is_some());
        let new = kept.told.insert(happening.key.clone(), now).is_none() && !told_so;
        told.extend((new && happening.at >= began).then(|| (of(happening, now), None)));
    }
    // What is seen still was just told again; the rest is forgotten in time.
    kept.told.retain(|_, at| now - *at < TOLD_FOR);
    told.extend(summaries(&mut kept, facts, intent).into_iter().map(|notice| (notice, None)));
    for (notice, not_by) in told {
        for (who, channel) in route(&notice, not_by.as_ref(), &addressees) {
            mailbox(&mut kept.mailboxes, who, channel).put(notice.clone(), now);
        }
    }
    let posts = due(&mut kept.mailboxes, &addressees, intent, facts);
    Stepped { kept, posts }
}

/// The alarms of places where nobody is told any more: that messages reach them again would not be true.
fn of_places_left(alarms: &Alarms, addressees: &[(Who, &Addressee, Vec<Channel>)]) -> Vec<String> {
    let named = |place: &Channel| addressees.iter().any(|(_, _, channels)| channels.contains(place));
    let left = alarms.iter().filter(|(_, alarm)| alarm.not_by.as_ref().is_some_and(|place| !named(place)));
    left.map(|(key, _)| key.clone()).collect()
}

fn of(happening: &Happening, now: DateTime<Utc>) -> Notice {
    Notice {
        key: happening.key.clone(),
        class: happening.class,
        phase: NoticePhase::Happened,
        owner: Some(happening.owner.to_string()),
        title: happening.title.clone(),
        since: happening.at,
        at: now,
        urgent: false,
        text: happening.text.clone(),
        cost: None,
        todo: happening.todo.clone(),
    }
}

fn summaries(kept: &mut Kept, facts: &Facts, intent: &Intent) -> Vec<Notice> {
    let now = facts.now;
    if !intent.notify.weekly.is_some_and(|window| window.contains(now)) {
        return Vec::new();
    }
    let mut made = Vec::new();
    for owner in intent.owners.keys() {
        if kept.weekly.get(owner).is_none_or(|last| now - *last >= WEEK) {
            kept.weekly.insert(owner.clone(), now);
            made.push(summary(owner, facts, &kept.alarms));
        }
    }
    made
}

fn mailbox(mailboxes: &mut Vec<(Who, Channel, Mailbox)>, who: Who, channel: Channel) -> &mut Mailbox {
    let at = mailboxes.iter().position(|(known, place, _)| *known == who && *place == channel).unwrap_or_else(|| {
        mailboxes.push((who, channel, Mailbox::default()));
        mailboxes.len() - 1
    });
    &mut mailboxes[at].2
}

fn due(
    mailboxes: &mut Vec<(Who, Channel, Mailbox)>,
    addressees: &[(Who, &Addressee, Vec<Channel>)],
    intent: &Intent,
    facts: &Facts,
) -> Vec<Post> {
    let (settings, now) = (&intent.notify, facts.now);
    let mut posts = Vec::new();
    mailboxes.retain_mut(|(who, channel, mailbox)| {
        let known = addressees.iter().find(|(name, _, channels)| name == who && channels.contains(channel));
        let Some((_, addressee, _)) = known else { return false };
        if facts.blocked.contains(channel) {
            return true;
        }
        let quiet = addressee.quiet_hours.or(settings.quiet_hours);
        let manners = Manners { digest: settings.digest, daily_max: settings.daily_max, quiet };
        // The summary of a week is a message of its own beside the others.
        while let Some(post) = mailbox.take(who, channel, manners, now) {
            posts.push(post);
        }
        true
    });
    posts
}
