//! Where a rebake in this process works: by the configuration, or by what the command line and the AMI's own tags say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{GroundOptions, usage};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::cloud::Bakery as _;
use crate::ec2::Ec2;
use crate::model::{AmiId, Cell, ImageName, Region, SourceAmi, tag_keys};
use crate::policy::{Image, Intent, Sources};

/// What holds for the image.
pub(super) struct Ground {
    pub(super) intent: Intent,
    pub(super) image: ImageName,
    pub(super) sources: Sources,
    pub(super) journals: PathBuf,
    /// A manifest that is to be written once there is an AMI for it: its path and text.
    pub(super) writes: Option<(PathBuf, String)>,
}

impl Ground {
    /// The image's manifest.
    pub(super) fn manifest(&self) -> Result<&Image, CommandError> {
        let found = self.intent.images.get(&self.image);
        found.ok_or_else(|| usage(format!("there is no image {} in the configuration", self.image)))
    }

    /// The way to the account.
    pub(super) fn cloud(&self) -> Result<Ec2, CommandError> {
        let image = self.manifest()?;
        let cell = Cell { owner: image.owner.clone(), region: image.region.clone() };
        Ok(Ec2::new(&cell, &self.intent).rebaking())
    }
}

/// An AMI or an instance's AMI, with what its manifest is called, as far as that is known.
pub(super) struct Asked<'a> {
    pub(super) ami: Option<&'a AmiId>,
    pub(super) image: Option<&'a ImageName>,
    /// Billed as this, where no AMI tells it any more.
    pub(super) platform: Option<&'a str>,
    pub(super) instance_type: Option<&'a str>,
    pub(super) zone: Option<&'a str>,
}

/// By the configuration if it has the image, otherwise by the command line.
pub(super) async fn ground(args: &Args, options: &GroundOptions, asked: &Asked<'_>) -> Result<Ground, CommandError> {
    if args.config.exists() {
        let (sources, intent) = connect::intent(args)?;
        let is_meant = |name: &ImageName, image: &Image| match asked.image {
            Some(asked) => name == asked,
            None => image.ami.named() == asked.ami,
        };
        let found = intent.images.iter().find(|(name, image)| is_meant(name, image)).map(|(name, _)| name.clone());
        if let Some(image) = found {
            let beside = sources.path(&intent.fleet.ledger).with_file_name("rebakes");
            let journals = options.journals.clone().unwrap_or(beside);
            return Ok(Ground { intent, image, sources, journals, writes: None });
        }
    }
    bare(options, asked).await
}

/// The way to an account that no configuration names.
pub(super) fn access(options: &GroundOptions, fleet: &str, region: &Region) -> Ec2 {
    Ec2::bare(region.clone(), options.access.owner(), fleet).rebaking()
}

async fn bare(options: &GroundOptions, asked: &Asked<'_>) -> Result<Ground, CommandError> {
    let Some(region) = &options.region else {
        return Err(usage("no manifest names it: say where it is with --region us-west-2"));
    };
    let Some(ami) = asked.ami else {
        return Err(usage("without a configuration an AMI is to be named: latent rebake ami-… --region us-west-2"));
    };
    let source = access(options, "", region).source(ami).await.map_err(|error| {
        let message = anyhow::anyhow!("cannot see {ami} in {region}: {error}; {}", error.kind.cure());
        CommandError::new(Exit::Refused, message)
    })?;
    let said = Said::of(options, asked, source.as_ref())?;
    let manifest = said.manifest(region, ami);
    let main = said.main();
    let path = options.amis.join(format!("{}.toml", said.image));
    let sources = Sources {
        folder: folder_of(&options.amis),
        main: ("command line".to_owned(), main),
        images: vec![(said.image.to_string(), path.display().to_string(), manifest.clone())],
        ..Sources::default()
    };
    let mut intent = Intent::parse(&sources).map_err(|problems| CommandError::new(Exit::Usage, problems))?;
    // A role's external id is no text of a configuration that is never written.
    for known in intent.owners.values_mut() {
        *known = options.access.owner();
    }
    let journals = options.journals.clone().unwrap_or_else(|| folder_of(&options.amis).join("rebakes"));
    let writes = (!path.exists()).then_some((path, manifest));
    Ok(Ground { intent, image: said.image, sources, journals, writes })
}

fn folder_of(amis: &Path) -> PathBuf {
    amis.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// What the command line and the AMI's tags say together.
struct Said {
    image: ImageName,
    owner: String,
    fleet: String,
    controller: String,
    platform: &'static str,
    architecture: &'static str,
    instance_type: String,
    zone: Option<String>,
    account: String,
}

impl Said {
    fn of(options: &GroundOptions, asked: &Asked<'_>, source: Option<&SourceAmi>) -> Result<Self, CommandError> {
        let tag = |key: &str| source.and_then(|source| source.tags.get(key)).map(ToOwned::to_owned);
        let missing = |what: &str, flag: &str| {
            usage(format!("neither the command line nor the AMI's tags say {what}: add {flag}"))
        };
        let Some(image) = asked.image.cloned().or_else(|| tag(tag_keys::IMAGE)?.parse().ok()) else {
            return Err(missing("the image", "--image NAME"));
        };
        let owner = options.owner.as_ref().map(ToString::to_string).or_else(|| tag(tag_keys::OWNER));
        let fleet = options.fleet.clone().or_else(|| tag(tag_keys::FLEET));
        let controller = options.controller.clone().or_else(|| tag(tag_keys::CONTROLLER));
        let instance_type = options.instance_type.clone().or_else(|| asked.instance_type.map(ToOwned::to_owned));
        let details = source.map(|source| source.platform_details.as_str()).or(asked.platform).unwrap_or_default();
        let own = source.filter(|source| source.ours).map(|source| source.account.clone());
        let account = options.access.account.as_ref().map(ToString::to_string).or(own);
        let arm = source.is_some_and(|source| source.architecture == "arm64");
        Ok(Self {
            image,
            owner: owner.ok_or_else(|| missing("whose it is", "--owner NAME"))?,
            fleet: fleet.ok_or_else(|| missing("the fleet", "--fleet NAME"))?,
            controller: controller.ok_or_else(|| missing("the controller", "--controller ID"))?,
            platform: if details.contains("Windows") { "windows" } else { "linux" },
            architecture: if arm { "arm64" } else { "x86_64" },
            instance_type: instance_type.ok_or_else(|| missing("the instance type", "--instance-type m7i.large"))?,
            zone: asked.zone.map(ToOwned::to_owned),
            account: account.ok_or_else(|| missing("the account", "--account 123456789012"))?,
        })
    }

    /// The manifest as it will stand in `amis/`.
    fn manifest(&self, region: &Region, ami: &AmiId) -> String {
        let mut text = format!(
            "# Written by latent. Every key is explained by `latent config default`.\nowner = {:?}\nregion = \"{region}\"\n\
             ami = \"{ami}\"\nplatform = {:?}\narchitecture = {:?}\ninstance_types = [{:?}]\n",
            self.owner, self.platform, self.architecture, self.instance_type
        );
        if let Some(zone) = &self.zone {
            let _ = writeln!(text, "zones = [{zone:?}]");
        }
        text + "identity = \"baked\"\n"
    }

    fn main(&self) -> String {
        format!(
            "[fleet]\nname = {:?}\ncontroller = {:?}\n[owner.{:?}]\naccount = {:?}\ncredentials = {{ environment = true }}\n",
            self.fleet, self.controller, self.owner, self.account
        )
    }
}
