//! Who brings messages to people.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{mail, webhook};
use crate::model::AlarmClass;
use crate::plan::alarm::{Channel, Notice, NoticePhase, Outcome, Post, Who, body, subject};
use crate::policy::{NotifySettings, Secret, SecretRef};

/// A file that goes with a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its media type, such as `text/html; charset=utf-8`.
    pub media_type: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} bytes)", self.name, self.media_type, self.content.len())
    }
}

/// A message as it is brought, whatever the way.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same whenever the message is sent again, and no other message's.
    pub id: String,
    /// The fleet.
    pub fleet: String,
    /// The controller's id.
    pub controller: String,
    /// In a line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// What it tells, for whom and where.
    pub post: Post,
    /// A file that goes with it where the way takes one.
    pub attachment: Option<Attachment>,
}

impl Message {
    /// The message of a post.
    pub fn of(post: Post, attachment: Option<Attachment>, fleet: &str, controller: &str) -> Self {
        let place = format!("{fleet}\n{controller}\n{}\n{}\n{}", post.who, post.channel, post.id);
        let id = crate::model::digest_hex(&Sha256::digest(place.as_bytes())[..16]);
        let (subject, mut text) = (subject(&post, fleet), body(&post, fleet, controller));
        if let (Some(file), Channel::Webhook(_)) = (&attachment, &post.channel) {
            text = format!("{text}\nThe report ({}) comes by mail, and is printed by latent audit.\n", file.name);
        }
        Self { id, fleet: fleet.to_owned(), controller: controller.to_owned(), subject, text, post, attachment }
    }
}

/// Brings messages. The same message may be brought again after a crash, with the same id.
pub trait Courier: Send + Sync + 'static {
    /// Brings one to the place that it names; waits as long as the way takes.
    fn bring(&self, settings: &NotifySettings, message: &Message) -> impl Future<Output = Outcome> + Send;
}

type Resolve = dyn Fn(&SecretRef) -> Result<Secret, String> + Send + Sync;

/// The ways of the configuration: mail and webhooks. Secrets are read anew for each message.
#[expect(missing_debug_implementations, reason = "it holds a function that gives secrets")]
pub struct Ways {
    pub(super) folder: PathBuf,
    pub(super) resolve: Box<Resolve>,
}

impl Ways {
    /// By the files below a folder, and with what gives each secret.
    pub fn new(
        folder: PathBuf,
        resolve: impl Fn(&SecretRef) -> Result<Secret, String> + Send + Sync + 'static,
    ) -> Self {
        Self { folder, resolve: Box::new(resolve) }
    }
}

impl Courier for Ways {
    async fn bring(&self, settings: &NotifySettings, message: &Message) -> Outcome {
        match &message.post.channel {
            Channel::Mail(address) => match &settings.mail {
                Some(way) => mail::send(self, way, address, message).await,
                None => Outcome::Later("nothing says how mail goes out; add [notify.smtp]".to_owned(), None),
            },
            Channel::Webhook(name) => match settings.webhooks.get(name) {
                Some(hook) => webhook::send(self, hook, message).await,
                None => Outcome::Refused(format!("there is no [notify.webhook.{name}] any more")),
            },
        }
    }
}

/// A message that only shows that messages come.
pub fn trial_post(who: &Who, channel: &Channel, now: DateTime<Utc>) -> Post {
    let notice = Notice {
        key: format!("{}/{who}", AlarmClass::Test),
        class: AlarmClass::Test,
        phase: NoticePhase::Happened,
        owner: match who {
            Who::Owner(owner) => Some(owner.to_string()),
            Who::Admin => None,
        },
        title: format!("a test message for {who}"),
        since: now,
        at: now,
        urgent: false,
        text: vec!["Somebody asked for it with latent notify test. Messages from latent reach you here.".to_owned()],
        cost: None,
        todo: vec!["nothing".to_owned()],
    };
    let id = format!("test-{}", now.timestamp_millis());
    Post { id, who: who.clone(), channel: channel.clone(), at: now, notices: vec![notice], more: 0 }
}
