//! `latent check`.

use std::io::Write;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::iam;
use crate::policy::Intent;

pub(super) fn run(args: &Args, secrets: bool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, mut intent) = connect::intent(args)?;
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
    for note in iam::notes(&intent).into_iter().chain(kept_disks(&intent)) {
        writeln!(out, "{}: {note}", args.config.display())?;
    }
    Ok(Exit::Done)
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
