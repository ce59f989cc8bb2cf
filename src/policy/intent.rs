//! Everything people want, with every reference followed and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::de::DeTable;

use super::by_cell::ByCell;
use super::certificate::IdentityKey;
use super::document::Document;
use super::fleet::{self, Credentials, Defaults, FleetSettings, Link, Owner, Polling, WorkerSettings};
use super::image::{Identity, Image};
use super::join::{self, JoinKey};
use super::key::{OWNER_KEYS, WORKER_KEYS};
use super::lease_watch::{self, LeaseWatch};
use super::lifecycle::Lifecycle;
use super::load::Sources;
use super::notify::{self, NotifySettings};
use super::page::{self, Page};
use super::price::Prices;
use super::problem::{Origin, Problem, Problems, Shown};
use super::proof;
use super::reader::{Layer, Located, Reader, named, top};
use super::rebake::{self, RebakePolicy};
use super::requirements::{Requirements, requirements};
use super::secret::{Secret, SecretRef};
use super::shown::ShownValues;
use super::sweep::SweepPolicy;
use super::user_data::{self, Member, Names, UserData, Whose};
use crate::model::{Cell, ImageName, MasterId, OwnerName, PolicyName, Region, WorkerName};

/// A worker with its references followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerIntent {
    /// Who pays, and where.
    pub cell: Cell,
    /// The manifest's name.
    pub image: ImageName,
    /// The limits of its life.
    pub policy: Lifecycle,
    /// The password by reference.
    pub password: Option<SecretRef>,
    /// Its user data, once secrets were read; see [`Intent::render_user_data`].
    pub user_data: Option<UserData>,
    /// Every value that holds for it.
    pub shown: ShownValues,
    /// The master that declared it; none if it is in latent.toml.
    pub declared_by: Option<MasterId>,
}

/// Everything people want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The fleet.
    pub fleet: FleetSettings,
    /// The controller's interface.
    pub link: Link,
    /// The status page.
    pub page: Page,
    /// How often to look.
    pub polling: Polling,
    /// What counts as left over.
    pub sweep: SweepPolicy,
    /// How an image is rebaked that no manifest speaks of.
    pub rebake: RebakePolicy,
    /// How people are told.
    pub notify: NotifySettings,
    /// What every machine must have.
    pub requirements: Requirements,
    /// The owners.
    pub owners: BTreeMap<OwnerName, Owner>,
    /// The manifests.
    pub images: BTreeMap<ImageName, Image>,
    /// The workers.
    pub workers: BTreeMap<WorkerName, WorkerIntent>,
    pub(super) by_cell: ByCell,
    /// The limits for what is in the ledger or the cloud but in no file any more.
    pub base_policy: Lifecycle,
    /// The name and text of latent.toml: declared workers are read over it.
    pub(super) main: Arc<(String, String)>,
    /// From which the join secrets are derived, where there are any.
    pub join_key: Option<JoinKey>,
    /// With which identity documents are checked; see [`Intent::read_certificates`].
    pub identity_keys: BTreeMap<Region, IdentityKey>,
    /// What estimates go by: the program's own prices, or newer ones laid over them.
    pub prices: Arc<Prices>,
}

pub(super) type Known<T> = (T, Arc<[Shown]>);

impl Intent {
    /// Parses and cross-checks everything; every problem of every file is reported.
    pub fn parse(sources: &Sources) -> Result<Self, Problems> {
        let (mut problems, empty) = (Problems::default(), DeTable::new());
        let built_in = Document::parse("built-in default", super::DEFAULT_TOML, &mut problems);
        let main = Document::parse(&sources.main.0, &sources.main.1, &mut problems);
        unknown_sections(&main, &mut problems);
        let policy_documents = documents(&sources.policies, &mut problems);
        let image_documents = documents(&sources.images, &mut problems);

        let fleet = fleet::fleet(layers(&main, &built_in, &empty, "fleet"), &mut problems);
        let link = fleet::link(layers(&main, &built_in, &empty, "link"), &mut problems);
        let page = page::page(layers(&main, &built_in, &empty, "page"), &mut problems);
        let polling = fleet::polling(layers(&main, &built_in, &empty, "polling"), &mut problems);
        let sweep = SweepPolicy::read(layers(&main, &built_in, &empty, "sweep"), &mut problems);
        let required = requirements(layers(&main, &built_in, &empty, "requirements"), &mut problems);
        let defaults = fleet::defaults(layers(&main, &built_in, &empty, "defaults"), &mut problems);
        let (owner_sections, owners) = (sections_below(&main, "owner"), owners(&main, &mut problems));
        let notify = notify::read(layers(&main, &built_in, &empty, "notify"), &owners, &mut problems);
        let rebake_layers = layers(&main, &built_in, &empty, "rebake");
        let rebake = rebake::read(rebake_layers.clone(), &mut problems);
        let base = &layers(&built_in, &built_in, &empty, "image")[..1];
        let images = images(&image_documents, base, &rebake_layers, sources, &mut problems);
        let base_layers = layers(&main, &built_in, &empty, "policy");
        let base_policy = Lifecycle::read(base_layers.clone(), "policy", &mut problems);
        let policies = policies(&policy_documents, &base_layers, &mut problems);
        let mut workers = BTreeMap::new();
        for (name, (at, settings, shown)) in worker_settings(&main, &mut problems) {
            let linked = Linker {
                sources,
                defaults: &defaults,
                owners: &owners,
                owner_sections: &owner_sections,
                images: &images,
                policies: &policies,
                base: base_policy.as_ref(),
                problems: &mut problems,
            }
            .link(&name, &at, settings, shown);
            workers.extend(linked.map(|worker| (name, worker)));
        }
        one_worker_per_baked_image(&workers, &images, &mut problems);
        if let Some(fleet) = &fleet {
            let image_of = |name: &ImageName| images.get(name).map(|(image, _)| image);
            proof::can_be_given(&workers, image_of, fleet, sources, &mut problems);
        }
        let (Some(fleet), Some(link), Some(polling)) = (fleet, link, polling) else { return Err(problems) };
        let found = (sweep, rebake, notify, required, base_policy);
        let (Some(sweep), Some(rebake), Some(notify), Some(requirements), Some((base_policy, _))) = found else {
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            fleet,
            link,
            page,
            polling,
            sweep,
            rebake,
            notify,
            requirements,
            owners: owners.into_iter().map(|(name, (owner, _))| (name, placed(owner, sources))).collect(),
            images: images.into_iter().map(|(name, (image, _))| (name, image)).collect(),
            by_cell: ByCell::of(&workers),
            workers,
            base_policy,
            main: Arc::new(sources.main.clone()),
            join_key: None,
            identity_keys: BTreeMap::new(),
            prices: Arc::default(),
        })
    }

    /// Reads the secrets that the user data needs and renders it, the lease watch with it. `resolve` gets
    /// each reference.
    pub fn render_user_data(
        &mut self,
        sources: &Sources,
        resolve: impl Fn(&SecretRef) -> Result<Secret, String>,
    ) -> Result<(), Problems> {
        let (mut problems, mut firsts) = (Problems::default(), BTreeMap::new());
        for (name, worker) in &mut self.workers {
            let Some(image) = self.images.get(&worker.image) else {
                continue;
            };
            match user_data(&self.fleet, name, worker, image, sources, &resolve) {
                Ok(data) => {
                    worker.user_data = data.map(|data| {
                        let first = firsts.entry(&worker.image).or_insert_with(|| data.clone());
                        data.within(first)
                    });
                }
                Err((message, cure)) => problems.push(Problem {
                    at: image.user_data_at.clone().unwrap_or_else(|| image.owner_at.clone()),
                    key: format!("user_data of worker {name}"),
                    value: image.user_data.as_ref().map(|file| format!("{file:?}")),
                    message,
                    cure,
                }),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl SweepPolicy {
    /// What holds where there is no configuration.
    ///
    /// # Errors
    /// [`Problems`] if the built-in default were wrong, which a test rules out.
    pub fn built_in() -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let document = Document::parse("built-in default", super::DEFAULT_TOML, &mut problems);
        let empty = DeTable::new();
        let policy = Self::read(layers(&document, &document, &empty, "sweep"), &mut problems);
        policy.filter(|_| problems.is_empty()).ok_or(problems)
    }
}

/// The user data of a worker, if it gets any; else what is wrong, and what to do.
fn user_data(
    fleet: &FleetSettings,
    name: &WorkerName,
    worker: &WorkerIntent,
    image: &Image,
    sources: &Sources,
    resolve: impl Fn(&SecretRef) -> Result<Secret, String>,
) -> Result<Option<UserData>, (String, String)> {
    let (mut own, mut password, mut shared) = (None, None, None);
    if let Some(file) = &image.user_data {
        password = worker.password.as_ref().map(resolve).transpose().map_err(|why| {
            let cure = "provide it where the controller runs".to_owned();
            (format!("needs the worker's password: {why}"), cure)
        })?;
        let member = Member { worker: name, password: password.as_ref(), join_secret: join::PLACE };
        let names = Names {
            fleet: &fleet.name,
            owner: &worker.cell.owner,
            image: &worker.image,
            master: fleet.master.as_deref(),
            whose: if image.batch_max > 1 { Whose::Each(vec![member]) } else { Whose::One(member) },
        };
        let template = sources.templates.get(file).map_or("", String::as_str);
        if image.batch_max > 1 {
            shared = Some(Arc::new(Secret::new(template.to_owned())));
        }
        let text =
            user_data::render(template, &names).map_err(|why| (format!("cannot be rendered: {why}"), names.known()))?;
        if template.contains("join_secret") && !text.contains(join::PLACE) {
            let why = "speaks of join_secret, and it does not come out as it is".to_owned();
            return Err((why, "write it as it is, or as {{ join_secret | sh }}".to_owned()));
        }
        own = Some(text);
    }
    let data = merged(image, &worker.policy, own)?;
    Ok(data.map(|data| data.with_password(password).with_shared(shared)))
}

/// The user data of an image whose own text this is, the lease watch with it where it comes that way; else
/// what is wrong, and what to do.
pub(super) fn merged(
    image: &Image,
    policy: &Lifecycle,
    own: Option<String>,
) -> Result<Option<UserData>, (String, String)> {
    let own_bytes = own.as_ref().map_or(0, String::len);
    let joins = own.as_ref().map_or(0, |text| text.matches(join::PLACE).count());
    let text = match image.lease_watch {
        LeaseWatch::UserData => {
            let merged = lease_watch::with_watch(image.platform, policy.max_lifetime, own.as_deref());
            Some(merged.map_err(|refusal| (refusal.why.to_owned(), refusal.cure()))?)
        }
        LeaseWatch::Baked | LeaseWatch::None => own,
    };
    if text.as_ref().is_some_and(|text| text.matches(join::PLACE).count() != joins) {
        let why = "{{ join_secret }} stands in a text that is not plain ASCII, which is encoded whole".to_owned();
        return Err((why, "write the template in ASCII, with the line ends of Unix".to_owned()));
    }
    let data = text.map(|text| UserData::of(text, own_bytes)).transpose();
    data.map_err(|why| {
        let cure = "shorten the template, or let it fetch the longer part; a lease watch that is baked into the AMI \
                    (lease_watch = \"baked\") takes no room";
        (why, cure.to_owned())
    })
}

/// The owner with the file of his key, if there is one, found from the folder of latent.toml.
fn placed(owner: Owner, sources: &Sources) -> Owner {
    let credentials = match owner.credentials {
        Credentials::KeyFile(file) => Credentials::KeyFile(sources.path(&file).display().to_string()),
        other => other,
    };
    Owner { credentials, ..owner }
}

fn unknown_sections(main: &Document<'_>, problems: &mut Problems) {
    const SECTIONS: [&str; 12] = [
        "fleet",
        "link",
        "page",
        "polling",
        "requirements",
        "defaults",
        "owner",
        "worker",
        "policy",
        "sweep",
        "rebake",
        "notify",
    ];
    for (key, _) in main.root.get_ref() {
        let name: &str = key.get_ref();
        if !SECTIONS.contains(&name) {
            problems.push(Problem {
                at: main.origin(&key.span()),
                key: name.to_owned(),
                value: None,
                message: "is not a known section".to_owned(),
                cure: format!("known sections: {}", SECTIONS.join(", ")),
            });
        }
    }
}

/// The names of the tables below `[section]`, whether they can be read or not.
fn sections_below(main: &Document<'_>, section: &str) -> BTreeSet<String> {
    let table = main.root.get_ref().get(section).and_then(|value| value.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().to_string()).collect()
}

fn documents<'a>(files: &'a [(String, String, String)], problems: &mut Problems) -> Vec<(&'a str, Document<'a>)> {
    files.iter().map(|(stem, file, text)| (stem.as_str(), Document::parse(file, text, problems))).collect()
}

/// The layers `[name]` of `main` and the built-in default. Where `main` has none, an empty one stands
/// for it, so that what is missing is told of the file that should have it.
pub(super) fn layers<'a>(
    main: &'a Document<'a>,
    built_in: &'a Document<'a>,
    empty: &'a DeTable<'a>,
    name: &str,
) -> Vec<Layer<'a>> {
    let of = |document: &'a Document<'a>| {
        let value = document.root.get_ref().get(name)?;
        Some(Layer { document, table: value.get_ref().as_table()?, span: (value.span().start, value.span().end) })
    };
    let absent = Layer { document: main, table: empty, span: (0, 0) };
    [Some(of(main).unwrap_or(absent)), of(built_in)].into_iter().flatten().collect()
}

pub(super) fn owners(main: &Document<'_>, problems: &mut Problems) -> BTreeMap<OwnerName, Known<Owner>> {
    let mut owners = BTreeMap::new();
    for (key, layer) in named(main, "owner", problems) {
        let path = format!("owner.{}", key.get_ref());
        let mut reader = Reader::new(vec![layer], OWNER_KEYS, &path, problems);
        let owner = fleet::owner(&mut reader);
        let shown = reader.finish();
        if let (Some(name), Some(owner)) = (name_of(main, key, "owner", problems), owner) {
            owners.insert(name, (owner, shown.into()));
        }
    }
    owners
}

fn worker_settings(
    main: &Document<'_>,
    problems: &mut Problems,
) -> BTreeMap<WorkerName, (Origin, WorkerSettings, Vec<Shown>)> {
    let mut workers = BTreeMap::new();
    for (key, layer) in named(main, "worker", problems) {
        let path = format!("worker.{}", key.get_ref());
        let mut reader = Reader::new(vec![layer], WORKER_KEYS, &path, problems);
        let settings = fleet::worker(&mut reader);
        let shown = reader.finish();
        if let (Some(name), Some(settings)) = (name_of(main, key, "worker", problems), settings) {
            workers.insert(name, (main.origin(&key.span()), settings, shown));
        }
    }
    workers
}

fn name_of<T: std::str::FromStr<Err = crate::model::IdError>>(
    document: &Document<'_>,
    key: &toml::Spanned<std::borrow::Cow<'_, str>>,
    section: &str,
    problems: &mut Problems,
) -> Option<T> {
    match key.get_ref().parse() {
        Ok(name) => Some(name),
        Err(error) => {
            problems.push(Problem {
                at: document.origin(&key.span()),
                key: section.to_owned(),
                value: Some(format!("{:?}", key.get_ref())),
                message: error.to_string(),
                cure: "choose another name".to_owned(),
            });
            None
        }
    }
}

fn stem_name<T: std::str::FromStr<Err = crate::model::IdError>>(
    stem: &str,
    document: &Document<'_>,
    problems: &mut Problems,
) -> Option<T> {
    match stem.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            problems.push(Problem {
                at: document.origin(&(0..0)),
                key: "file name".to_owned(),
                value: Some(format!("{stem:?}")),
                message: error.to_string(),
                cure: "rename the file".to_owned(),
            });
            None
        }
    }
}

fn images<'a>(
    documents: &'a [(&'a str, Document<'a>)],
    base: &[Layer<'a>],
    rebake: &[Layer<'a>],
    sources: &Sources,
    problems: &mut Problems,
) -> BTreeMap<ImageName, Known<Image>> {
    let mut images = BTreeMap::new();
    for (stem, document) in documents {
        let mut layers = vec![top(document)];
        layers.extend(base.iter().copied());
        let image = Image::read(layers, rebake, problems);
        if let (Some(name), Some(image)) = (stem_name(stem, document, problems), image) {
            images.insert(name, image);
        }
    }
    rebake::scripts_are_there(&images, &sources.templates, problems);
    images
}

fn policies<'a>(
    documents: &'a [(&'a str, Document<'a>)],
    base: &[Layer<'a>],
    problems: &mut Problems,
) -> BTreeMap<PolicyName, Known<Lifecycle>> {
    let mut policies = BTreeMap::new();
    for (stem, document) in documents {
        let mut layers = vec![top(document)];
        layers.extend(base.iter().copied());
        let policy = Lifecycle::read(layers, "", problems);
        if let (Some(name), Some(policy)) = (stem_name(stem, document, problems), policy) {
            policies.insert(name, policy);
        }
    }
    policies
}

/// Follows the references of one worker.
pub(super) struct Linker<'a> {
    pub(super) sources: &'a Sources,
    pub(super) defaults: &'a Defaults,
    pub(super) owners: &'a BTreeMap<OwnerName, Known<Owner>>,
    pub(super) owner_sections: &'a BTreeSet<String>,
    pub(super) images: &'a BTreeMap<ImageName, Known<Image>>,
    pub(super) policies: &'a BTreeMap<PolicyName, Known<Lifecycle>>,
    pub(super) base: Option<&'a Known<Lifecycle>>,
    pub(super) problems: &'a mut Problems,
}

impl Linker<'_> {
    pub(super) fn link(
        mut self,
        name: &WorkerName,
        at: &Origin,
        settings: WorkerSettings,
        own: Vec<Shown>,
    ) -> Option<WorkerIntent> {
        let image = self.find(name, "image", &settings.image, self.images, &self.sources.images, "amis");
        let policy_name = settings.policy.as_ref().or(self.defaults.policy.as_ref());
        let policy = match policy_name {
            Some(wanted) => self.find(name, "policy", wanted, self.policies, &self.sources.policies, "policies"),
            None => self.base,
        };
        let (image, image_shown) = image?;
        self.check_owner(name, &settings, image);
        self.check_identity(name, at, &settings, image);
        let (policy, policy_shown) = policy?;
        let owner = self.owners.get(&image.owner).map(|(_, shown)| Arc::clone(shown)).unwrap_or_default();
        let (image_shown, policy_shown) = (Arc::clone(image_shown), Arc::clone(policy_shown));
        Some(WorkerIntent {
            cell: Cell { owner: image.owner.clone(), region: image.region.clone() },
            image: settings.image.value,
            policy: policy.clone(),
            password: settings.password,
            user_data: None,
            shown: ShownValues { own, owner, image: image_shown, policy: policy_shown },
            declared_by: None,
        })
    }

    fn check_owner(&mut self, name: &WorkerName, settings: &WorkerSettings, image: &Image) {
        let owner = settings.owner.as_ref().or(self.defaults.owner.as_ref());
        if let Some(owner) = owner
            && owner.value != image.owner
        {
            let message = format!("image {} belongs to {} ({})", settings.image.value, image.owner, image.owner_at);
            let cure = "name the image's owner, or another image";
            self.complain(&owner.at, name, "owner", Some(owner.value.as_str()), message, cure);
        }
        // An owner whose section has mistakes is reported by those.
        if !self.owners.contains_key(&image.owner) && !self.owner_sections.contains(image.owner.as_str()) {
            let message = format!("owner {} has no section in latent.toml", image.owner);
            let cure = format!("add [owner.{}], or correct the name", image.owner);
            self.complain(&image.owner_at, name, "owner", Some(image.owner.as_str()), message, &cure);
        }
    }

    fn check_identity(&mut self, name: &WorkerName, at: &Origin, settings: &WorkerSettings, image: &Image) {
        if image.identity == Identity::Injected && settings.password.is_none() {
            let message = format!("is missing, and image {} injects the identity", settings.image.value);
            let cure = "add password = { env = \"NAME\" } or { file = \"PATH\" }";
            self.complain(at, name, "password", None, message, cure);
        }
        if let (Some(file), Some(at)) = (&image.user_data, &image.user_data_at)
            && !self.sources.templates.contains_key(file)
        {
            let message = "there is no such file in amis/".to_owned();
            self.complain(at, name, "user_data", Some(file), message, "create it, or correct the name");
        }
    }

    fn find<'k, K: Ord + ToString, V>(
        &mut self,
        worker: &WorkerName,
        key: &str,
        wanted: &Located<K>,
        known: &'k BTreeMap<K, V>,
        files: &[(String, String, String)],
        folder: &str,
    ) -> Option<&'k V> {
        let found = known.get(&wanted.value);
        let text = wanted.value.to_string();
        // A file that is there but has mistakes is reported by those; only a missing one is reported here.
        if found.is_none() && !files.iter().any(|(stem, _, _)| *stem == text) {
            let names: Vec<&str> = files.iter().map(|(stem, _, _)| stem.as_str()).collect();
            let cure = if names.is_empty() {
                format!("add {folder}/{text}.toml")
            } else {
                format!("add {folder}/{text}.toml, or name one of: {}", names.join(", "))
            };
            self.complain(&wanted.at, worker, key, Some(&text), format!("there is no such {key}"), &cure);
        }
        found
    }

    fn complain(
        &mut self,
        at: &Origin,
        worker: &WorkerName,
        key: &str,
        value: Option<&str>,
        message: String,
        cure: &str,
    ) {
        self.problems.push(Problem {
            at: at.clone(),
            key: format!("worker.{worker}.{key}"),
            value: value.map(|value| format!("{value:?}")),
            message,
            cure: cure.to_owned(),
        });
    }
}

/// Two workers on one baked image would share one name and password; an address or a volume can be one
/// instance's only.
fn one_worker_per_baked_image(
    workers: &BTreeMap<WorkerName, WorkerIntent>,
    images: &BTreeMap<ImageName, Known<Image>>,
    problems: &mut Problems,
) {
    let mut first: BTreeMap<&ImageName, &WorkerName> = BTreeMap::new();
    for (name, worker) in workers {
        let Some((image, _)) = images.get(&worker.image) else { continue };
        let equipment = image.equipment();
        let (what, cure) = match (image.identity, equipment.first()) {
            (Identity::Baked, _) => {
                ("has one baked identity".to_owned(), ", or write identity = \"injected\" in the manifest")
            }
            (Identity::Injected, Some(own)) => (format!("gives its instance {own}, which one alone can have"), ""),
            (Identity::Injected, None) => continue,
        };
        if let Some(other) = first.insert(&worker.image, name) {
            let key = format!("worker.{name}.image");
            let at = worker.shown.iter().find(|s| s.key == key).map(|s| s.at);
            problems.push(Problem {
                at: at.unwrap_or_else(|| Origin { file: "latent.toml".to_owned(), line: 1, column: 1 }),
                key,
                value: Some(format!("\"{}\"", worker.image)),
                message: format!("the image {what}, and worker {other} uses it"),
                cure: format!("give each worker its own image{cure}"),
            });
        }
    }
}
