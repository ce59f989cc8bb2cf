//! What is so and was told: each thing once, its end once, and what comes and goes not at all for a while.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::judge::{Condition, Verdict};
use super::notice::{Notice, NoticePhase};
use super::text::span;
use crate::model::AlarmClass;

/// How long something must not be seen before it is over.
const CALM: TimeDelta = TimeDelta::minutes(2);
/// What begins so often within [`FLAP_WINDOW`] comes and goes.
const FLAPS_MAX: usize = 3;
/// The time in which beginnings are counted.
const FLAP_WINDOW: TimeDelta = TimeDelta::hours(24);
/// How long something that came and went must be away before it is told again.
const FLAP_CALM: TimeDelta = TimeDelta::hours(6);
/// When something is told again that is still so; then after twice as long, and so on.
const REMIND: TimeDelta = TimeDelta::days(1);
/// So often it is told again, so that a month's silence is none.
const REMINDERS_MAX: u32 = 5;
/// What nothing is known of for so long is not waited for: its worker or its account is not configured any more.
const UNSEEN_MAX: TimeDelta = TimeDelta::days(7);
/// The most things that are kept at once; a fleet has fewer.
const ALARMS_MAX: usize = 10_000;

/// Everything that is so, or was so lately, by key.
pub type Alarms = BTreeMap<String, Alarm>;

/// Something that is so, or was so lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What was told of it last, or would be.
    pub notice: Notice,
    /// When it was first seen, this time.
    pub seen: DateTime<Utc>,
    /// When it was told, if it was.
    pub told: Option<DateTime<Utc>>,
    /// How often it was told again.
    reminded: u32,
    /// Since when it is not seen any more.
    away: Option<DateTime<Utc>>,
    /// Whether it is over.
    pub over: bool,
    /// When it began, the last times.
    begun: Vec<DateTime<Utc>>,
    /// Whether it comes and goes, and nothing is told of it.
    pub flaps: bool,
    /// What is told at its end.
    end: Option<String>,
    /// The way that is not used to tell of it.
    pub not_by: Option<super::Channel>,
}

/// Takes in what is so now; gives what is to be told.
pub(super) fn note(
    alarms: &mut Alarms,
    verdict: &Verdict,
    now: DateTime<Utc>,
) -> Vec<(Notice, Option<super::Channel>)> {
    let mut told = Vec::new();
    for condition in &verdict.present {
        if alarms.len() >= ALARMS_MAX && !alarms.contains_key(&condition.key) {
            continue;
        }
        let alarm = alarms.entry(condition.key.clone()).or_insert_with(|| Alarm::new(condition, now));
        told.extend(alarm.seen_again(condition, now).map(|notice| (notice, alarm.not_by.clone())));
    }
    for (key, alarm) in alarms.iter_mut() {
        let present = verdict.present.iter().any(|condition| condition.key == *key);
        if present {
            continue;
        }
        if !verdict.knows(key) {
            alarm.over |= now - alarm.notice.at > UNSEEN_MAX;
            continue;
        }
        let silent = verdict.is_silent(key);
        told.extend(alarm.not_seen(silent, now).map(|notice| (notice, alarm.not_by.clone())));
    }
    alarms.retain(|_, alarm| !alarm.is_forgotten(now));
    once_up(&mut told);
    told
}

/// A worker that is up again starts again: that is one thing to tell.
fn once_up(told: &mut Vec<(Notice, Option<super::Channel>)>) {
    let worker = |notice: &Notice, class: AlarmClass| {
        let ends = notice.phase == NoticePhase::Ends && notice.class == class;
        ends.then(|| notice.key.split_once('/').map(|(_, name)| name.to_owned())).flatten()
    };
    let up: BTreeSet<String> = told.iter().filter_map(|(notice, _)| worker(notice, AlarmClass::WorkerDown)).collect();
    told.retain(|(notice, _)| worker(notice, AlarmClass::LaunchFailing).is_none_or(|name| !up.contains(&name)));
}

impl Alarm {
    fn new(condition: &Condition, now: DateTime<Utc>) -> Self {
        Self {
            notice: notice(condition, NoticePhase::Begins, now),
            seen: now,
            told: None,
            reminded: 0,
            away: None,
            over: false,
            begun: vec![now],
            flaps: false,
            end: condition.over.clone(),
            not_by: condition.not_by.clone(),
        }
    }

    fn seen_again(&mut self, condition: &Condition, now: DateTime<Utc>) -> Option<Notice> {
        let since = if self.over { condition.since } else { condition.since.min(self.notice.since) };
        if self.over {
            self.begun.retain(|at| now - *at < FLAP_WINDOW);
            self.begun.push(now);
            (self.over, self.seen, self.told, self.reminded) = (false, now, None, 0);
        }
        self.away = None;
        (self.end, self.not_by) = (condition.over.clone(), condition.not_by.clone());
        self.notice = Notice { since, ..notice(condition, NoticePhase::Begins, now) };
        if self.flaps {
            return None;
        }
        let Some(told) = self.told else {
            if now - self.seen < condition.patience {
                return None;
            }
            self.told = Some(now);
            if self.begun.len() > FLAPS_MAX {
                self.flaps = true;
                self.notice.phase = NoticePhase::Flaps;
                let times = self.begun.len();
                self.notice.text.push(format!(
                    "It came and went {times} times within a day: nothing more is told of it until it has been away \
                     for {}.",
                    span(FLAP_CALM)
                ));
            }
            return Some(self.notice.clone());
        };
        let pause = REMIND * i32::try_from(2_u32.saturating_pow(self.reminded)).unwrap_or(i32::MAX);
        if self.reminded >= REMINDERS_MAX || !reminds(condition.class) || now - told < pause {
            return None;
        }
        (self.told, self.reminded) = (Some(now), self.reminded + 1);
        Some(Notice {
            phase: NoticePhase::GoesOn,
            title: format!("still: {}", self.notice.title),
            ..self.notice.clone()
        })
    }

    fn not_seen(&mut self, silent: bool, now: DateTime<Utc>) -> Option<Notice> {
        let away = *self.away.get_or_insert(now);
        if self.over || now - away < CALM {
            return None;
        }
        self.over = true;
        let title = self.end.clone().filter(|_| !silent && !self.flaps && self.told.is_some())?;
        let lasted = span(away - self.notice.since);
        Some(Notice {
            phase: NoticePhase::Ends,
            title: format!("{title}, after {lasted}"),
            at: now,
            urgent: false,
            text: vec![format!("It was so since {}.", self.notice.since.format("%Y-%m-%d %H:%M:%SZ"))],
            todo: Vec::new(),
            ..self.notice.clone()
        })
    }

    /// Whether nothing of it matters any more: that it comes and goes is remembered for a while.
    fn is_forgotten(&mut self, now: DateTime<Utc>) -> bool {
        if !self.over {
            return false;
        }
        let Some(away) = self.away else { return true };
        let recent = self.begun.iter().any(|at| now - *at < FLAP_WINDOW);
        now - away >= if self.flaps { FLAP_CALM } else { CALM } && (!recent || self.flaps)
    }
}

/// What is told again while it lasts: what costs, and what is broken. What is only old is in the weekly summary.
fn reminds(class: AlarmClass) -> bool {
    matches!(
        class,
        AlarmClass::WorkerDown
            | AlarmClass::LaunchFailing
            | AlarmClass::ZombieFound
            | AlarmClass::PermissionLost
            | AlarmClass::DeliveryFailed
    )
}

fn notice(condition: &Condition, phase: NoticePhase, now: DateTime<Utc>) -> Notice {
    Notice {
        key: condition.key.clone(),
        class: condition.class,
        phase,
        owner: condition.owner.as_ref().map(ToString::to_string),
        title: condition.title.clone(),
        since: condition.since,
        at: now,
        urgent: condition.urgent,
        text: condition.text.clone(),
        cost: condition.cost.clone(),
        todo: condition.todo.clone(),
    }
}
