//! The side entrance for SSM agents: what runs in an instance takes its commands here, and answers them.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{Result, place_of, read, wrong};
use super::door::{Model, Shared};
use crate::model::{AgentPlatform, CommandId, InstanceId};
use crate::sim::commands::Answered;
use crate::sim::world::SiteId;

/// An agent that is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ping {
    version: String,
    platform: String,
}

/// The end of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    command: CommandId,
    exit_code: i32,
    output: String,
    error_output: String,
}

/// The agent says that it is there: after a boot, and now and then.
pub(super) fn ping(shared: &Shared, id: &str, body: &[u8]) -> Result<Value> {
    let asked: Ping = read(body)?;
    let platform = AgentPlatform::read(&asked.platform);
    if matches!(platform, AgentPlatform::Unknown(_)) {
        return Err(wrong(format!("platform {:?} must be Linux, Windows or MacOS", asked.platform)));
    }
    let mut model = shared.model();
    let (id, place) = found(&model, id)?;
    let now = shared.now(&model);
    let heard = model.world.touch(&place, now, |site| site.agent_pings(&id, &asked.version, &platform, now));
    Ok(json!({ "heard": heard }))
}

/// The agent is given its next run, if there is one.
pub(super) fn take(shared: &Shared, id: &str) -> Result<Value> {
    let mut model = shared.model();
    let (id, place) = found(&model, id)?;
    let now = shared.now(&model);
    let taken = model.world.touch(&place, now, |site| site.agent_takes(&id, now));
    let command = taken.map(|taken| {
        json!({
            "id": taken.command,
            "text": taken.text,
            "windows": taken.windows,
            "timeout_s": taken.execution_s,
            "run": taken.run,
        })
    });
    Ok(json!({ "command": command }))
}

/// A run has ended.
pub(super) fn answer(shared: &Shared, id: &str, body: &[u8]) -> Result<Value> {
    let asked: Answer = read(body)?;
    let mut model = shared.model();
    let (id, place) = found(&model, id)?;
    let now = shared.now(&model);
    let ended = (asked.exit_code, asked.output.as_str(), asked.error_output.as_str());
    let answered = model.world.touch(&place, now, |site| site.agent_answers(&id, &asked.command, ended, now));
    let word = match answered {
        Answered::Ignored => "ignored",
        Answered::Over => "over",
        Answered::Reboots => "reboots",
    };
    Ok(json!({ "answer": word }))
}

fn found(model: &Model, id: &str) -> Result<(InstanceId, SiteId)> {
    let id: InstanceId = id.parse().map_err(wrong)?;
    let place = place_of(model, &id);
    let place = place.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no instance {id}")))?;
    Ok((id, place))
}
