//! The disks of AMIs, which are asked for once, and those of several AMIs in one call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_ec2::types::Filter;
use tokio::sync::Mutex as AsyncMutex;

use super::connect::Clients;
use super::{FILTER_VALUES, convert, error};
use crate::cloud::CloudError;
use crate::model::{AmiId, BlockDevice};

/// What is known of AMIs, which never change their disks.
#[derive(Debug, Default)]
pub(super) struct Devices {
    known: Mutex<BTreeMap<AmiId, Vec<BlockDevice>>>,
    /// What somebody waits for.
    wanted: Mutex<BTreeSet<AmiId>>,
    /// Held by whoever asks; the others find the answer when it is theirs.
    asking: AsyncMutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Devices {
    /// The disks of an AMI that would outlive their instance; `None` if there is no such AMI.
    pub(super) async fn of(&self, clients: &Clients, ami: &AmiId) -> Result<Option<Vec<BlockDevice>>, CloudError> {
        if let Some(devices) = self.known(ami) {
            return Ok(Some(devices));
        }
        lock(&self.wanted).insert(ami.clone());
        let _asking = self.asking.lock().await;
        if let Some(devices) = self.known(ami) {
            return Ok(Some(devices));
        }
        let mut wanted: BTreeSet<AmiId> = std::mem::take(&mut *lock(&self.wanted));
        wanted.insert(ami.clone());
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        for some in wanted.chunks(FILTER_VALUES) {
            self.ask(clients, some).await?;
        }
        Ok(self.known(ami))
    }

    /// Asks for those of which nothing is known yet.
    pub(super) async fn prepare(&self, clients: &Clients, amis: &BTreeSet<AmiId>) -> Result<(), CloudError> {
        let _asking = self.asking.lock().await;
        let unknown = amis.iter().filter(|ami| self.known(ami).is_none());
        let unknown: Vec<String> = unknown.map(ToString::to_string).collect();
        for some in unknown.chunks(FILTER_VALUES) {
            self.ask(clients, some).await?;
        }
        Ok(())
    }

    fn known(&self, ami: &AmiId) -> Option<Vec<BlockDevice>> {
        lock(&self.known).get(ami).cloned()
    }

    async fn ask(&self, clients: &Clients, amis: &[String]) -> Result<(), CloudError> {
        // A filter, not a list of ids: an id that EC2 does not know fails a whole call that names it.
        let by_id = Filter::builder().name("image-id").set_values(Some(amis.to_vec())).build();
        let call = clients.reads.describe_images().filters(by_id).include_deprecated(true).include_disabled(true);
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        let mut known = lock(&self.known);
        for image in answer.images() {
            if let Some(id) = image.image_id().and_then(|id| id.parse().ok()) {
                known.insert(id, convert::lasting_devices(image));
            }
        }
        Ok(())
    }
}
