//! `latent explain`: one paragraph of what holds, since when, until when, and what would change it.

use std::io::Write;

use chrono::{DateTime, Utc};

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::{plain, span};
use crate::control::WorkerView;
use crate::link::StatusAnswer;
use crate::model::WorkerName;

pub(super) async fn run(args: &Args, name: &WorkerName, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    // Asked first, so that an unknown name is refused with the names that are known.
    let worker: WorkerView = client.get(&format!("/v1/workers/{name}")).await?;
    let status: StatusAnswer = client.get("/v1/status").await?;
    writeln!(out, "{}", plain(&paragraph(status.now, &worker)))?;
    Ok(Exit::Done)
}

fn at(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What holds for the worker, in sentences.
fn paragraph(now: DateTime<Utc>, worker: &WorkerView) -> String {
    let who = format!("Worker {} (owner {}, image {}, {})", worker.worker, worker.owner, worker.image, worker.region);
    let mut sentences = vec![match worker.since {
        Some(since) => format!("{who} is {} since {} ({} ago).", worker.state, at(since), span(now - since)),
        None => format!("{who} is {}: nothing was ever launched for it.", worker.state),
    }];
    if let Some(instance) = &worker.instance {
        let kind = worker.instance_type.as_deref().unwrap_or("unknown type");
        let market = worker.market.as_deref().map(|market| format!(", {market}")).unwrap_or_default();
        let seen = worker.instance_state.as_deref().unwrap_or("not listed yet");
        sentences.push(format!("Its instance is {instance} ({kind}{market}), which EC2 shows as {seen}."));
    }
    if let Some(build) = &worker.build {
        sentences.push(format!("It runs build {build}."));
    }
    if let Some(held) = &worker.held {
        sentences.push(format!("Nothing is done now: {held}."));
    }
    if let Some(failure) = &worker.failure {
        sentences.push(format!(
            "The last request failed in the {} phase: {}: {}; {}.",
            failure.phase, failure.code, failure.message, failure.cure
        ));
    }
    if !worker.departing.is_empty() {
        sentences.push(format!("On their way out: {}.", worker.departing.join(", ")));
    }
    if let Some(deadline) = worker.deadline {
        sentences.push(format!("Whatever happens, the instance is ended at {} (max_lifetime).", at(deadline)));
    }
    sentences.push(what_would_change_it(worker));
    sentences.join(" ")
}

fn what_would_change_it(worker: &WorkerView) -> String {
    let idle = worker.idle_timeout_s.map_or_else(
        || "never, by policy".to_owned(),
        |seconds| format!("after {} without a build", span(chrono::TimeDelta::seconds(seconds))),
    );
    match worker.state.as_str() {
        "gone" => "A build that the master assigns to it, or `latent start`, launches an instance.".to_owned(),
        "requested" | "launching" => format!(
            "The request fails when there is no instance within {}.",
            span(chrono::TimeDelta::seconds(worker.launch_deadline_s))
        ),
        "registering" => format!(
            "It becomes ready when the worker connects, and is taken away when that takes more than {}.",
            span(chrono::TimeDelta::seconds(worker.connect_deadline_s))
        ),
        "ready" | "busy" => format!("It is taken away {idle}, by `latent stop`, or kept by `latent hold`."),
        "draining" => "It goes as soon as the master lets it, which it does between builds.".to_owned(),
        "stopped" => "The next request starts it again.".to_owned(),
        _ => "It is gone when EC2 shows it as terminated.".to_owned(),
    }
}
