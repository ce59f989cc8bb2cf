//! Workers that a master declares over the interface, read as if each had files of its own.
//!
//! A declaration becomes TOML in the words of the files (`[owner.X]`, `[worker.W]`, and below `[image]` and
//! `[policy]` what `amis/W.toml` and `policies/W.toml` would hold) and goes through the reader and the linker
//! of those. Its user data is sent as it is; neither it nor a key is ever part of that text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value, json};
use toml::de::DeTable;

use super::by_cell::ByCell;
use super::document::Document;
use super::fleet::{self, Credentials, Defaults, Owner};
use super::image::Image;
use super::intent::{Intent, Known, Linker, WorkerIntent, layers, merged, owners};
use super::key::{DECLARED_OWNER_KEYS, WORKER_KEYS};
use super::lifecycle::Lifecycle;
use super::load::Sources;
use super::problem::{Origin, Problem, Problems};
use super::proof;
use super::reader::{Layer, Reader, named};
use super::secret::Secret;
use crate::model::{ImageName, MasterId, OwnerName, PolicyName, WorkerName};

/// How a master says to act in an owner's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredCredentials {
    /// What the controller's environment offers.
    Environment,
    /// A profile of the shared configuration.
    Profile(String),
    /// A file of two lines, by its absolute path.
    KeyFile(String),
    /// The key itself.
    AccessKey {
        /// Its id.
        id: Secret,
        /// The secret key.
        secret: Secret,
    },
}

/// How to reach the account of an owner that a master declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredOwner {
    /// How to act in it.
    pub credentials: DeclaredCredentials,
    /// Another address of the API.
    pub endpoint: Option<String>,
}

/// What a master says of one worker: all that the files would say of it, but for its password.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Who pays.
    pub owner: OwnerName,
    /// How to act in the owner's account; none if latent.toml has the owner.
    pub access: Option<DeclaredOwner>,
    /// The keys of `amis/NAME.toml`.
    pub image: Map<String, Value>,
    /// The user data, as it is sent.
    pub user_data: Option<Secret>,
    /// The keys of `policies/NAME.toml`.
    pub policy: Map<String, Value>,
}

/// A declared worker with its references followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredWorker {
    /// Who pays, unless latent.toml says it.
    pub owner: Option<(OwnerName, Owner)>,
    /// Its image, which has its name.
    pub image: Image,
    /// The worker.
    pub worker: WorkerIntent,
}

/// The place of what is wrong with a declaration.
pub fn place(master: &str, worker: &str) -> Origin {
    Origin { file: format!("master {master}, worker {worker}"), line: 0, column: 0 }
}

impl Declaration {
    /// Reads a declaration from JSON; every problem is told, and none holds a value that may be a secret.
    ///
    /// # Errors
    /// [`Problems`] at this place.
    pub fn read(at: &Origin, value: &Value) -> Result<Self, Problems> {
        let mut body = Body { at, problems: Problems::default() };
        let fields = body.fields("declaration", value, &KEYS);
        let owner = body.text("owner", fields.get("owner"));
        let owner = match owner.as_deref().map(str::parse::<OwnerName>) {
            Some(Ok(owner)) => Some(owner),
            Some(Err(error)) => {
                body.tell("owner", &error.to_string(), "correct the value");
                None
            }
            None => {
                if absent(fields.get("owner")) {
                    body.tell("owner", "is missing", "name who pays");
                }
                None
            }
        };
        let endpoint = body.text("endpoint", fields.get("endpoint"));
        let credentials = fields.get("credentials").filter(|value| !value.is_null());
        let credentials = credentials.and_then(|value| body.credentials(value));
        let image = body.table("image", fields.get("image"));
        for (key, cure) in [("owner", "write it beside image"), ("user_data", "write the text itself beside image")] {
            if image.get(key).is_some_and(|value| !value.is_null()) {
                body.tell(&format!("image.{key}"), "does not belong to the image of a declaration", cure);
            }
        }
        if image.get("identity").is_some_and(|identity| !identity.is_null() && identity != "baked") {
            let cure = "leave it away, and put what the worker needs into the user data";
            body.tell("image.identity", "can be \"baked\" alone: a declaration holds no password", cure);
        }
        let user_data = body.text("user_data", fields.get("user_data")).map(Secret::new);
        let policy = body.table("policy", fields.get("policy"));
        if endpoint.is_some() && absent(fields.get("credentials")) {
            body.tell("endpoint", "is of no use without credentials", "declare credentials, or leave it away");
        }
        let access = credentials.map(|credentials| DeclaredOwner { credentials, endpoint });
        match owner {
            Some(owner) if body.problems.is_empty() => Ok(Self { owner, access, image, user_data, policy }),
            _ => Err(body.problems),
        }
    }

    /// The declaration as it is sent. It holds the secrets: for the wire, and for a file that nobody else
    /// may read.
    pub fn to_json(&self) -> Value {
        let credentials = self.access.as_ref().map(|access| match &access.credentials {
            DeclaredCredentials::Environment => json!({ "environment": true }),
            DeclaredCredentials::Profile(profile) => json!({ "profile": profile }),
            DeclaredCredentials::KeyFile(file) => json!({ "key_file": file }),
            DeclaredCredentials::AccessKey { id, secret } => {
                json!({ "access_key": { "id": id.reveal(), "secret": secret.reveal() } })
            }
        });
        json!({
            "owner": self.owner,
            "credentials": credentials,
            "endpoint": self.access.as_ref().and_then(|access| access.endpoint.clone()),
            "image": self.image,
            "user_data": self.user_data.as_ref().map(Secret::reveal),
            "policy": self.policy,
        })
    }

    /// What `amis/NAME.toml` would say.
    pub(super) fn manifest(&self, user_data: Option<&str>) -> String {
        let mut image = self.image_table();
        image.extend(user_data.map(|file| ("user_data".to_owned(), file.into())));
        image.to_string()
    }

    /// What `policies/NAME.toml` would say.
    pub(super) fn policy_text(&self) -> String {
        toml_table(&self.policy).to_string()
    }

    fn image_table(&self) -> toml::Table {
        let mut image = toml_table(&self.image);
        image.insert("owner".to_owned(), self.owner.to_string().into());
        image.entry("identity").or_insert_with(|| "baked".into());
        image
    }

    /// The same in the words of the files.
    fn document(&self, name: &WorkerName) -> String {
        let worker = [("image", name.to_string()), ("policy", name.to_string()), ("owner", self.owner.to_string())];
        let worker: toml::Table = worker.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect();
        let mut all = toml::Table::new();
        if let Some(access) = &self.access {
            let owner = toml_table(&access.to_table());
            all.insert("owner".to_owned(), one(self.owner.as_str(), owner));
        }
        all.insert("worker".to_owned(), one(name.as_str(), worker));
        all.insert("image".to_owned(), self.image_table().into());
        all.insert("policy".to_owned(), toml_table(&self.policy).into());
        all.to_string()
    }
}

impl DeclaredOwner {
    /// The owner as the loops know him; none where the key is not in a file yet.
    pub fn owner(&self) -> Option<Owner> {
        let credentials = match &self.credentials {
            DeclaredCredentials::Environment => Credentials::Environment,
            DeclaredCredentials::Profile(profile) => Credentials::Profile(profile.clone()),
            DeclaredCredentials::KeyFile(file) => Credentials::KeyFile(file.clone()),
            DeclaredCredentials::AccessKey { .. } => return None,
        };
        Some(Owner { endpoint: self.endpoint.clone(), ..Owner::acting_by(credentials) })
    }

    /// The keys of `[owner.NAME]`; a key that is given itself has none, it is kept in a file before this.
    pub fn to_table(&self) -> Map<String, Value> {
        let credentials = match &self.credentials {
            DeclaredCredentials::Environment => json!({ "environment": true }),
            DeclaredCredentials::Profile(profile) => json!({ "profile": profile }),
            DeclaredCredentials::KeyFile(file) => json!({ "key_file": file }),
            DeclaredCredentials::AccessKey { .. } => json!({}),
        };
        let mut table = Map::from_iter([("credentials".to_owned(), credentials)]);
        table.extend(self.endpoint.iter().map(|endpoint| ("endpoint".to_owned(), json!(endpoint))));
        table
    }
}

impl fmt::Display for DeclaredCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeclaredCredentials::Environment => f.write_str("environment"),
            DeclaredCredentials::Profile(profile) => write!(f, "profile {profile}"),
            DeclaredCredentials::KeyFile(file) => write!(f, "key file {file}"),
            DeclaredCredentials::AccessKey { .. } => f.write_str("access key"),
        }
    }
}

const KEYS: [&str; 6] = ["owner", "credentials", "endpoint", "image", "user_data", "policy"];
const WAYS: [&str; 4] = ["environment", "profile", "key_file", "access_key"];

fn absent(value: Option<&&Value>) -> bool {
    value.is_none_or(|value| value.is_null())
}

fn one(name: &str, table: toml::Table) -> toml::Value {
    toml::Table::from_iter([(name.to_owned(), table.into())]).into()
}

/// JSON as TOML, which has no null: a key that is null is left away.
fn toml_table(map: &Map<String, Value>) -> toml::Table {
    map.iter().filter_map(|(key, value)| Some((key.clone(), toml_value(value)?))).collect()
}

fn toml_value(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => toml::Value::Array(items.iter().filter_map(toml_value).collect()),
        Value::Object(map) => toml_table(map).into(),
    })
}

/// A declaration while it is read.
struct Body<'a> {
    at: &'a Origin,
    problems: Problems,
}

impl Body<'_> {
    fn tell(&mut self, key: &str, message: &str, cure: &str) {
        let (at, message, cure) = (self.at.clone(), message.to_owned(), cure.to_owned());
        self.problems.push(Problem { at, key: key.to_owned(), value: None, message, cure });
    }

    /// The fields of an object, of which only these may be there.
    fn fields<'v>(&mut self, key: &str, value: &'v Value, known: &[&str]) -> BTreeMap<&'v str, &'v Value> {
        let Some(object) = value.as_object() else {
            self.tell(key, "is not an object", &format!("write an object of {}", known.join(", ")));
            return BTreeMap::new();
        };
        for field in object.keys().filter(|field| !known.contains(&field.as_str())) {
            // A key is somebody's text as well: shown in part, and on one line.
            let field: String = field.chars().filter(|c| !c.is_control()).take(40).collect();
            self.tell(&field, "is not a known key", &format!("known keys: {}", known.join(", ")));
        }
        object.iter().map(|(field, value)| (field.as_str(), value)).collect()
    }

    fn text(&mut self, key: &str, value: Option<&&Value>) -> Option<String> {
        let value = value.filter(|value| !value.is_null())?;
        match value.as_str() {
            Some("") => self.tell(key, "is empty", "write its value, or leave the key away"),
            Some(text) => return Some(text.to_owned()),
            None => self.tell(key, "is not a text", "write a text"),
        }
        None
    }

    fn table(&mut self, key: &str, value: Option<&&Value>) -> Map<String, Value> {
        match value.filter(|value| !value.is_null()) {
            None => Map::new(),
            Some(value) => value.as_object().cloned().unwrap_or_else(|| {
                self.tell(key, "is not an object", "write an object of keys and values");
                Map::new()
            }),
        }
    }

    fn credentials(&mut self, value: &Value) -> Option<DeclaredCredentials> {
        let known: Vec<String> = WAYS.iter().map(|way| format!("credentials.{way}")).collect();
        let fields = self.fields("credentials", value, &WAYS);
        let given: Vec<(&str, &Value)> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let [(way, value)] = given[..] else {
            self.tell(
                "credentials",
                "do not name exactly one way to act",
                &format!("write one of {}", known.join(", ")),
            );
            return None;
        };
        match way {
            "environment" if *value == Value::Bool(true) => Some(DeclaredCredentials::Environment),
            "environment" => {
                self.tell("credentials.environment", "is not true", "write true, or another way to act");
                None
            }
            "profile" => self.text("credentials.profile", Some(&value)).map(DeclaredCredentials::Profile),
            "key_file" => {
                let file = self.text("credentials.key_file", Some(&value))?;
                if Path::new(&file).is_absolute() {
                    return Some(DeclaredCredentials::KeyFile(file));
                }
                let message = "is not an absolute path, and the controller does not know the master's folder";
                self.tell("credentials.key_file", message, "write the whole path");
                None
            }
            "access_key" => {
                let parts = self.fields("credentials.access_key", value, &["id", "secret"]);
                let id = self.text("credentials.access_key.id", parts.get("id"));
                let secret = self.text("credentials.access_key.secret", parts.get("secret"));
                let (Some(id), Some(secret)) = (id, secret) else {
                    self.tell("credentials.access_key", "needs id and secret", "write both");
                    return None;
                };
                let line = |text: &str| text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
                if !line(&id) || !line(&secret) {
                    let message = "holds what no access key has: spaces, signs beyond ASCII, or more than 256 of them";
                    self.tell("credentials.access_key", message, "copy it again from the AWS console");
                    return None;
                }
                Some(DeclaredCredentials::AccessKey { id: Secret::new(id), secret: Secret::new(secret) })
            }
            _ => None,
        }
    }
}

impl Intent {
    /// Reads what masters declare over these files, each by itself: the mistakes of one are nobody else's.
    pub fn read_declared<'d>(
        &self,
        all: impl IntoIterator<Item = (&'d MasterId, &'d WorkerName, &'d Declaration)>,
    ) -> Vec<Result<DeclaredWorker, Problems>> {
        // The files were read without a mistake when this configuration came to be.
        let mut known = Problems::default();
        let built_in = Document::parse("built-in default", super::DEFAULT_TOML, &mut known);
        let main = Document::parse(&self.main.0, &self.main.1, &mut known);
        let owners = owners(&main, &mut known);
        let base = Base { intent: self, built_in: &built_in, main: &main, owners: &owners };
        all.into_iter().map(|(master, name, declaration)| base.read(master, name, declaration)).collect()
    }

    /// These files with declared workers, and with owners that nothing is declared for any more but whose
    /// instances have yet to go.
    #[must_use]
    pub fn with_declared<'d>(
        &self,
        workers: impl IntoIterator<Item = (&'d WorkerName, &'d DeclaredWorker)>,
        former: impl IntoIterator<Item = (OwnerName, Owner)>,
    ) -> Self {
        let mut all = self.clone();
        for (name, declared) in workers {
            all.images.insert(declared.worker.image.clone(), declared.image.clone());
            all.workers.insert(name.clone(), declared.worker.clone());
            if let Some((owner, access)) = &declared.owner {
                all.owners.entry(owner.clone()).or_insert_with(|| access.clone());
            }
        }
        for (name, owner) in former {
            all.owners.entry(name).or_insert(owner);
        }
        all.by_cell = ByCell::of(&all.workers);
        all
    }
}

/// What declared workers are read over.
struct Base<'a> {
    intent: &'a Intent,
    built_in: &'a Document<'a>,
    main: &'a Document<'a>,
    owners: &'a BTreeMap<OwnerName, Known<Owner>>,
}

impl Base<'_> {
    fn read(&self, master: &MasterId, name: &WorkerName, declared: &Declaration) -> Result<DeclaredWorker, Problems> {
        let mut problems = Problems::default();
        let at = place(master.as_str(), name.as_str());
        self.check_names(&at, name, declared, &mut problems);
        let text = declared.document(name);
        let document = Document::declared(&at.file, &text, &mut problems);
        let empty = DeTable::new();
        let own_owner = declared_owner(&document, &mut problems);
        let mut of_image = Problems::default();
        let rebake = layers(self.main, self.built_in, &empty, "rebake");
        let image = Image::read(layers(&document, self.built_in, &empty, "image"), &rebake, &mut of_image);
        problems.extend_below("image", of_image);
        let mut policy_layers = layers(&document, self.main, &empty, "policy");
        policy_layers.extend(layers(self.built_in, self.built_in, &empty, "policy").into_iter().take(1));
        let policy = Lifecycle::read(policy_layers, "policy", &mut problems);
        let (Some(image), Some(policy)) = (image, policy) else { return Err(problems) };
        let linked = self.link(&document, name, image, policy, own_owner.as_ref(), &mut problems);
        if let Some((image, worker)) = &linked {
            let workers = BTreeMap::from([(name.clone(), worker.clone())]);
            let fleet = &self.intent.fleet;
            proof::can_be_given(&workers, |_| Some(image), fleet, &Sources::default(), &mut problems);
        }
        let (Some((image, mut worker)), true) = (linked, problems.is_empty()) else { return Err(problems) };
        if image.batch_max > 1 {
            let (key, value) = ("image.batch_max".to_owned(), Some(image.batch_max.to_string()));
            let message = "is of no use: a declared worker's user data is its own".to_owned();
            let cure = "remove it, or write the workers and their image into the configuration's files".to_owned();
            problems.push(Problem { at, key, value, message, cure });
            return Err(problems);
        }
        worker.declared_by = Some(master.clone());
        let own = declared.user_data.as_ref().map(|text| text.reveal().to_owned());
        match merged(&image, &worker.policy, own) {
            Ok(data) => worker.user_data = data,
            Err((message, cure)) => {
                problems.push(Problem { at, key: "user_data".to_owned(), value: None, message, cure });
                return Err(problems);
            }
        }
        let owner = own_owner.map(|(owner, _)| (declared.owner.clone(), owner));
        Ok(DeclaredWorker { owner, image, worker })
    }

    /// A name has one place: what the files say is not said again by a master.
    fn check_names(&self, at: &Origin, name: &WorkerName, declared: &Declaration, problems: &mut Problems) {
        let mut tell = |key: &str, message: String, cure: &str| {
            let (at, cure) = (at.clone(), cure.to_owned());
            problems.push(Problem { at, key: key.to_owned(), value: None, message, cure });
        };
        let file = &self.intent.main.0;
        if self.intent.workers.contains_key(name) {
            let message = format!("worker {name} is in {file} already");
            tell("worker", message, "remove [worker.…] there, or say no more than name and password in master.cfg");
        } else if self.intent.images.keys().any(|image| image.as_str() == name.as_str()) {
            let message = format!("amis/{name}.toml is there, and a declared worker's image has the worker's name");
            tell("worker", message, "rename that file, or write [worker.…] into latent.toml and declare nothing");
        }
        let of_files = self.intent.owners.contains_key(&declared.owner);
        if of_files && declared.access.is_some() {
            let message = format!("owner {} is in {file}, which says how to act for him", declared.owner);
            tell("credentials", message, "leave credentials and endpoint away, or name another owner");
        }
        if !of_files && declared.access.is_none() {
            let message = format!("are missing, and {file} has no [owner.{}]", declared.owner);
            tell("credentials", message, "declare credentials, or write that section");
        }
    }

    fn link(
        &self,
        document: &Document<'_>,
        name: &WorkerName,
        image: Known<Image>,
        policy: Known<Lifecycle>,
        owner: Option<&Known<Owner>>,
        problems: &mut Problems,
    ) -> Option<(Image, WorkerIntent)> {
        let image_name: ImageName = name.as_str().parse().ok()?;
        let policy_name: PolicyName = name.as_str().parse().ok()?;
        let owner_name = image.0.owner.clone();
        let mut owners = BTreeMap::new();
        owners.extend(self.owners.get(&owner_name).or(owner).map(|known| (owner_name.clone(), known.clone())));
        let (images, policies) =
            (BTreeMap::from([(image_name.clone(), image)]), BTreeMap::from([(policy_name, policy)]));
        let (key, layer) = section(document, "worker", problems)?;
        let mut reader = Reader::new(vec![layer], WORKER_KEYS, &format!("worker.{key}"), problems);
        let settings = fleet::worker(&mut reader);
        let shown = reader.finish();
        let at = document.origin(&(0..0));
        let linked = Linker {
            sources: &Sources::default(),
            defaults: &Defaults::default(),
            owners: &owners,
            // Whose owner is missing is told of his credentials.
            owner_sections: &BTreeSet::from([owner_name.to_string()]),
            images: &images,
            policies: &policies,
            base: None,
            problems,
        }
        .link(name, &at, settings?, shown)?;
        images.into_iter().next().map(|(_, (image, _))| (image, linked))
    }
}

/// The one table below `[section]`.
fn section<'a>(document: &'a Document<'a>, name: &str, problems: &mut Problems) -> Option<(String, Layer<'a>)> {
    named(document, name, problems).into_iter().next().map(|(key, layer)| (key.get_ref().to_string(), layer))
}

fn declared_owner(document: &Document<'_>, problems: &mut Problems) -> Option<Known<Owner>> {
    let (key, layer) = section(document, "owner", problems)?;
    let mut reader = Reader::new(vec![layer], DECLARED_OWNER_KEYS, &format!("owner.{key}"), problems);
    let owner = fleet::declared_owner(&mut reader);
    let shown = reader.finish();
    owner.map(|owner| (owner, shown.into()))
}
