//! `latent check`.

use std::io::Write;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::iam;

pub(super) fn run(args: &Args, secrets: bool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, mut intent) = connect::intent(args)?;
    intent.read_certificates(&sources).map_err(|problems| CommandError::new(Exit::Configuration, problems))?;
    if secrets {
        let rendered = intent.render_user_data(&sources, |secret| sources.resolve(secret));
        rendered.map_err(|problems| CommandError::new(Exit::Configuration, problems))?;
    }
    writeln!(
        out,
        "{}: ok: {} owners, {} images, {} workers",
        args.config.display(),
        intent.owners.len(),
        intent.images.len(),
        intent.workers.len()
    )?;
    for note in iam::notes(&intent) {
        writeln!(out, "{}: {note}", args.config.display())?;
    }
    Ok(Exit::Done)
}
