//! An AMI that is chosen by a filter when a launch is wanted.

use chrono::TimeDelta;
use latent::model::{FailureKind, InstanceId};
use latent::sim::{NewImage, Tags};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, morning, seconds};
use crate::setup::Setup;

/// Worker w1 on an image whose AMI is chosen so.
fn filtered(lines: &str) -> Setup {
    Setup::new().image_by("debian", "alice", "us-west-2", lines)
}

/// Makes an AMI in alice's account, so long ago.
fn make(lab: &Lab, name: &str, age: TimeDelta) -> String {
    let at = morning() - age;
    lab.world(|site| {
        let new = NewImage { name: name.to_owned(), tags: Tags::new(), ..NewImage::default() };
        site.register_image(new, "x86_64", "/dev/sda1", Vec::new(), at).expect("registers").id.clone()
    })
}

fn lab(lines: &str, names: &[(&str, i64)]) -> (Lab, Vec<String>) {
    let mut lab = Lab::without_controller(filtered(lines), morning());
    let made = names.iter().map(|(name, hours)| make(&lab, name, TimeDelta::hours(*hours))).collect();
    lab.start();
    (lab, made)
}

const NUMBERED: &str = "ami_owners = [\"self\"]\nami_location = '[0-9]+/worker-([0-9]+)$'";

#[tokio::test(start_paused = true)]
async fn the_ami_is_chosen_when_a_launch_is_wanted_and_kept_for_some_minutes() {
    let (mut lab, made) = lab(NUMBERED, &[("worker-9", 1), ("worker-10", 5), ("other-11", 1)]);
    lab.run(minutes(5)).await;
    assert_eq!(lab.calls(ApiCall::Images), images_of_sweeps(&lab), "nobody wants it");
    assert_eq!(lab.view("w1").ami, None, "it is not known yet");
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[1]), "10 is more than 9");
    let before = lab.calls(ApiCall::Images);
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.make_ready("w1").await;
    assert_eq!(lab.calls(ApiCall::Images), before, "the listing is good for some minutes");
    let newer = make(&lab, "worker-11", TimeDelta::zero());
    lab.run(minutes(6)).await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").ami, Some(newer), "without a change of the manifest");
}

/// What the sweeps of the controller asked for.
fn images_of_sweeps(lab: &Lab) -> usize {
    lab.calls(ApiCall::Addresses)
}

#[tokio::test(start_paused = true)]
async fn where_nothing_fits_the_request_fails_at_once_with_the_filter() {
    let (mut lab, _) = lab("ami_owners = [\"012345678901\"]", &[("worker-9", 1)]);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch owner must fix NoAmiFits"));
    let failure = lab.view("w1").failure.expect("a failure");
    assert!(failure.fatal && failure.message.contains("ami_owners = [\"012345678901\"]"), "{failure:?}");
    assert_eq!((lab.launched(), lab.calls(ApiCall::Launch)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_held_while_amis_cannot_be_listed_and_goes_on_when_they_can() {
    let (mut lab, made) = lab(NUMBERED, &[("worker-1", 1)]);
    lab.inject(ApiCall::Images, &Fault::Unreachable, 4);
    lab.request("w1");
    lab.run(seconds(3)).await;
    let held = lab.held("w1");
    assert!(held.starts_with("AMIs cannot be listed for ami_owners = [\"self\"], ami_location = "), "{held}");
    assert_eq!(lab.calls(ApiCall::Launch), 0);
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[0]));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_only_a_person_can_mend_answers_the_request() {
    let (mut lab, _) = lab(NUMBERED, &[("worker-1", 1)]);
    lab.inject(ApiCall::Images, &Fault::Refuse(FailureKind::Credentials, "UnauthorizedOperation"), 5);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch credentials UnauthorizedOperation"));
}

#[tokio::test(start_paused = true)]
async fn an_ami_that_is_gone_since_it_was_listed_is_chosen_anew() {
    let (mut lab, made) = lab(NUMBERED, &[("worker-1", 9), ("worker-2", 8)]);
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    let at = lab.now();
    lab.world(|site| site.deregister_image(&made[1], false, at).map(drop).expect("deregisters"));
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidAMIID.Unavailable"), 1);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch owner must fix InvalidAMIID.Unavailable"));
    lab.run(minutes(1)).await;
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[0]), "long before the old listing would have been too old");
}

/// A lab in which w1 had an instance of the one AMI, which is stopped; the listing is too old to go by.
async fn with_a_stopped_instance() -> (Lab, InstanceId) {
    let mut lab = Lab::without_controller(filtered(NUMBERED).policy("on_idle = \"stop\""), morning());
    make(&lab, "worker-1", TimeDelta::hours(1));
    lab.start();
    let first = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(10)).await;
    (lab, first)
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_started_unless_the_filter_chooses_a_newer_ami() {
    let (mut lab, first) = with_a_stopped_instance().await;
    assert_eq!(lab.make_ready("w1").await, first);
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    let newer = make(&lab, "worker-2", TimeDelta::zero());
    lab.run(minutes(10)).await;
    assert_eq!(lab.state("w1"), "stopped", "nothing is asked for while nobody wants it");
    lab.request("w1");
    lab.until(minutes(5), "the newer one", |lab| {
        lab.view("w1").ami.as_deref() == Some(newer.as_str()) && lab.state("w1") == "registering"
    })
    .await;
    assert_ne!(lab.instance("w1"), first);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_started_although_amis_cannot_be_listed() {
    let (mut lab, first) = with_a_stopped_instance().await;
    lab.inject(ApiCall::Images, &Fault::Unreachable, 50);
    assert_eq!(lab.make_ready("w1").await, first);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_came_after_the_listing_chooses_of_it_as_well() {
    let (mut lab, made) = lab(NUMBERED, &[("worker-9", 1), ("worker-10", 5), ("other-11", 9)]);
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[1]));
    lab.release("w1");
    lab.until_nothing_is_left().await;
    let listings = lab.calls(ApiCall::Images);
    lab.reconfigure(filtered("ami_owners = [\"self\"]\nami_location = '[0-9]+/other-'"));
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[2]), "it is shown at once");
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").ami.as_ref(), Some(&made[2]));
    assert_eq!(lab.calls(ApiCall::Images), listings, "of the listing that there was");
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_one_listing() {
    let setup = filtered(NUMBERED).image_by("fedora", "alice", "us-west-2", "ami_owners = [\"self\"]");
    let mut lab = Lab::without_controller(setup.worker("w2", "fedora"), morning());
    make(&lab, "worker-1", TimeDelta::hours(1));
    lab.start();
    lab.run(seconds(1)).await;
    lab.request("w1");
    lab.request("w2");
    lab.until(minutes(1), "both", |lab| ["w1", "w2"].iter().all(|name| lab.state(name) == "registering")).await;
    assert_eq!(lab.calls(ApiCall::Images), 1);
}
