//! The checks of AMIs and their snapshots, as a rebake makes and retires them.

use std::collections::BTreeSet;

use latent::cloud::Cloud;
use latent::model::{Ami, AmiId, AmiState, FailureKind, InstanceId, InstanceState, StopMode, TagSet, tag_keys};

use super::{Checked, FLEET, Ground, done, refused, same};

fn baked(fleet: &str, attempt: &str) -> TagSet {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, fleet).set(tag_keys::CONTROLLER, "tests").set(tag_keys::ATTEMPT, attempt);
    tags
}

/// A stopped instance, as a rebake leaves its builder.
pub(super) async fn builder<C: Cloud>(ground: &Ground<C>, attempt: &str) -> Result<InstanceId, String> {
    let id = ground.launched(attempt).await?;
    ground.becomes(&id, InstanceState::Running).await?;
    done("stop", ground.cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    Ok(id)
}

pub(super) async fn image_of<C: Cloud>(
    ground: &Ground<C>,
    of: &InstanceId,
    name: &str,
    fleet: &str,
) -> Result<AmiId, String> {
    done("create", ground.cloud.create_image(of, name, &baked(fleet, name)).await)
}

pub(super) async fn image<C: Cloud>(ground: &Ground<C>, name: &str, fleet: &str) -> Result<AmiId, String> {
    image_of(ground, &builder(ground, name).await?, name, fleet).await
}

async fn listed<C: Cloud>(ground: &Ground<C>, id: &AmiId) -> Result<Option<Ami>, String> {
    let all = done("images", ground.cloud.images(ground.clock.now()).await)?;
    Ok(all.into_iter().find(|ami| ami.id == *id))
}

pub(super) async fn available<C: Cloud>(ground: &Ground<C>, id: &AmiId) -> Result<Ami, String> {
    for _ in 0..900 {
        match listed(ground, id).await? {
            Some(ami) if ami.state == AmiState::Available => return Ok(ami),
            Some(_) => ground.pause().await,
            None => return Err(format!("{id} is not listed")),
        }
    }
    Err(format!("{id} does not become available"))
}

pub(super) async fn an_image_and_its_snapshots_have_their_tags_from_birth<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = image(ground, "image-1", FLEET).await?;
    let ami = available(ground, &id).await?;
    same("the name", &ami.name.as_str(), &"image-1")?;
    same("the attempt of the image", &ami.tags.get(tag_keys::ATTEMPT), &Some("image-1"))?;
    let mut sought: BTreeSet<String> = ami.snapshots.iter().map(ToString::to_string).collect();
    same("whether it is without a snapshot", &sought.is_empty(), &false)?;
    for (snapshot, tags) in ground.probe.snapshots().await? {
        if sought.remove(&snapshot) {
            same("the attempt of a snapshot", &tags.get(tag_keys::ATTEMPT), &Some("image-1"))?;
        }
    }
    same("the snapshots that are not there", &sought, &BTreeSet::new())
}

pub(super) async fn one_name_gives_one_image<C: Cloud>(ground: &Ground<C>) -> Checked {
    let of = builder(ground, "image-2").await?;
    let first = image_of(ground, &of, "image-2", FLEET).await?;
    same("the image of the same name", &image_of(ground, &of, "image-2", FLEET).await?, &first)
}

pub(super) async fn a_name_that_another_has_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let of = builder(ground, "image-3").await?;
    image_of(ground, &of, "image-3", "another").await?;
    let ours = ground.cloud.create_image(&of, "image-3", &baked(FLEET, "image-3")).await;
    refused("the same name", ours, FailureKind::Owner)
}

pub(super) async fn an_image_is_pending_before_it_is_available<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = image(ground, "image-4", FLEET).await?;
    same("the state", &listed(ground, &id).await?.map(|ami| ami.state), &Some(AmiState::Pending))?;
    available(ground, &id).await.map(drop)
}

pub(super) async fn images_are_those_of_this_fleet<C: Cloud>(ground: &Ground<C>) -> Checked {
    let of = builder(ground, "image-5").await?;
    let ours = image_of(ground, &of, "image-5", FLEET).await?;
    let theirs = image_of(ground, &of, "image-6", "another").await?;
    let shown = (listed(ground, &ours).await?.is_some(), listed(ground, &theirs).await?.is_some());
    same("whether ours and theirs are listed", &shown, &(true, false))
}

pub(super) async fn a_retired_image_leaves_no_snapshot<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = image(ground, "image-7", FLEET).await?;
    let ami = available(ground, &id).await?;
    for _ in 0..2 {
        done("retire", ground.cloud.retire_image(&id).await)?;
    }
    let trace = listed(ground, &id).await?.is_none_or(|ami| ami.state == AmiState::Deregistered);
    same("whether it is gone", &trace, &true)?;
    let snapshots = ground.probe.snapshots().await?;
    let left = snapshots.iter().filter(|(id, _)| ami.snapshots.iter().any(|own| own.as_str() == id)).count();
    same("how many of its snapshots are left", &left, &0)
}

pub(super) async fn an_image_of_others_is_not_retired<C: Cloud>(ground: &Ground<C>) -> Checked {
    let theirs = image(ground, "image-8", "another").await?;
    refused("its retirement", ground.cloud.retire_image(&theirs).await, FailureKind::Owner)
}

pub(super) async fn an_image_that_never_was_is_retired_already<C: Cloud>(ground: &Ground<C>) -> Checked {
    let nobody: AmiId = "ami-0123456789abcdef0".parse().expect("an AMI");
    done("retire", ground.cloud.retire_image(&nobody).await)
}
