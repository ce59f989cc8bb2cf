//! Images (AMIs) of an account, and what a launch needs to know of them.

use chrono::{DateTime, TimeDelta, Utc};

use super::instance::{Disk, Tags};

/// Which kind of system an image holds; it decides how long it takes to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// A minimal Linux: seconds.
    Linux,
    /// A full Linux or FreeBSD: half a minute.
    Server,
    /// Windows: minutes.
    Windows,
}

/// Whether an image can be launched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are EC2's states")]
pub enum ImageState {
    Pending,
    Available,
    Failed,
    Deregistered,
    Disabled,
}

/// What becomes of an image that is not made yet, where a test says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFate {
    /// How long it is pending, if not as long as others.
    pub pending: Option<TimeDelta>,
    /// Whether it comes to nothing.
    pub fails: bool,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// The account that owns it, if that is another one.
    pub owner: Option<String>,
    /// The word by which EC2 knows that account, such as `amazon`.
    pub owner_alias: Option<String>,
    /// Its name, unique in the account and region.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its state.
    pub state: ImageState,
    /// Its system.
    pub platform: Platform,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// The device of its root disk.
    pub root_device: String,
    /// Its disks; each has a snapshot once it is available.
    pub disks: Vec<Disk>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When EC2 begins to hide it from others.
    pub deprecated_at: Option<DateTime<Utc>>,
    /// The instance it was made from.
    pub source_instance: Option<String>,
    /// `legacy-bios`, `uefi` or `uefi-preferred`, if it says.
    pub boot_mode: Option<String>,
    /// `v2.0` if instances of it require session tokens.
    pub imds_support: Option<String>,
    /// Whether everybody may launch from it.
    pub public: bool,
    /// Whether it cannot be deregistered.
    pub protected: bool,
    /// The product codes of the marketplace that it carries.
    pub product_codes: Vec<String>,
    /// Its tags.
    pub tags: Tags,
}

impl Image {
    /// The account that owns it, seen from this one.
    pub fn owner_of<'a>(&'a self, account: &'a str) -> &'a str {
        self.owner.as_deref().unwrap_or(account)
    }

    /// EC2's `ImageLocation`.
    pub fn location(&self, account: &str) -> String {
        format!("{}/{}", self.owner_alias.as_deref().unwrap_or_else(|| self.owner_of(account)), self.name)
    }

    /// Whether one of these owners has it, as DescribeImages takes them; all have it where none is named.
    pub fn is_of(&self, owners: &[&str], account: &str) -> bool {
        let own = self.owner_of(account);
        owners.is_empty()
            || owners.iter().any(|owner| match *owner {
                "self" => own == account,
                "*" => true,
                named => own == named || self.owner_alias.as_deref() == Some(named),
            })
    }

    /// Whether DescribeImages hides it from this account unless deprecated ones are asked for.
    pub fn is_hidden(&self, account: &str, now: DateTime<Utc>) -> bool {
        self.owner_of(account) != account && self.deprecated_at.is_some_and(|at| at <= now)
    }
}
