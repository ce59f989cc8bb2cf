//! `[notify]`: who is told when something needs a person, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use chrono::TimeDelta;

use super::fleet::Owner;
use super::intent::Known;
use super::key::{ADDRESSEE_KEYS, NOTIFY_KEYS, SENDMAIL_KEYS, SMTP_KEYS, WEBHOOK_KEYS};
use super::problem::{Origin, Problem, Problems, Shown};
use super::reader::{Layer, Located, Reader};
use super::secret::{self, SecretRef};
use super::window::Window;
use crate::model::{AlarmClass, OwnerName};

/// The most addresses and webhooks of one addressee: mail to a crowd is what lists are for.
const PLACES_MAX: usize = 10;

/// How and of what somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Addresses that are written to.
    pub mail: Vec<String>,
    /// Names of webhooks that are called.
    pub webhook: Vec<String>,
    /// What is told.
    pub classes: BTreeSet<AlarmClass>,
    /// When only what is urgent is told; that of [`NotifySettings`] if none.
    pub quiet_hours: Option<Window>,
    /// When a worker counts as down; that of [`NotifySettings`] if none.
    pub down_after: Option<TimeDelta>,
}

impl Default for Addressee {
    fn default() -> Self {
        let classes = AlarmClass::ALL.iter().copied().collect();
        Self { mail: Vec::new(), webhook: Vec::new(), classes, quiet_hours: None, down_after: None }
    }
}

/// `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// When only what is urgent is told.
    pub quiet_hours: Option<Window>,
    /// What comes within so long of a message becomes one.
    pub digest: TimeDelta,
    /// The most messages to one place in a day.
    pub daily_max: u32,
    /// When the week's summary is sent; never without it.
    pub weekly: Option<Window>,
    /// When a worker counts as down; learned if none.
    pub down_after: Option<TimeDelta>,
    /// The admin, who is told of everything.
    pub admin: Addressee,
    /// How mail goes out, if it does.
    pub mail: Option<MailWay>,
    /// The webhooks by name.
    pub webhooks: BTreeMap<String, Webhook>,
}

/// How mail goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailWay {
    /// A server takes it.
    Smtp(Smtp),
    /// A command takes it.
    Sendmail {
        /// The program and its arguments.
        command: Vec<String>,
        /// The sender.
        from: String,
    },
}

/// `[notify.smtp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// The name to log in with, and its password.
    pub login: Option<(String, SecretRef)>,
    /// The sender.
    pub from: String,
    /// Authorities in the place of the system's.
    pub ca_file: Option<String>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// It begins in plain text and must become TLS before anything is said.
    StartTls,
    /// It is TLS from its beginning.
    Tls,
    /// It is not, and does not leave the machine.
    None,
}

impl fmt::Display for SmtpTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        })
    }
}

/// `[notify.webhook.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is sent to.
    pub url: WebhookUrl,
    /// In which form.
    pub format: WebhookFormat,
    /// More headers, a line each.
    pub headers: Option<SecretRef>,
    /// Authorities beside the system's.
    pub ca_file: Option<String>,
}

/// Where a webhook is.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// As it is written.
    Text(String),
    /// By reference, since it holds a token.
    Secret(SecretRef),
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Its scheme and host, or where it is kept: the rest may be a token.
impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(url) => f.write_str(&scheme_and_host(url)),
            Self::Secret(secret) => write!(f, "{secret}"),
        }
    }
}

/// What of a URL may be shown.
fn scheme_and_host(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// The form of what a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Everything, by a published schema.
    Json,
    /// A text as Slack's incoming webhooks take it, and who speaks their form.
    Slack,
    /// A text as Discord's webhooks take it.
    Discord,
}

impl fmt::Display for WebhookFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
        })
    }
}

/// Whether a host is this machine itself.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl WebhookUrl {
    /// Whether a text may be the address of a webhook: `https`, or `http` to this machine.
    ///
    /// # Errors
    /// What is wrong with it; nothing of the text itself.
    pub fn check(url: &str) -> Result<(), &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("is not an https address")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("holds a name or password before its host, which belongs into headers");
        }
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        if host.is_empty() || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("is not an https address");
        }
        match scheme {
            "https" => Ok(()),
            "http" if is_loopback(host) => Ok(()),
            "http" => Err("sends without protection to another machine"),
            _ => Err("is not an https address"),
        }
    }
}

/// Reads `[notify]`, and holds what owners name against it.
pub(super) fn read(
    layers: Vec<Layer<'_>>,
    owners: &BTreeMap<OwnerName, Known<Owner>>,
    problems: &mut Problems,
) -> Option<NotifySettings> {
    let mut reader = Reader::new(layers, NOTIFY_KEYS, "notify", problems);
    let quiet_hours = window(&mut reader, "quiet_hours");
    let (digest, daily_max, down_after) = (reader.span("digest"), reader.count("daily_max"), reader.span("down_after"));
    let weekly = weekly(&mut reader);
    let admin = below(&mut reader, "admin").unwrap_or_default();
    let (smtp, sendmail) = (smtp(&mut reader), sendmail(&mut reader));
    if reader.has("smtp") && reader.has("sendmail") {
        let at = reader.origin_of("sendmail");
        reader.report(at, "sendmail", None, "is of no use beside smtp", "keep the one that shall take mail");
    }
    let mut webhooks = BTreeMap::new();
    for (name, layer) in reader.named_tables("webhook") {
        webhooks.extend(webhook(&mut reader, &name, layer).map(|webhook| (name, webhook)));
    }
    let (has_mail, at) = (reader.has("smtp") || reader.has("sendmail"), reader.origin_of("webhook"));
    let declared: BTreeSet<String> = reader.named_tables("webhook").into_iter().map(|(name, _)| name).collect();
    let shown = reader.finish();
    let addressees =
        owners.iter().map(|(name, (owner, shown))| (format!("owner.{name}.notify"), &owner.notify, &shown[..]));
    let addressees = addressees.chain([("notify.admin".to_owned(), &admin, &shown[..])]);
    for (table, addressee, shown) in addressees {
        reachable(&table, addressee, shown, has_mail, &declared, &at, problems);
    }
    Some(NotifySettings {
        quiet_hours,
        digest: digest?.value,
        daily_max: daily_max?.value,
        weekly,
        down_after: down_after.map(|span| span.value),
        admin,
        mail: smtp.map(MailWay::Smtp).or(sendmail),
        webhooks,
    })
}

/// Whether there is a way to every place that an addressee names.
fn reachable(
    table: &str,
    addressee: &Addressee,
    shown: &[Shown],
    has_mail: bool,
    webhooks: &BTreeSet<String>,
    otherwise: &Origin,
    problems: &mut Problems,
) {
    let mut complain = |key: &str, value: &str, message: &str, cure: String| {
        let key = format!("{table}.{key}");
        let at = shown.iter().find(|shown| shown.key == key).map_or(otherwise, |shown| &shown.at).clone();
        problems.push(Problem { at, key, value: Some(format!("{value:?}")), message: message.to_owned(), cure });
    };
    // The contact is an address that nobody said should be written to: without a way it is not.
    let named = shown.iter().any(|shown| shown.key == format!("{table}.mail"));
    if let Some(address) = addressee.mail.first().filter(|_| named && !has_mail) {
        let cure = "add [notify.smtp] or [notify.sendmail]".to_owned();
        complain("mail", address, "cannot be written to: nothing says how mail goes out", cure);
    }
    for name in addressee.webhook.iter().filter(|name| !webhooks.contains(*name)) {
        let known: Vec<&str> = webhooks.iter().map(String::as_str).collect();
        let known = if known.is_empty() { String::new() } else { format!(", or name one of: {}", known.join(", ")) };
        complain("webhook", name, "is not a webhook of [notify]", format!("add [notify.webhook.{name}]{known}"));
    }
}

/// How an owner is told: as `notify` says, and by mail to the contact if that names no place.
pub(super) fn of_owner(reader: &mut Reader<'_, '_>, contact: Option<&str>) -> Addressee {
    let mut addressee = below(reader, "notify").unwrap_or_default();
    let places = [".notify.mail", ".notify.webhook"];
    // An empty list is a wish to be told in no such way.
    let said = reader.shown.iter().any(|shown| places.iter().any(|place| shown.key.ends_with(place)));
    if !said {
        addressee.mail.extend(contact.filter(|contact| is_address(contact)).map(ToOwned::to_owned));
    }
    addressee
}

fn below(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<Addressee> {
    if !reader.has(key) {
        return None;
    }
    let layer = reader.table(key)?;
    let mut below = reader.below(layer, ADDRESSEE_KEYS, key);
    let (mail, webhook) = (below.list("mail").unwrap_or_default(), below.list("webhook").unwrap_or_default());
    for address in mail.iter().filter(|address| !is_address(&address.value)) {
        let value = Some(format!("{:?}", address.value));
        below.report(address.at.clone(), "mail", value, "is not an address", "write it as \"alice@example.org\"");
    }
    for (key, list) in [("mail", &mail), ("webhook", &webhook)] {
        if list.len() > PLACES_MAX {
            let at = below.origin_of(key);
            let message = format!("names {} places, and {PLACES_MAX} are the most", list.len());
            below.report(at, key, None, message, "let a mailing list or a channel pass it on");
        }
    }
    let classes = if below.has("classes") {
        let words = below.choices("classes").unwrap_or_default();
        words.iter().filter_map(|word| word.value.parse().ok()).collect()
    } else {
        AlarmClass::ALL.iter().copied().collect()
    };
    let (quiet_hours, down_after) = (window(&mut below, "quiet_hours"), below.span("down_after"));
    let shown = below.finish();
    reader.shown.extend(shown);
    let values = |list: Vec<Located<String>>| list.into_iter().map(|text| text.value).collect();
    Some(Addressee {
        mail: values(mail),
        webhook: values(webhook),
        classes,
        quiet_hours,
        down_after: down_after.map(|span| span.value),
    })
}

fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.parse::<lettre::Address>().is_ok()
}

fn window(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<Window> {
    let text = reader.text(key)?;
    match text.value.parse() {
        Ok(window) => Some(window),
        Err(error) => {
            let value = Some(format!("{:?}", text.value));
            reader.report(text.at, key, value, error, "write it in UTC, as \"22:00-07:00\" or \"Mon 07:00-09:00\"");
            None
        }
    }
}

fn weekly(reader: &mut Reader<'_, '_>) -> Option<Window> {
    let text = reader.text("weekly")?;
    if text.value == "never" { None } else { window(reader, "weekly") }
}

fn smtp(reader: &mut Reader<'_, '_>) -> Option<Smtp> {
    if !reader.has("smtp") {
        return None;
    }
    let layer = reader.table("smtp")?;
    let mut below = reader.below(layer, SMTP_KEYS, "smtp");
    let (host, port, from) = (below.text("host"), below.count("port"), sender(&mut below));
    let tls = match below.choice("tls") {
        Some(word) if word.value == "tls" => SmtpTls::Tls,
        Some(word) if word.value == "none" => SmtpTls::None,
        _ => SmtpTls::StartTls,
    };
    let (user, password, ca_file) = (below.text("user"), secret::read(&mut below, "password"), below.text("ca_file"));
    if let Some(host) = host.as_ref().filter(|host| tls == SmtpTls::None && !is_loopback(&host.value)) {
        let message = "sends mail, and a password, without protection to another machine";
        let at = below.origin_of("tls");
        let cure = format!("write tls = \"starttls\" or \"tls\", or relay through this machine, not {}", host.value);
        below.report(at, "tls", Some("\"none\"".to_owned()), message, cure);
    }
    let login = match (user, password) {
        (Some(user), Some(password)) => Some((user.value, password)),
        (None, None) => None,
        (Some(user), None) => {
            below.report(user.at, "user", None, "is of no use without password", "add password = { file = \"PATH\" }");
            None
        }
        (None, Some(_)) => {
            let at = below.origin_of("password");
            below.report(at, "password", None, "is of no use without user", "add user, or remove it");
            None
        }
    };
    let shown = below.finish();
    reader.shown.extend(shown);
    let usual = match tls {
        SmtpTls::StartTls => 587,
        SmtpTls::Tls => 465,
        SmtpTls::None => 25,
    };
    let port = port.map_or(usual, |port| u16::try_from(port.value).unwrap_or(usual));
    Some(Smtp { host: host?.value, port, tls, login, from: from?, ca_file: ca_file.map(|text| text.value) })
}

fn sender(reader: &mut Reader<'_, '_>) -> Option<String> {
    let from = reader.text("from")?;
    if is_address(&from.value) {
        return Some(from.value);
    }
    let value = Some(format!("{:?}", from.value));
    reader.report(from.at, "from", value, "is not an address", "write it as \"latent@example.org\"");
    None
}

fn sendmail(reader: &mut Reader<'_, '_>) -> Option<MailWay> {
    if !reader.has("sendmail") {
        return None;
    }
    let layer = reader.table("sendmail")?;
    let mut below = reader.below(layer, SENDMAIL_KEYS, "sendmail");
    let (command, from) = (below.texts("command"), sender(&mut below));
    if let Some(program) = command.as_ref().and_then(|all| all.first()).filter(|text| !text.value.starts_with('/')) {
        let value = Some(format!("{:?}", program.value));
        let at = program.at.clone();
        below.report(at, "command", value, "is not an absolute path", "write it as \"/usr/sbin/sendmail\"");
    }
    let shown = below.finish();
    reader.shown.extend(shown);
    let command = command?.into_iter().map(|text| text.value).collect();
    Some(MailWay::Sendmail { command, from: from? })
}

fn webhook<'a>(reader: &mut Reader<'a, '_>, name: &str, layer: Layer<'a>) -> Option<Webhook> {
    if name.parse::<OwnerName>().is_err() {
        let at = reader.origin_of("webhook");
        let cure = "name it with letters, digits, -, _ and .";
        reader.report(at, "webhook", Some(format!("{name:?}")), "is not a name", cure);
        return None;
    }
    let mut below = reader.below(layer, WEBHOOK_KEYS, &format!("webhook.{name}"));
    let url =
        if below.is_table("url") { secret::read(&mut below, "url").map(WebhookUrl::Secret) } else { url(&mut below) };
    let format = match below.choice("format") {
        Some(word) if word.value == "slack" => WebhookFormat::Slack,
        Some(word) if word.value == "discord" => WebhookFormat::Discord,
        _ => WebhookFormat::Json,
    };
    let (headers, ca_file) = (secret::read(&mut below, "headers"), below.text("ca_file"));
    let shown = below.finish();
    reader.shown.extend(shown);
    Some(Webhook { url: url?, format, headers, ca_file: ca_file.map(|text| text.value) })
}

/// The address as a text. No more of it is shown than its scheme and host.
fn url(reader: &mut Reader<'_, '_>) -> Option<WebhookUrl> {
    let url = reader.text("url")?;
    let cut = scheme_and_host(&url.value);
    if let Some(shown) = reader.shown.last_mut() {
        shown.value = format!("{cut:?}");
    }
    if let Err(message) = WebhookUrl::check(&url.value) {
        let cure = "write https://host/path, or http:// to this machine";
        reader.report(url.at, "url", Some(format!("{cut:?}")), message, cure);
        return None;
    }
    Some(WebhookUrl::Text(url.value))
}
