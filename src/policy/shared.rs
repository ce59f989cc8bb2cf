//! One text of user data for all instances of a launch call: each finds its own worker by its launch index.

use super::image::Image;
use super::intent::{Intent, WorkerIntent, merged};
use super::join::JoinKey;
use super::secret::Secret;
use super::user_data::{self, Member, Names, UserData, Whose};
use crate::model::{AttemptId, WorkerName};

/// Workers whose instances may have one text.
#[derive(Debug)]
pub struct Shared<'a> {
    intent: &'a Intent,
    image: &'a Image,
    first: &'a WorkerIntent,
    template: &'a Secret,
    members: Vec<(&'a WorkerName, Option<&'a Secret>)>,
}

impl<'a> Shared<'a> {
    /// These workers, in the order of their launch indices; `None` if not all of them have the same image, or it
    /// has no text for several.
    pub fn of(intent: &'a Intent, workers: &'a [WorkerName]) -> Option<Self> {
        let configured = |name: &'a WorkerName| intent.workers.get(name);
        let first = configured(workers.first()?)?;
        let template = first.user_data.as_ref()?.shared.as_deref()?;
        let members = workers.iter().map(|name| {
            let worker = configured(name).filter(|worker| worker.image == first.image)?;
            Some((name, worker.user_data.as_ref()?.password.as_ref()))
        });
        let members = members.collect::<Option<Vec<_>>>()?;
        Some(Self { intent, image: intent.images.get(&first.image)?, first, template, members })
    }

    /// Their text in one attempt, the lease watch with it.
    ///
    /// # Errors
    /// Says what is wrong, for instance that it is longer than EC2 takes.
    pub fn user_data(&self, key: Option<&JoinKey>, attempt: &AttemptId) -> Result<UserData, String> {
        let secrets: Vec<Secret> = self
            .members
            .iter()
            .map(|(name, _)| key.map_or_else(|| Secret::new(String::new()), |key| key.secret(name, attempt)))
            .collect();
        let members = self.members.iter().zip(&secrets).map(|((worker, password), secret)| Member {
            worker,
            password: *password,
            join_secret: secret.reveal(),
        });
        let names = Names {
            fleet: &self.intent.fleet.name,
            owner: &self.first.cell.owner,
            image: &self.first.image,
            master: self.intent.fleet.master.as_deref(),
            whose: Whose::Each(members.collect()),
        };
        let text = user_data::render(self.template.reveal(), &names)?;
        let data = merged(self.image, &self.first.policy, Some(text)).map_err(|(why, _)| why)?;
        data.ok_or_else(|| "there is none".to_owned())
    }
}
