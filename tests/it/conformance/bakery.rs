//! The checks of what a rebake alone asks: its fence, what becomes of an AMI, and who uses one.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use latent::cloud::Bakery;
use latent::model::{
    Ami, AmiId, AmiState, Egress, FailureKind, Fence, GroupId, InstanceId, InstanceState, Place, Rehearsal, StopMode,
    TagSet, tag_keys,
};

use super::images::{available, builder, image, image_of};
use super::{Checked, FLEET, Ground, done, refused, same};

fn of_a_builder(fleet: &str) -> TagSet {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, fleet).set(tag_keys::CONTROLLER, "tests").set(tag_keys::ROLE, "rebake");
    tags
}

fn out(protocol: &str, port: u16) -> Egress {
    Egress { protocol: protocol.to_owned(), from: port, to: port }
}

fn fence(name: &str) -> Fence {
    let egress = vec![out("tcp", 443), out("tcp", 80), out("udp", 53)];
    Fence { name: name.to_owned(), place: Place::Anywhere, egress, tags: of_a_builder(FLEET) }
}

/// What a fence of [`fence`] lets through.
fn let_through() -> BTreeSet<String> {
    let ports = ["tcp 443", "tcp 80", "udp 53"];
    ports.iter().flat_map(|port| [format!("out {port} 0.0.0.0/0"), format!("out {port} ::/0")]).collect()
}

async fn stands<C: Bakery>(ground: &Ground<C>, fence: &Fence, id: &GroupId) -> Checked {
    same("the group of the same name", &done("fence", ground.cloud.fence(fence).await)?, id)?;
    let rules: BTreeSet<String> = ground.probe.rules(id.as_str()).await?.into_iter().collect();
    same("what it lets through", &rules, &let_through())
}

pub(super) async fn a_fence_lets_nothing_in_and_out_what_it_says<C: Bakery>(ground: &Ground<C>) -> Checked {
    let fence = fence("fence-1");
    let id = done("fence", ground.cloud.fence(&fence).await)?;
    stands(ground, &fence, &id).await?;
    let all = done("fences", ground.cloud.fences().await)?;
    let tags = all.into_iter().find(|(group, _)| *group == id).map(|(_, tags)| tags);
    same("its tags from birth", &tags, &Some(fence.tags))
}

pub(super) async fn a_fence_that_somebody_opened_is_put_right<C: Bakery>(ground: &Ground<C>) -> Checked {
    let fence = fence("fence-2");
    let id = done("fence", ground.cloud.fence(&fence).await)?;
    ground.probe.open(id.as_str()).await?;
    let opened: BTreeSet<String> = ground.probe.rules(id.as_str()).await?.into_iter().collect();
    same("whether it was opened", &opened.iter().any(|rule| rule.starts_with("in ")), &true)?;
    stands(ground, &fence, &id).await
}

pub(super) async fn a_group_of_others_is_no_fence_of_ours<C: Bakery>(ground: &Ground<C>) -> Checked {
    for (name, tags) in [("fence-3", of_a_builder("another")), ("fence-4", TagSet::default())] {
        let theirs: GroupId = ground.probe.group(name, &tags).await?.parse().map_err(|error| format!("{error}"))?;
        refused("the same name", ground.cloud.fence(&fence(name)).await, FailureKind::Owner)?;
        refused("its end", ground.cloud.unfence(&theirs).await, FailureKind::Owner)?;
        let all = done("fences", ground.cloud.fences().await)?;
        same("whether it is listed", &all.iter().any(|(group, _)| *group == theirs), &false)?;
        same("how many rules it has", &ground.probe.rules(theirs.as_str()).await?.len(), &1)?;
    }
    Ok(())
}

pub(super) async fn a_group_in_another_role_is_no_fence<C: Bakery>(ground: &Ground<C>) -> Checked {
    let mut tags = of_a_builder(FLEET);
    tags.set(tag_keys::ROLE, "worker");
    let id = ground.probe.group("fence-5", &tags).await?;
    let all = done("fences", ground.cloud.fences().await)?;
    same("whether it is listed", &all.iter().any(|(group, _)| group.as_str() == id), &false)
}

pub(super) async fn a_fence_stays_as_long_as_its_builder<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = done("fence", ground.cloud.fence(&fence("fence-6")).await)?;
    let mut spec = ground.spec("fence-6");
    spec.security_groups = vec![id.to_string()];
    let builder = done("launch", ground.launch(&spec).await)?;
    ground.becomes(&builder, InstanceState::Running).await?;
    refused("its end", ground.cloud.unfence(&id).await, FailureKind::RetrySame)?;
    done("terminate", ground.cloud.terminate(&builder).await)?;
    ground.becomes(&builder, InstanceState::Terminated).await?;
    goes(ground, &id).await
}

async fn goes<C: Bakery>(ground: &Ground<C>, id: &GroupId) -> Checked {
    done("unfence", ground.cloud.unfence(id).await)?;
    let all = done("fences", ground.cloud.fences().await)?;
    same("whether it is listed", &all.iter().any(|(group, _)| group == id), &false)?;
    done("unfence what is gone", ground.cloud.unfence(id).await)
}

pub(super) async fn a_fence_goes_and_may_go_twice<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = done("fence", ground.cloud.fence(&fence("fence-7")).await)?;
    goes(ground, &id).await
}

pub(super) async fn a_fence_stands_in_the_vpc_of_its_subnet<C: Bakery>(ground: &Ground<C>) -> Checked {
    let mut fence = fence("fence-8");
    fence.place = Place::Subnet("subnet-0123456789abcdef0".to_owned());
    refused("a fence in no subnet", ground.cloud.fence(&fence).await, FailureKind::Owner)?;
    fence.place = Place::Subnet(ground.probe.subnet().await?);
    let id = done("fence", ground.cloud.fence(&fence).await)?;
    stands(ground, &fence, &id).await
}

pub(super) async fn a_source_is_told_and_what_never_was_is_none<C: Bakery>(ground: &Ground<C>) -> Checked {
    let ami: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    let source = done("source", ground.cloud.source(&ami).await)?.ok_or("it is not told")?;
    let whose = (source.id, source.account.as_str(), source.ours);
    same("what it is and whose", &whose, &(ami, ground.account, true))?;
    let is = (source.state, source.windows, source.name.as_str(), source.deprecated);
    same("how it is", &is, &(AmiState::Available, false, "worker", None))?;
    let root = source.disks.iter().find(|disk| Some(&disk.device) == source.root_device.as_ref());
    same("the size of its root disk", &root.and_then(|disk| disk.size_gib), &Some(8))?;
    let nobody: AmiId = "ami-0123456789abcdef0".parse().expect("an AMI");
    same("what never was", &done("source", ground.cloud.source(&nobody).await)?.is_none(), &true)
}

async fn state<C: Bakery>(ground: &Ground<C>, id: &AmiId) -> Result<Option<AmiState>, String> {
    Ok(done("source", ground.cloud.source(id).await)?.map(|source| source.state))
}

async fn baked<C: Bakery>(ground: &Ground<C>, name: &str) -> Result<AmiId, String> {
    let id = image(ground, name, FLEET).await?;
    available(ground, &id).await?;
    Ok(id)
}

pub(super) async fn an_image_is_announced_to_go_and_taken_back<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = baked(ground, "bakery-1").await?;
    let at = ground.clock.now() + TimeDelta::days(2);
    for (asked, expected) in [(Some(at), Some(true)), (Some(at), Some(true)), (None, None), (None, None)] {
        done("deprecate", ground.cloud.deprecate(&id, asked).await)?;
        let told = done("source", ground.cloud.source(&id).await)?.and_then(|source| source.deprecated);
        same("whether its time is told", &told.map(|told| (told - at).abs() <= TimeDelta::minutes(1)), &expected)?;
    }
    let past = ground.clock.now() - TimeDelta::days(2);
    refused("a time that has passed", ground.cloud.deprecate(&id, Some(past)).await, FailureKind::Owner)
}

pub(super) async fn an_image_is_put_away_and_taken_back<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = baked(ground, "bakery-2").await?;
    let mut spec = ground.spec("bakery-2-again");
    spec.ami = id.clone();
    for _ in 0..2 {
        done("put away", ground.cloud.put_away(&id, true).await)?;
        same("its state", &state(ground, &id).await?, &Some(AmiState::Disabled))?;
        refused("a launch", ground.launch(&spec).await, FailureKind::Owner)?;
    }
    for _ in 0..2 {
        done("take back", ground.cloud.put_away(&id, false).await)?;
        same("its state", &state(ground, &id).await?, &Some(AmiState::Available))?;
    }
    done("launch", ground.launch(&spec).await).map(drop)
}

pub(super) async fn an_image_is_tagged_and_keeps_its_other_tags<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = baked(ground, "bakery-3").await?;
    let mut tags = TagSet::default();
    tags.set(tag_keys::ROLLOUT, "promoted");
    done("tag", ground.cloud.tag_image(&id, &tags).await)?;
    let source = done("source", ground.cloud.source(&id).await)?.ok_or("it is not told")?;
    let found = (source.tags.get(tag_keys::ROLLOUT), source.tags.get(tag_keys::FLEET));
    same("its tags", &found, &(Some("promoted"), Some(FLEET)))
}

/// All three ways to change an AMI are refused so.
async fn unchangeable<C: Bakery>(ground: &Ground<C>, id: &AmiId, kind: FailureKind) -> Checked {
    let at = ground.clock.now() + TimeDelta::days(2);
    refused("its deprecation", ground.cloud.deprecate(id, Some(at)).await, kind)?;
    refused("to put it away", ground.cloud.put_away(id, true).await, kind)?;
    refused("a tag", ground.cloud.tag_image(id, &of_a_builder(FLEET)).await, kind)
}

pub(super) async fn an_image_of_others_is_not_changed<C: Bakery>(ground: &Ground<C>) -> Checked {
    let theirs: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    unchangeable(ground, &theirs, FailureKind::Owner).await?;
    let source = done("source", ground.cloud.source(&theirs).await)?.ok_or("it is not told")?;
    let found = (source.state, source.deprecated, source.tags.get(tag_keys::FLEET).is_some());
    same("how it is", &found, &(AmiState::Available, None, false))
}

pub(super) async fn an_image_that_is_gone_is_not_found<C: Bakery>(ground: &Ground<C>) -> Checked {
    let nobody: AmiId = "ami-0123456789abcdef0".parse().expect("an AMI");
    unchangeable(ground, &nobody, FailureKind::NotFound).await
}

async fn uses<C: Bakery>(ground: &Ground<C>, id: &AmiId, of: &str) -> Result<Vec<String>, String> {
    let mut all = done("uses", ground.cloud.uses(id).await)?;
    all.retain(|one| one.contains(of));
    Ok(all)
}

async fn used<C: Bakery>(ground: &Ground<C>, id: &AmiId, instance: &InstanceId, state: &str) -> Checked {
    let expected = vec![format!("instance {instance} ({state})")];
    same("who uses it", &uses(ground, id, instance.as_str()).await?, &expected)
}

pub(super) async fn an_image_is_used_by_its_instances_until_they_have_ended<C: Bakery>(ground: &Ground<C>) -> Checked {
    let ami: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    let id = ground.launched("bakery-4").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    used(ground, &ami, &id, "running").await?;
    done("stop", ground.cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    used(ground, &ami, &id, "stopped").await?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    same("who uses it", &uses(ground, &ami, id.as_str()).await?, &Vec::new())
}

pub(super) async fn an_image_is_used_by_any_version_of_a_template<C: Bakery>(ground: &Ground<C>) -> Checked {
    let ami: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    let template = ground.probe.template("bakery-5", &["ami-0123456789abcdef0", &ground.ami, "ami-1"]).await?;
    let expected = vec![format!("launch template {template} version 2")];
    same("who uses it", &uses(ground, &ami, &template).await?, &expected)
}

pub(super) async fn a_template_that_names_a_parameter_may_use_any_image<C: Bakery>(ground: &Ground<C>) -> Checked {
    let ami: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    let public = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let template = ground.probe.template("bakery-6", &[public, "resolve:ssm:/ours/worker"]).await?;
    let expected = vec![format!("launch template {template} version 2")];
    same("who uses it", &uses(ground, &ami, &template).await?, &expected)
}

pub(super) async fn a_snapshot_of_two_images_goes_with_the_second<C: Bakery>(ground: &Ground<C>) -> Checked {
    let id = image_of(ground, &builder(ground, "bakery-7").await?, "bakery-7", FLEET).await?;
    let Ami { snapshots, .. } = available(ground, &id).await?;
    let snapshot = snapshots.first().ok_or("it has no snapshot")?;
    let second = ground.probe.register("bakery-8", snapshot.as_str(), &of_a_builder(FLEET)).await?;
    let second: AmiId = second.parse().map_err(|error| format!("{error}"))?;
    for (retired, left) in [(&id, 1), (&id, 1), (&second, 0)] {
        done("retire", ground.cloud.retire_image(retired).await)?;
        let there = ground.probe.snapshots().await?;
        same("how many are left", &there.iter().filter(|(id, _)| id == snapshot.as_str()).count(), &left)?;
    }
    Ok(())
}

pub(super) async fn a_rehearsal_tells_what_would_be_refused_and_does_nothing<C: Bakery>(ground: &Ground<C>) -> Checked {
    let source: AmiId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    let mut spec = ground.spec("bakery-9");
    let good = Rehearsal { launch: Box::new(spec.clone()), source: source.clone() };
    let answers = ground.cloud.rehearse(&good).await;
    let refusals: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    same("what would be refused", &refusals, &Vec::new())?;
    for action in ["ec2:RunInstances", "ec2:CreateSecurityGroup", "ec2:DescribeImageReferences"] {
        same(action, &answers.iter().filter(|(tried, _)| *tried == action).count(), &1)?;
    }
    spec.key_pair = Some("nobody".to_owned());
    let bad = ground.cloud.rehearse(&Rehearsal { launch: Box::new(spec), source }).await;
    let refusals = bad.iter().filter_map(|(action, answer)| Some((*action, answer.as_ref().err()?.kind)));
    same("what would be refused", &refusals.collect(), &vec![("ec2:RunInstances", FailureKind::Owner)])?;
    let listing = done("listing", ground.cloud.inventory(ground.clock.now(), &[]).await)?;
    let launched = listing.instances.values().any(|i| i.tags.get(tag_keys::ATTEMPT) == Some("bakery-9"));
    same("whether it was launched all the same", &launched, &false)
}
