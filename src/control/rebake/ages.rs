//! How old the AMIs are that manifests name, for whoever tells their owners.

use chrono::{DateTime, TimeDelta, Utc};

use super::host::{RebakeDesk as _, Rebakes};
use crate::cloud::{Bakery, Commands};
use crate::ledger::{Journals, Ledger};
use crate::model::{AmiId, ImageName};

/// So often an AMI is looked at again.
const LOOK_AGAIN: TimeDelta = TimeDelta::hours(6);
/// So many AMIs are looked at in one round, so that many images do not take the calls that others need.
const AT_ONCE: usize = 5;

/// What is known of the AMI that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAge {
    /// The manifest.
    pub image: ImageName,
    /// The AMI.
    pub ami: AmiId,
    /// When it was made, if that can be read.
    pub created: Option<DateTime<Utc>>,
    /// From when it shall not be used any more, if its owner said so.
    pub deprecated: Option<DateTime<Utc>>,
    /// Whether it is the account's own.
    pub ours: bool,
    /// When it was looked at, successfully or not.
    pub looked_at: DateTime<Utc>,
}

impl<L, C, J> Rebakes<L, C, J>
where
    L: Ledger + 'static,
    C: Bakery + Commands + 'static,
    J: Journals + 'static,
{
    /// Looks at the AMIs whose turn it is.
    pub(super) async fn look_at_ages(&self) {
        let (intent, now) = (self.0.controller.intent(), self.0.clock.now());
        let known = self.ages();
        let wanted = intent.images.iter().filter_map(|(name, image)| Some((name, image, image.ami.named()?)));
        let due = wanted.filter(|(name, _, ami)| {
            let last = known.iter().find(|age| age.image == **name && age.ami == **ami);
            last.is_none_or(|last| now >= last.looked_at + LOOK_AGAIN)
        });
        for (name, image, ami) in due.take(AT_ONCE).collect::<Vec<_>>() {
            let age = match self.source(image, ami).await {
                Ok(source) => ImageAge {
                    image: name.clone(),
                    ami: ami.clone(),
                    created: source.created,
                    deprecated: source.deprecated,
                    ours: source.ours,
                    looked_at: now,
                },
                Err(error) => {
                    tracing::debug!(image = %name, %error, "how old an AMI is cannot be told");
                    // What was seen of it earlier holds on.
                    let before = known.iter().find(|age| age.image == *name && age.ami == *ami).cloned();
                    let unknown = ImageAge {
                        image: name.clone(),
                        ami: ami.clone(),
                        created: None,
                        deprecated: None,
                        ours: true,
                        looked_at: now,
                    };
                    ImageAge { looked_at: now, ..before.unwrap_or(unknown) }
                }
            };
            self.keep_age(age);
        }
    }
}
