//! The summary of a week.

use super::book::Alarms;
use super::fact::Facts;
use super::notice::{Notice, NoticePhase};
use super::text::clean;
use crate::model::{AlarmClass, OwnerName, counted};

/// The most lines of each kind.
const LINES_MAX: usize = 40;

/// What an owner is told every week: the workers, what is wrong, and how old the AMIs are.
pub(super) fn summary(owner: &OwnerName, facts: &Facts, alarms: &Alarms) -> Notice {
    let now = facts.now;
    let workers: Vec<_> = facts.workers.iter().filter(|worker| worker.owner == *owner).collect();
    let open: Vec<_> =
        alarms.values().filter(|alarm| !alarm.over && alarm.notice.owner.as_deref() == Some(owner.as_str())).collect();
    let running = workers.iter().filter(|worker| worker.instance.is_some()).count();
    let mut text = vec![format!("{}, {running} with an instance now.", counted(workers.len(), "worker"))];
    let line = |worker: &&super::WorkerFact| {
        let held = worker.held.as_ref().map(|held| format!(": {}", clean(held, 120))).unwrap_or_default();
        format!("{} is {}{held}", worker.worker, worker.state)
    };
    text.extend(few(workers.iter().map(line).collect()));
    if open.is_empty() {
        text.push("Nothing waits for you.".to_owned());
    } else {
        text.push(format!("{} open:", counted(open.len(), "thing")));
        text.extend(few(open.iter().map(|alarm| clean(&alarm.notice.title, 200)).collect()));
    }
    let images: Vec<String> = facts
        .images
        .iter()
        .filter(|image| image.owner == *owner)
        .map(|image| {
            let age = image.created.map_or_else(
                || "of an age that cannot be read".to_owned(),
                |at| format!("{} days old, due at {}", (now - at).num_days(), image.max_age.num_days()),
            );
            format!("image {}: {} is {age}", image.image, image.ami)
        })
        .collect();
    text.extend(few(images));
    let wrong =
        if open.is_empty() { "all is well".to_owned() } else { format!("{} open", counted(open.len(), "thing")) };
    let mut todo: Vec<String> = open.iter().filter_map(|alarm| alarm.notice.todo.first().cloned()).take(5).collect();
    todo.push(format!("latent audit --owner {owner}"));
    Notice {
        key: format!("{}/{owner}/{}", AlarmClass::Weekly, now.format("%Y-%m-%d")),
        class: AlarmClass::Weekly,
        phase: NoticePhase::Happened,
        owner: Some(owner.to_string()),
        title: format!("the week of owner {owner}: {wrong}"),
        since: now,
        at: now,
        urgent: false,
        text,
        cost: None,
        todo,
    }
}

fn few(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.into_iter().map(|line| format!("- {line}")).collect()
}
