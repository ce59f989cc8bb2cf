//! `latent config import`: the files that say what an old `master.cfg` says.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Stdio;

use clap::Parser;
use serde::Deserialize;
use tokio::process::Command;

use super::exit::{CommandError, Exit};
use crate::model::WorkerName;
use crate::policy::{Declaration, Origin, Written, written};

/// The module of the plugin that reads a `master.cfg`.
const MODULE: &str = "buildbot_latent.importer";

/// Options of `latent config import`.
#[derive(Debug, Parser)]
pub(super) struct ImportOptions {
    /// The master's configuration
    #[arg(value_name = "MASTER_CFG")]
    master_cfg: std::path::PathBuf,
    /// The Python that the master runs with: its environment has Buildbot and the plugin
    #[arg(long, default_value = "python3")]
    python: String,
    /// Write the files into this folder, never over one that is there; without it they are printed
    #[arg(long, value_name = "DIR")]
    out: Option<std::path::PathBuf>,
}

/// What the module prints.
#[derive(Deserialize)]
struct Found {
    workers: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    notes: Vec<String>,
}

pub(super) async fn run(options: &ImportOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let found = found(options).await?;
    let mut workers = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in &found.workers {
        let file = format!("{}, worker {name}", options.master_cfg.display());
        let at = Origin { file, line: 0, column: 0 };
        match (name.parse::<WorkerName>(), Declaration::read(&at, value)) {
            (Ok(name), Ok(declared)) => drop(workers.insert(name, declared)),
            (Err(error), _) => problems.push(format!("{at}: {error}; choose another name")),
            (_, Err(wrong)) => problems.push(wrong.to_string()),
        }
    }
    if !problems.is_empty() {
        return Err(CommandError::new(Exit::Configuration, anyhow::anyhow!(problems.join("\n"))));
    }
    let refused =
        |why| CommandError::new(Exit::Configuration, anyhow::anyhow!("{}: {why}", options.master_cfg.display()));
    let files = written(&workers).map_err(refused)?;
    for note in &found.notes {
        writeln!(out, "# note: {}", note.replace('\n', " "))?;
    }
    if workers.is_empty() {
        writeln!(out, "# {} has no worker to import", options.master_cfg.display())?;
        return Ok(Exit::Done);
    }
    match &options.out {
        None => print(&files, out)?,
        Some(folder) => write(&files, folder, out)?,
    }
    Ok(Exit::Done)
}

async fn found(options: &ImportOptions) -> Result<Found, CommandError> {
    let python = &options.python;
    let usage = |message: String| CommandError::new(Exit::Usage, anyhow::anyhow!(message));
    let cure = "name the Python of the master's environment with --python";
    let mut command = Command::new(python);
    command.args(["-m", MODULE]).arg(&options.master_cfg).stdin(Stdio::null()).kill_on_drop(true);
    let ended = command.output().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => usage(format!("there is no program {python}; {cure}")),
        _ => usage(format!("{python} cannot be run: {error}; {cure}")),
    })?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        let lacks =
            |module: &str| ["'", ""].iter().any(|quote| said.contains(&format!("No module named {quote}{module}")));
        let missing = ["buildbot_latent", "buildbot"].into_iter().find(|module| lacks(module));
        if let Some(module) = missing {
            let install = "install buildbot-latent there (pip install ./python)";
            return Err(usage(format!("{python} has no module {module}: {install}, or {cure}")));
        }
        let file = options.master_cfg.display();
        let message = format!("{file} cannot be imported ({}): {}", ended.status, said.trim());
        return Err(CommandError::new(Exit::Configuration, anyhow::anyhow!(message)));
    }
    // What it printed may hold a key, so nothing of it is told.
    serde_json::from_slice(&ended.stdout).map_err(|error| {
        let message = format!(
            "{python} -m {MODULE} printed what this version does not know (line {}, column {}); install the \
             buildbot-latent of this version there",
            error.line(),
            error.column()
        );
        CommandError::new(Exit::Unexpected, anyhow::anyhow!(message))
    })
}

fn print(files: &[Written], out: &mut dyn Write) -> Result<(), CommandError> {
    for file in files {
        writeln!(out, "# ---- {}", file.name)?;
        if file.private {
            writeln!(out, "# The user data may hold a secret: --out DIR writes this file, with mode 0600.")?;
        } else {
            write!(out, "{}", file.text.reveal())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write(files: &[Written], folder: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
    if let Some(there) = files.iter().map(|file| folder.join(&file.name)).find(|path| path.exists()) {
        let message = format!("{} is there: nothing was written; name another folder with --out", there.display());
        return Err(CommandError::new(Exit::Refused, anyhow::anyhow!(message)));
    }
    for file in files {
        let path = folder.join(&file.name);
        let written = path.parent().map_or(Ok(()), |above| DirBuilder::new().recursive(true).mode(0o755).create(above));
        let written = written.and_then(|()| {
            let mode = if file.private { 0o600 } else { 0o644 };
            let mut open = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            open.write_all(file.text.reveal().as_bytes())
        });
        written.map_err(|error| {
            CommandError::new(Exit::Unexpected, anyhow::anyhow!("{} cannot be written: {error}", path.display()))
        })?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
