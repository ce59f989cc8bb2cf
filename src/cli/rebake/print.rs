//! What `latent rebake` says.

use std::io::Write;

use crate::cli::connect::pretty;
use crate::cli::exit::CommandError;
use crate::cli::output::{plain, table};
use crate::control::{RebakeAsk, RebakeView};
use crate::link::{RebakeAnswer, RebakeOrdered};
use crate::model::Outcome;

/// Text from elsewhere, such as a console's, of several lines: those after the first are set off.
pub(super) fn paragraph(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n  | ")
}

/// All rebakes, each in a few lines.
pub(super) fn list(rebakes: &[RebakeView], json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    if json {
        writeln!(out, "{}", pretty(&rebakes)?)?;
        return Ok(());
    }
    if rebakes.is_empty() {
        writeln!(out, "nothing was rebaked yet")?;
        return Ok(());
    }
    for rebake in rebakes {
        // Ids stay whole, so that they can be found and copied: a table of 80 columns would break them.
        let to = rebake.ami.as_ref().map_or_else(|| "no AMI yet".to_owned(), ToString::to_string);
        let how = rebake.ended.clone().or_else(|| rebake.undoing.clone()).or_else(|| rebake.waits.clone());
        let (at, how) = (rebake.ordered_at.format("%Y-%m-%d %H:%MZ"), how.unwrap_or_else(|| "at work".to_owned()));
        writeln!(out, "{}  {at}  {} generation {}", rebake.id, rebake.image, rebake.generation)?;
        writeln!(out, "  from {} to {to}", rebake.source)?;
        // What a console showed is told at the rebake's end; here its first line is enough.
        writeln!(out, "  {}: {}", rebake.step, plain(how.lines().next().unwrap_or_default()))?;
    }
    Ok(())
}

/// What a rebake would do.
pub(super) fn dry_run(ordered: &RebakeOrdered, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    if json {
        writeln!(out, "{}", serde_json::to_string(ordered)?)?;
        return Ok(());
    }
    let rebake = &ordered.rebake;
    writeln!(out, "{} from {}: generation {}", rebake.image, rebake.source, rebake.generation)?;
    if let Some(first) = ordered.launches.first() {
        let others = ordered.launches.len() - 1;
        writeln!(out, "builder: {first}{}", if others > 0 { format!(", or {others} others") } else { String::new() })?;
    }
    let mut rows = table(&["STEP", "WHAT IT DOES"]);
    for step in &ordered.steps {
        rows.add_row(vec![step.step.to_string(), step.what.clone()]);
    }
    writeln!(out, "\n{}\n", rows.trim_fmt())?;
    for permission in &ordered.permissions {
        writeln!(out, "{}", plain(permission))?;
    }
    writeln!(out, "time: at most {} for the builder; a few minutes to hours for the AMI", ordered.builder_limit)?;
    writeln!(out, "price: {}", ordered.price)?;
    writeln!(out, "nothing was done")?;
    Ok(())
}

/// It goes on without anybody looking on.
pub(super) fn begun(ordered: &RebakeOrdered, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    if json {
        writeln!(out, "{}", serde_json::to_string(&ordered.rebake)?)?;
        return Ok(());
    }
    let id = &ordered.rebake.id;
    writeln!(out, "{id} has begun; follow it with latent rebake --resume {id}")?;
    Ok(())
}

/// An AMI that is young enough.
pub(super) fn not_due(ask: &RebakeAsk, why: &str, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    if json {
        writeln!(out, "{}", serde_json::json!({ "image": ask.image, "ami": ask.ami, "not_due": why }))?;
    } else {
        writeln!(out, "{}", plain(why))?;
    }
    Ok(())
}

/// The last word: how it stands, and what to do.
pub(super) fn end(answer: &RebakeAnswer, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let rebake = &answer.rebake;
    if json {
        writeln!(out, "{}", serde_json::to_string(rebake)?)?;
        return Ok(());
    }
    let id = &rebake.id;
    match &rebake.outcome {
        None => {
            let ami = rebake.ami.as_ref().map(ToString::to_string).unwrap_or_default();
            writeln!(
                out,
                "{} uses {ami} from its next launch on; {} is kept as the previous one",
                rebake.image, rebake.source
            )?;
            writeln!(
                out,
                "its starts are compared with those before; latent rebake --resume {id} --wait follows that"
            )?;
        }
        Some(Outcome::HandedOver { ami }) => {
            writeln!(
                out,
                "{ami} is made, and tagged for its controller, which proves it and writes it into the manifest"
            )?;
        }
        Some(outcome) => writeln!(out, "{}", paragraph(&outcome.to_string()))?,
    }
    let packages = answer.packages;
    if packages > 0 {
        writeln!(out, "{packages} packages changed; latent rebake --resume {id} --json lists them")?;
    }
    Ok(())
}
