//! `latent.toml`: the fleet, its owners, its workers.

use std::net::IpAddr;

use chrono::TimeDelta;

use super::budget::{self, Budget};
use super::key::{CREDENTIALS_KEYS, DEFAULTS_KEYS, FLEET_KEYS, LINK_KEYS, POLLING_KEYS};
use super::notify::{self, Addressee};
use super::problem::Problems;
use super::rates::{self, Rates};
use super::reader::{Layer, Located, Reader};
use super::secret::{self, SecretRef};
use crate::model::{ImageName, OwnerName, PolicyName};

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// The fleet's name.
    pub name: String,
    /// This controller's id.
    pub controller: String,
    /// The ledger's file.
    pub ledger: String,
    /// Where workers find the master.
    pub master: Option<String>,
    /// The most live instances.
    pub instances_max: u32,
    /// Addresses from which the connections of several workers come.
    pub proxies: Vec<IpAddr>,
    /// The folder of the certificates for identity documents.
    pub identity_certificates: Option<String>,
    /// The ARN of who assumes the owners' roles.
    pub principal: Option<String>,
}

/// `[link]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The Unix socket.
    pub socket: String,
    /// A TCP address to listen on as well.
    pub listen: Option<std::net::SocketAddr>,
    /// The token for it.
    pub token: Option<SecretRef>,
}

/// `[polling]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// While something is in transition.
    pub fast: TimeDelta,
    /// Otherwise.
    pub slow: TimeDelta,
}

/// How to act in an owner's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Assume a role of the owner.
    AssumeRole {
        /// Its ARN.
        arn: String,
        /// What its trust policy demands.
        external_id: Option<String>,
        /// The profile that may assume it; the environment if none.
        profile: Option<String>,
    },
    /// A profile of the shared configuration.
    Profile(String),
    /// What the environment offers.
    Environment,
    /// A file of two lines, the access key id and the secret key.
    KeyFile(String),
}

/// `[owner.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The account number; of an owner that a master declares it is learnt at the first contact.
    pub account: Option<String>,
    /// How to act in it.
    pub credentials: Credentials,
    /// Whom to tell.
    pub contact: Option<String>,
    /// The largest disk that the owner's role may make, in GiB.
    pub disk_gib_max: Option<u32>,
    /// Another address of the API.
    pub endpoint: Option<String>,
    /// What its machines may cost in a month.
    pub budget: Option<Budget>,
    /// How and of what the owner is told.
    pub notify: Addressee,
    /// The limits of the account's API.
    pub rates: Rates,
}

impl Owner {
    /// One of whom nothing is known but how to act for him.
    pub fn acting_by(credentials: Credentials) -> Self {
        Self {
            account: None,
            credentials,
            contact: None,
            disk_gib_max: None,
            endpoint: None,
            budget: None,
            notify: Addressee::default(),
            rates: Rates::default(),
        }
    }

    /// Whether both act in the same account in the same way and at the same pace.
    pub fn acts_like(&self, other: &Self) -> bool {
        (&self.account, &self.credentials, &self.endpoint, &self.rates)
            == (&other.account, &other.credentials, &other.endpoint, &other.rates)
    }

    /// Whether both have the same account, or may have it: of a declared owner the number may not be known yet.
    pub fn may_share_account(&self, other: &Self) -> bool {
        match (&self.account, &other.account) {
            (Some(one), Some(two)) => one == two,
            (None, _) | (_, None) => self.credentials == other.credentials,
        }
    }
}

/// `[worker.NAME]`, before its references are followed.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub(super) owner: Option<Located<OwnerName>>,
    pub(super) image: Located<ImageName>,
    pub(super) policy: Option<Located<PolicyName>>,
    pub(super) password: Option<SecretRef>,
}

/// `[defaults]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    pub(super) policy: Option<Located<PolicyName>>,
    pub(super) owner: Option<Located<OwnerName>>,
}

pub(super) fn fleet(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<FleetSettings> {
    let mut reader = Reader::new(layers, FLEET_KEYS, "fleet", problems);
    let name = identifier(&mut reader, "name");
    let controller = identifier(&mut reader, "controller");
    let ledger = reader.text("ledger");
    let master = reader.text("master");
    if let Some(master) = &master
        && !master.value.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    {
        reader.report(
            master.at.clone(),
            "master",
            Some(format!("{:?}", master.value)),
            "is not host:port",
            "write it as \"buildbot.example.org:9989\"",
        );
    }
    let instances_max = reader.count("instances_max");
    let proxies = proxies(&mut reader);
    let identity_certificates = reader.text("identity_certificates");
    let principal = reader.text("principal");
    if let Some(principal) = &principal
        && !is_principal(&principal.value)
    {
        let value = Some(format!("{:?}", principal.value));
        reader.report(principal.at.clone(), "principal", value, "is not the ARN of a role or user", PRINCIPAL_CURE);
    }
    reader.finish();
    Some(FleetSettings {
        name: name?,
        controller: controller?,
        ledger: ledger?.value,
        master: master.map(|text| text.value),
        instances_max: instances_max?.value,
        proxies,
        identity_certificates: identity_certificates.map(|text| text.value),
        principal: principal.map(|text| text.value),
    })
}

fn proxies(reader: &mut Reader<'_, '_>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for text in reader.texts("proxies").unwrap_or_default() {
        if let Ok(address) = text.value.parse::<IpAddr>() {
            all.push(address.to_canonical());
        } else {
            let value = Some(format!("{:?}", text.value));
            reader.report(text.at, "proxies", value, "is not an IP address", "write it as \"10.0.0.5\"");
        }
    }
    all
}

/// How the ARN of a principal is written.
pub(super) const PRINCIPAL_CURE: &str = "write it as arn:aws:iam::123456789012:role/NAME";

/// Whether a text is the ARN of one role or one user: neither everybody nor a whole account.
pub(super) fn is_principal(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, name] = parts[..] else { return false };
    let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let named = name.strip_prefix("role/").or_else(|| name.strip_prefix("user/"));
    let plain = named.is_some_and(|name| {
        !name.is_empty()
            && !name.ends_with('/')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@/-".contains(&b))
    });
    arn == "arn" && partition.starts_with("aws") && service == "iam" && region.is_empty() && digits && plain
}

/// A text that becomes a tag value, a file name and a filter: letters, digits, `-`, `_`, `.`.
fn identifier(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<String> {
    reader.parsed::<OwnerName>(key).map(|name| name.value.to_string())
}

pub(super) fn link(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<Link> {
    let mut reader = Reader::new(layers, LINK_KEYS, "link", problems);
    let socket = reader.text("socket");
    let listen = reader.parsed("listen");
    let token = secret::read(&mut reader, "token");
    if let (Some(listen), None) = (&listen, &token) {
        let Located { value, at }: &Located<std::net::SocketAddr> = listen;
        reader.report(
            at.clone(),
            "listen",
            Some(format!("\"{value}\"")),
            "needs a token",
            "add token = { file = \"PATH\" } or { env = \"NAME\" }",
        );
    }
    reader.finish();
    Some(Link { socket: socket?.value, listen: listen.map(|l| l.value), token })
}

pub(super) fn polling(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<Polling> {
    let mut reader = Reader::new(layers, POLLING_KEYS, "polling", problems);
    let (fast, slow) = (reader.span("fast"), reader.span("slow"));
    if let (Some(fast), Some(slow)) = (&fast, &slow)
        && fast.value > slow.value
    {
        reader.report(fast.at.clone(), "fast", None, "is longer than slow", "make fast the shorter of the two");
    }
    reader.finish();
    Some(Polling { fast: fast?.value, slow: slow?.value })
}

pub(super) fn defaults(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Defaults {
    let mut reader = Reader::new(layers, DEFAULTS_KEYS, "defaults", problems);
    let defaults = Defaults { policy: reader.parsed("policy"), owner: reader.parsed("owner") };
    reader.finish();
    defaults
}

pub(super) fn owner(reader: &mut Reader<'_, '_>) -> Option<Owner> {
    let account = reader.text("account");
    if let Some(account) = &account
        && !(account.value.len() == 12 && account.value.chars().all(|c| c.is_ascii_digit()))
    {
        reader.report(
            account.at.clone(),
            "account",
            Some(format!("{:?}", account.value)),
            "is not an account number",
            "write its 12 digits in quotes, leading zeros included",
        );
    }
    let contact = reader.text("contact");
    let disk_gib_max = reader.count("disk_gib_max");
    let endpoint = endpoint(reader);
    let budget = budget::read(reader);
    let credentials = credentials_of(reader);
    let notify = notify::of_owner(reader, contact.as_ref().map(|text| text.value.as_str()));
    let rates = rates::read(reader);
    Some(Owner {
        account: Some(account?.value),
        credentials: credentials?,
        contact: contact.map(|text| text.value),
        disk_gib_max: disk_gib_max.map(|count| count.value),
        endpoint: endpoint.map(|text| text.value),
        budget,
        notify,
        rates,
    })
}

/// An owner of whom a master declares how to act for him, and no account number.
pub(super) fn declared_owner(reader: &mut Reader<'_, '_>) -> Option<Owner> {
    let endpoint = endpoint(reader).map(|text| text.value);
    Some(Owner { endpoint, ..Owner::acting_by(credentials_of(reader)?) })
}

fn endpoint(reader: &mut Reader<'_, '_>) -> Option<Located<String>> {
    let endpoint = reader.text("endpoint");
    if let Some(endpoint) = &endpoint
        && !(endpoint.value.starts_with("http://") || endpoint.value.starts_with("https://"))
    {
        reader.report(
            endpoint.at.clone(),
            "endpoint",
            Some(format!("{:?}", endpoint.value)),
            "is not an http address",
            "write http://host:port or https://host",
        );
    }
    endpoint
}

fn credentials_of(reader: &mut Reader<'_, '_>) -> Option<Credentials> {
    let layer = reader.table("credentials")?;
    let mut below = reader.below(layer, CREDENTIALS_KEYS, "credentials");
    let result = credentials(&mut below);
    let shown = below.finish();
    reader.shown.extend(shown);
    result
}

fn credentials(reader: &mut Reader<'_, '_>) -> Option<Credentials> {
    let (role, external_id) = (reader.text("assume_role"), reader.text("external_id"));
    let (profile, environment) = (reader.text("profile"), reader.flag("environment"));
    let key_file = reader.text("key_file");
    if let Some(role) = &role
        && !(role.value.starts_with("arn:") && role.value.contains(":role/"))
    {
        reader.report(
            role.at.clone(),
            "assume_role",
            Some(format!("{:?}", role.value)),
            "is not a role's ARN",
            "write it as arn:aws:iam::123456789012:role/NAME",
        );
        return None;
    }
    if let (Some(id), None) = (&external_id, &role) {
        reader.report(
            id.at.clone(),
            "external_id",
            None,
            "is of no use without assume_role",
            "add assume_role, or remove it",
        );
        return None;
    }
    let environment = environment.is_some_and(|flag| flag.value);
    match (role, profile, environment, key_file) {
        (Some(role), profile, false, None) => Some(Credentials::AssumeRole {
            arn: role.value,
            external_id: external_id.map(|id| id.value),
            profile: profile.map(|p| p.value),
        }),
        (None, Some(profile), false, None) => Some(Credentials::Profile(profile.value)),
        (None, None, true, None) => Some(Credentials::Environment),
        (None, None, false, Some(file)) => Some(Credentials::KeyFile(file.value)),
        _ => {
            let at = reader.table_origin();
            reader.report(
                at,
                "assume_role",
                None,
                "exactly one way to act must be given",
                "write assume_role (with external_id), profile, key_file, or environment = true",
            );
            None
        }
    }
}

pub(super) fn worker(reader: &mut Reader<'_, '_>) -> Option<WorkerSettings> {
    let (owner, image, policy) = (reader.parsed("owner"), reader.parsed("image"), reader.parsed("policy"));
    let password = secret::read(reader, "password");
    Some(WorkerSettings { owner, image: image?, policy, password })
}
