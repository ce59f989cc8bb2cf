//! Gathers what a check-up judges: reads and dry runs of one cell, each within a limit of time.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::Clock;
use crate::cloud::Checkup;
use crate::model::{AmiId, AmiQuery, Cell, Greeting, Seen, Tried, Unseen};
use crate::plan::doctor::{CellFacts, Questions, SWEPT, trials};
use crate::policy::Intent;

/// The longest that one call may take; the first one may have to assume a role before.
const CALL: Duration = Duration::from_secs(15);
/// How long a cell is asked. What was not tried by then stays unknown.
const CELL: TimeDelta = TimeDelta::seconds(60);

/// Looks at one cell. Whatever is slow or refused is a fact like any other; it never fails.
pub async fn check_up<C: Checkup>(
    clock: &Clock,
    cloud: &C,
    intent: &Intent,
    cell: &Cell,
    asked: &Questions,
) -> CellFacts {
    let over = clock.now() + CELL;
    let greeting = clock.within(CALL, Box::pin(cloud.greet())).await;
    let greeting = greeting.unwrap_or_else(|| Greeting { identity: Err(late()), date: None });
    let skew = greeting.date.map(|date| date - clock.now());
    let mut facts = CellFacts::only(greeting, skew);
    // Another one's account is none of our business.
    if facts.open(intent, cell).is_err() {
        return facts;
    }
    read(clock, cloud, intent, asked, &mut facts).await;
    if facts.dry_runs == Ok(true) {
        for trial in trials(clock.now(), intent, asked, &facts) {
            if let Some((_, Tried::Otherwise(why))) = facts.tried.last()
                && (why.is_ignored() || why.is_skipped())
            {
                // What is no dry run there must not be sent there.
                facts.tried.push((trial, Tried::Otherwise(Unseen::skipped("dry runs are not safe here"))));
                continue;
            }
            // One after the other: launches have a small bucket, which belongs to the builds that wait.
            let tried =
                if clock.now() < over { clock.within(CALL, Box::pin(cloud.try_out(&trial))).await } else { None };
            facts.tried.push((trial, tried.unwrap_or_else(|| Tried::Otherwise(late()))));
        }
    }
    facts
}

fn late() -> Unseen {
    Unseen::late(TimeDelta::from_std(CALL).unwrap_or(CELL))
}

/// Boxed, as every call here: those of an SDK are large, and eight of them at once fill a thread's stack.
async fn limited<T>(clock: &Clock, call: impl Future<Output = Seen<T>>) -> Seen<T> {
    clock.within(CALL, Box::pin(call)).await.unwrap_or_else(|| Err(late()))
}

/// All reads at once; then the instance types, which depend on what runs.
async fn read<C: Checkup>(clock: &Clock, cloud: &C, intent: &Intent, asked: &Questions, facts: &mut CellFacts) {
    let listed = async |query: &AmiQuery| {
        let found = limited(clock, cloud.ami_candidates(query)).await;
        (query.clone(), found.map(|found| (clock.now(), found)))
    };
    facts.choices = join_all(asked.choices.iter().map(listed)).await.into_iter().collect();
    let chosen = asked.images.keys().filter_map(|name| facts.ami_of(intent.images.get(name)?));
    let amis: BTreeSet<AmiId> = asked.amis.iter().cloned().chain(chosen).collect();
    let amis = join_all(amis.iter().map(async |id| (id.clone(), limited(clock, cloud.ami(id)).await)));
    let quotas = join_all(asked.quotas.iter().map(async |code| (*code, limited(clock, cloud.quota(code)).await)));
    let ours = join_all(SWEPT.map(async |(kind, _)| (kind, limited(clock, cloud.one_of_ours(kind)).await)));
    let (dry_runs, groups, subnets, key_pairs, instances, imds, amis, quotas, ours) = tokio::join!(
        limited(clock, cloud.honours_dry_runs()),
        limited(clock, cloud.groups()),
        limited(clock, cloud.subnets()),
        limited(clock, cloud.key_pairs()),
        limited(clock, cloud.all_instances()),
        limited(clock, cloud.imds_defaults()),
        amis,
        quotas,
        ours,
    );
    facts.ours = ours.into_iter().collect();
    let running = instances.iter().flatten().map(|instance| instance.instance_type.clone());
    let names: BTreeSet<String> = asked.types.iter().cloned().chain(running).collect();
    facts.types = limited(clock, cloud.instance_types(&names)).await;
    (facts.dry_runs, facts.groups, facts.subnets) = (dry_runs, groups, subnets);
    (facts.key_pairs, facts.instances, facts.imds) = (key_pairs, instances, imds);
    (facts.amis, facts.quotas) = (amis.into_iter().collect(), quotas.into_iter().collect());
}
