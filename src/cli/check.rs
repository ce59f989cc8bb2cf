//! `latent check`.

use std::io::Write;
use std::path::Path;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::iam;
use crate::plan::budget;
use crate::policy::{Credentials, Intent, read_key_file};

pub(super) fn run(args: &Args, secrets: bool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, mut intent) = connect::intent(args)?;
    intent.read_certificates(&sources).map_err(|problems| CommandError::new(Exit::Configuration, problems))?;
    if secrets {
        let rendered = intent.render_user_data(&sources, |secret| sources.resolve(secret));
        rendered.map_err(|problems| CommandError::new(Exit::Configuration, problems))?;
        for (name, owner) in &intent.owners {
            if let Credentials::KeyFile(file) = &owner.credentials {
                let wrong = |why| {
                    let place = format!("{}: owner.{name}.credentials.key_file", args.config.display());
                    CommandError::new(
                        Exit::Configuration,
                        anyhow::anyhow!("{place}: {why}; correct the file or the path"),
                    )
                };
                read_key_file(Path::new(file)).map_err(wrong)?;
            }
        }
    }
    writeln!(
        out,
        "{}: ok: {} owners, {} images, {} workers",
        args.config.display(),
        intent.owners.len(),
        intent.images.len(),
        intent.workers.len()
    )?;
    for note in iam::notes(&intent).into_iter().chain(kept_disks(&intent)).chain(unpriced(&intent)) {
        writeln!(out, "{}: {note}", args.config.display())?;
    }
    Ok(Exit::Done)
}

/// What a hard budget will not have launched.
fn unpriced(intent: &Intent) -> impl Iterator<Item = String> {
    budget::unpriced(intent).into_iter().map(|(owner, image, kind)| budget::unpriced_note(&owner, &image, &kind))
}

/// The disks that stay, and cost, after their instance.
fn kept_disks(intent: &Intent) -> impl Iterator<Item = String> {
    intent.images.iter().flat_map(|(name, image)| {
        let stays = image.block_devices.iter().filter(|device| !device.delete_on_termination);
        stays.map(move |device| {
            format!(
                "amis/{name}.toml: block_devices: {} outlives its instance (delete_on_termination = false): each launch \
                 leaves a volume that is paid for until you delete it; latent sweep lists it as kept",
                device.device
            )
        })
    })
}
