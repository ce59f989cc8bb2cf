//! What a controller begins by itself: rebakes that are due, and proofs of AMIs that were handed over.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::host::Rebakes;
use crate::cloud::{Bakery, Commands};
use crate::ledger::{Journals, Ledger};
use crate::model::{AmiId, AmiState, Cell, ImageName, RebakeKind, tag_keys};
use crate::policy::Intent;

/// How often it is looked for images that are due, and for journals that another process let go of.
const LOOK_PERIOD: TimeDelta = TimeDelta::minutes(1);
/// How long a failed rebake keeps the controller from beginning the same one by itself again.
const AFTER_FAILURE: TimeDelta = TimeDelta::days(1);

impl<L, C, J> Rebakes<L, C, J>
where
    L: Ledger + 'static,
    C: Bakery + Commands + 'static,
    J: Journals + 'static,
{
    pub(super) async fn look_after(&self) {
        let mut stop = self.0.stop.subscribe();
        let mut taken_over_at: Option<DateTime<Utc>> = None;
        loop {
            let now = self.0.clock.now();
            let pause = LOOK_PERIOD.min(self.0.controller.intent().sweep.period);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.0.clock.sleep_until(now + pause) => {}
            }
            self.resume();
            self.begin_due().await;
            self.look_at_ages().await;
            // The period is asked for each time: a configuration that was read again holds at once.
            let (now, period) = (self.0.clock.now(), self.0.controller.intent().sweep.period);
            if taken_over_at.is_none_or(|at| now >= at + period) {
                self.take_over().await;
                taken_over_at = Some(now);
            }
        }
    }

    /// Begins what is due, in the windows that manifests name.
    async fn begin_due(&self) {
        let (intent, now) = (self.0.controller.intent(), self.0.clock.now());
        for (name, image) in intent.images.iter().filter(|(_, image)| image.rebake.may_begin(now)) {
            if self.at_work(name).is_some() || self.failed_lately(name, now) {
                continue;
            }
            let Some(ami) = image.ami.named() else { continue };
            match self.source(image, ami).await {
                Ok(source) if source.created.is_some_and(|at| at + intent.requirements.max_ami_age <= now) => {
                    if let Err(error) = self.order(&intent, name, RebakeKind::Update, source, None, false) {
                        tracing::warn!(image = %name, %error, "a rebake is due and cannot begin");
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(image = %name, %error, "whether a rebake is due cannot be told"),
            }
        }
    }

    fn failed_lately(&self, image: &ImageName, now: DateTime<Utc>) -> bool {
        let ids = self.0.journals.ids().unwrap_or_default();
        let mut records = ids.iter().rev().filter_map(|id| self.record(id).ok());
        records.any(|(rebake, _)| {
            rebake.order.image == *image && rebake.outcome.is_some() && rebake.last_at + AFTER_FAILURE > now
        })
    }

    /// AMIs that somebody made with the owner's own credentials, for this controller to prove.
    async fn take_over(&self) {
        let intent = self.0.controller.intent();
        let cells: BTreeSet<Cell> = intent
            .images
            .values()
            .map(|image| Cell { owner: image.owner.clone(), region: image.region.clone() })
            .collect();
        for cell in cells {
            let cloud = (self.0.connect)(&cell, &intent);
            let amis = match cloud.images(self.0.clock.now()).await {
                Ok(amis) => amis,
                Err(error) => {
                    tracing::warn!(%cell, %error, "AMIs that were handed over cannot be looked for");
                    continue;
                }
            };
            for ami in amis.into_iter().filter(|ami| ami.state == AmiState::Available) {
                let tag = |key| ami.tags.get(key);
                if tag(tag_keys::ROLLOUT) != Some("wanted")
                    || tag(tag_keys::CONTROLLER) != Some(&intent.fleet.controller)
                {
                    continue;
                }
                let image = tag(tag_keys::IMAGE).and_then(|text| text.parse::<ImageName>().ok());
                let parent = tag(tag_keys::PARENT).and_then(|text| text.parse::<AmiId>().ok());
                if let (Some(image), Some(parent)) = (image, parent) {
                    self.take_one_over(&intent, &image, &ami.id, &parent).await;
                }
            }
        }
    }

    async fn take_one_over(&self, intent: &Intent, name: &ImageName, ami: &AmiId, parent: &AmiId) {
        let Some(image) = intent.images.get(name) else {
            return tracing::warn!(%ami, image = %name, "an AMI was handed over for an image that is not configured");
        };
        if self.at_work(name).is_some() || self.knows(ami) {
            return;
        }
        if image.ami.named() != Some(parent) {
            return tracing::warn!(%ami, %parent, image = %name, "an AMI was handed over that does not come from the image's present one; rebake it again");
        }
        let begun = match self.source(image, ami).await {
            Ok(source) => self.order(intent, name, RebakeKind::HandedOver, source, None, false),
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            tracing::warn!(%ami, image = %name, %error, "an AMI was handed over, and its proof cannot begin");
        }
    }

    /// Whether a rebake of this controller has taken an AMI over already, however that ended.
    fn knows(&self, ami: &AmiId) -> bool {
        let ids = self.0.journals.ids().unwrap_or_default();
        ids.iter().filter_map(|id| self.record(id).ok()).any(|(rebake, _)| rebake.order.candidate.as_ref() == Some(ami))
    }
}
