//! The manifests in `amis/`, as a promotion and a roll-back write them.

use std::path::PathBuf;

#[cfg(feature = "ec2")]
use crate::control::Manifests;
use crate::ledger::write_promoted;
use crate::model::{AmiId, ImageName};
#[cfg(feature = "ec2")]
use crate::policy::promoted;
use crate::policy::{Intent, Sources, rolled_back};

/// The files of a configuration, and how they are taken in.
#[cfg(feature = "ec2")]
pub(super) struct ManifestFiles<F> {
    sources: Sources,
    reload: F,
}

/// The file of a manifest.
fn file(sources: &Sources, image: &ImageName) -> Result<PathBuf, String> {
    let known = sources.images.iter().any(|(stem, _, _)| stem == image.as_str());
    if known {
        return Ok(sources.path(&format!("amis/{image}.toml")));
    }
    Err(format!(
        "image {image} is declared by a master and has no file in amis/ that could be rewritten; write it as \
         amis/{image}.toml (latent config import makes it of a master.cfg)"
    ))
}

/// Makes a manifest name its previous AMI again. Gives the AMI before and after.
pub(super) fn roll_back_file(sources: &Sources, intent: &Intent, image: &ImageName) -> Result<(AmiId, AmiId), String> {
    let known = intent.images.get(image).ok_or_else(|| format!("there is no amis/{image}.toml"))?;
    let named = known.ami.named().cloned().zip(known.previous.clone());
    let (from, to) = named.ok_or_else(|| {
        format!("amis/{image}.toml has no previous AMI: nothing was promoted, or it was rolled back already")
    })?;
    write_back(sources, image, &from, &to, known.generation)?;
    Ok((from, to))
}

fn write_back(
    sources: &Sources,
    image: &ImageName,
    from: &AmiId,
    to: &AmiId,
    generation: Option<u32>,
) -> Result<(), String> {
    let before = generation.and_then(|generation| generation.checked_sub(1)).filter(|generation| *generation > 0);
    let back = |text: &str| rolled_back(text, from, to, before);
    write_promoted(&file(sources, image)?, back).map(drop).map_err(|error| error.to_string())
}

#[cfg(feature = "ec2")]
impl<F: Fn() -> Result<Intent, String> + Send + Sync> ManifestFiles<F> {
    /// The files of these sources; `reload` takes them in and gives what holds then.
    pub(super) fn new(sources: Sources, reload: F) -> Self {
        Self { sources, reload }
    }

    fn take_in(&self, image: &ImageName, to: &AmiId) -> Result<(), String> {
        let intent = (self.reload)()?;
        let named = intent.images.get(image).and_then(|image| image.ami.named());
        if named == Some(to) { Ok(()) } else { Err(format!("amis/{image}.toml was written, and does not name {to}")) }
    }
}

#[cfg(feature = "ec2")]
impl<F: Fn() -> Result<Intent, String> + Send + Sync> Manifests for ManifestFiles<F> {
    fn writable(&self, image: &ImageName) -> Result<(), String> {
        let path = file(&self.sources, image)?;
        let open = std::fs::OpenOptions::new().write(true).open(&path);
        open.map(drop).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    fn promote(&self, image: &ImageName, from: &AmiId, to: &AmiId, generation: u32) -> Result<(), String> {
        let change = |text: &str| promoted(text, from, to, generation);
        write_promoted(&file(&self.sources, image)?, change).map_err(|error| error.to_string())?;
        self.take_in(image, to)
    }

    fn roll_back(&self, image: &ImageName, from: &AmiId, to: &AmiId) -> Result<(), String> {
        let intent = (self.reload)()?;
        let generation = intent.images.get(image).and_then(|image| image.generation);
        write_back(&self.sources, image, from, to, generation)?;
        self.take_in(image, to)
    }

    fn script(&self, name: &str) -> Result<String, String> {
        script(&self.sources, name)
    }
}

/// The text of an owner's script, which lies in `amis/`.
#[cfg(feature = "ec2")]
pub(super) fn script(sources: &Sources, name: &str) -> Result<String, String> {
    let path = sources.path(&format!("amis/{name}"));
    std::fs::read_to_string(&path).map_err(|error| format!("rebake.script {}: {error}", path.display()))
}
