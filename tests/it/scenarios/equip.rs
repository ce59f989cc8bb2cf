//! What a running instance is given: an elastic IP address and volumes of its owner's.

use latent::model::{Body, FailureKind, InstanceId, InstanceState, VolumeId};
use latent::sim::{Tags, Volume};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

/// A volume of the owner's in a zone, which carries no tag of ours.
fn volume(lab: &Lab, zone: &str) -> String {
    let new = Volume::lone(zone, 50, Tags::new(), lab.now());
    lab.world(|site| site.create_volume(new).expect("there is room").id.clone())
}

/// An elastic IP address of the owner's: its allocation and itself.
fn address(lab: &Lab) -> (String, String) {
    lab.world(|site| {
        let address = site.allocate_address(Tags::new()).expect("there is room");
        (address.id.clone(), address.ip.clone())
    })
}

/// Who has a volume.
fn holder(lab: &Lab, id: &str) -> Option<String> {
    lab.world(|site| site.volume(id).expect("it is there").attachment.as_ref().map(|at| at.instance.clone()))
}

/// Who has an address.
fn associated(lab: &Lab, id: &str) -> Option<InstanceId> {
    lab.world(|site| site.address(id).expect("it is there").association.as_ref().map(|(_, id)| id.clone()))
}

fn setup(lines: &str) -> Setup {
    let lines = format!("zones = [\"us-west-2a\"]\n{lines}");
    Setup::new().image("debian", "alice", "us-west-2", &lines)
}

fn with_volume(id: &str) -> Setup {
    setup(&format!("volumes = [{{ id = \"{id}\", device = \"/dev/sdf\" }}]"))
}

/// A controller whose image is known only when the world is.
fn begin(make: impl FnOnce(&Lab) -> Setup) -> Lab {
    let mut lab = Lab::without_controller(Setup::new(), crate::harness::morning());
    lab.setup = make(&lab);
    lab.start();
    lab
}

/// The same with an image that names a volume of the owner's; and that volume.
fn begin_with_volume(policy: &str) -> (Lab, String) {
    let mut id = String::new();
    let lab = begin(|lab| {
        id = volume(lab, "us-west-2a");
        with_volume(&id).policy(policy)
    });
    (lab, id)
}

/// The same with a volume and an address; and these.
fn begin_with_both() -> (Lab, String, (String, String)) {
    let (mut id, mut eip) = (String::new(), (String::new(), String::new()));
    let lab = begin(|lab| {
        (id, eip) = (volume(lab, "us-west-2a"), address(lab));
        setup(&format!("elastic_ip = \"{}\"\nvolumes = [{{ id = \"{id}\", device = \"/dev/sdf\" }}]", eip.1))
    });
    (lab, id, eip)
}

async fn running(lab: &mut Lab, name: &str) -> InstanceId {
    lab.request(name);
    lab.until_state(name, "registering").await;
    lab.instance(name)
}

fn intents(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::EquipIntended { .. }))
}

fn refusals(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::EquipRefused { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_running_instance_is_given_its_address_and_its_volumes_once() {
    let (mut lab, id, eip) = begin_with_both();
    let instance = running(&mut lab, "w1").await;
    assert_eq!(intents(&lab), 0, "not before it runs");
    lab.until(minutes(1), "both", |lab| {
        holder(lab, &id).as_deref() == Some(instance.as_str()) && associated(lab, &eip.0).as_ref() == Some(&instance)
    })
    .await;
    lab.connect("w1");
    lab.run(minutes(3)).await;
    assert_eq!(
        (intents(&lab), refusals(&lab), lab.calls(ApiCall::Attach), lab.calls(ApiCall::Associate)),
        (2, 0, 1, 1)
    );
    assert!(lab.view("w1").addresses.contains(&eip.1));
    assert!(lab.world(|site| !site.volume(&id).expect("there").attachment.as_ref().expect("at").delete_on_termination));
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert_eq!((holder(&lab, &id), associated(&lab, &eip.0)), (None, None), "both are free again, and still there");
    lab.run(minutes(90)).await;
    assert!(lab.controller().cells().iter().all(|cell| cell.leftovers.is_empty()), "and no sweep counts them");
    assert!(lab.world(|site| site.volume(&id).is_ok() && site.address(&eip.0).is_ok()));
}

#[tokio::test(start_paused = true)]
async fn an_address_may_be_named_by_its_allocation_and_survives_a_stop_and_a_start() {
    let mut eip = (String::new(), String::new());
    let mut lab = begin(|lab| {
        eip = address(lab);
        setup(&format!("elastic_ip = \"{}\"", eip.0)).policy("on_idle = \"stop\"")
    });
    let instance = lab.make_ready("w1").await;
    lab.until(minutes(1), "its address", |lab| associated(lab, &eip.0).as_ref() == Some(&instance)).await;
    lab.run(minutes(2)).await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(lab.make_ready("w1").await, instance);
    lab.run(minutes(2)).await;
    assert_eq!((lab.calls(ApiCall::Associate), refusals(&lab)), (1, 0));
    assert!(lab.view("w1").addresses.contains(&eip.1));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_takes_away_is_given_again() {
    let (mut lab, id) = begin_with_volume("");
    let instance = lab.make_ready("w1").await;
    lab.until(minutes(1), "its volume", |lab| holder(lab, &id).is_some()).await;
    lab.run(minutes(1)).await;
    lab.world(|site| site.detach_volume(&id).map(drop).expect("it was attached"));
    lab.until(minutes(3), "it again", |lab| holder(lab, &id).as_deref() == Some(instance.as_str())).await;
    lab.build("w1", Some("builder/1"));
    lab.run(minutes(60)).await;
    lab.world(|site| site.detach_volume(&id).map(drop).expect("it was attached"));
    lab.until(minutes(3), "long after", |lab| holder(lab, &id).as_deref() == Some(instance.as_str())).await;
    assert_eq!((lab.state("w1").as_str(), lab.failure("w1")), ("busy", None));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_connects_before_its_instance_is_seen_running_is_equipped_soon() {
    let (mut lab, id) = begin_with_volume("");
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.connect("w1");
    lab.until(seconds(20), "its volume", |lab| holder(lab, &id).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_another_has_is_never_taken_and_the_attempt_fails_with_the_cure() {
    let (mut lab, id) = begin_with_volume("connect_deadline = \"5m\"");
    let other = lab.stranger("us-west-2a");
    lab.run(minutes(2)).await;
    let at = lab.now();
    lab.world(|site| site.attach_volume(&id, &other, "/dev/sdf", at).map(drop).expect("attaches"));
    let instance = running(&mut lab, "w1").await;
    lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("equip owner must fix VolumeInUse"));
    let failure = lab.view("w1").failure.expect("a failure");
    assert!(
        failure.message.contains("was not given volume") && failure.message.contains(other.as_str()),
        "{failure:?}"
    );
    assert!(failure.message.contains("never taken from there"), "{failure:?}");
    let sent = lab.calls(ApiCall::Attach);
    assert!((4..=20).contains(&sent), "refusals back off: {sent}");
    assert_eq!(intents(&lab), sent, "each intended first");
    lab.until(minutes(5), "gone", |lab| lab.instance_state(&instance) == InstanceState::Terminated).await;
    assert_eq!(holder(&lab, &id), Some(other.to_string()));
}

#[tokio::test(start_paused = true)]
async fn what_a_former_instance_of_ours_still_has_is_waited_for() {
    let (mut lab, id, eip) = begin_with_both();
    let first = lab.make_ready("w1").await;
    lab.until(minutes(1), "both", |lab| holder(lab, &id).is_some() && associated(lab, &eip.0).is_some()).await;
    lab.run(minutes(1)).await;
    lab.release("w1");
    lab.until(minutes(1), "ending", |lab| lab.instance_state(&first) == InstanceState::ShuttingDown).await;
    let second = lab.make_ready("w1").await;
    lab.until(minutes(3), "both again", |lab| {
        holder(lab, &id).as_deref() == Some(second.as_str()) && associated(lab, &eip.0).as_ref() == Some(&second)
    })
    .await;
    assert_eq!((lab.calls(ApiCall::Attach), lab.calls(ApiCall::Associate)), (2, 2), "neither was asked for too early");
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_another_zone_or_none_at_all_fails_the_attempt_with_ec2s_code() {
    for (make, code) in [(Some("us-west-2b"), "InvalidVolume.ZoneMismatch"), (None, "InvalidVolume.NotFound")] {
        let mut lab = begin(|lab| {
            let id = make.map_or_else(|| "vol-0123456789abcdef0".to_owned(), |zone| volume(lab, zone));
            with_volume(&id).policy("connect_deadline = \"3m\"\nretry_pause = \"30m\"")
        });
        let instance = running(&mut lab, "w1").await;
        lab.run(minutes(1)).await;
        assert!(
            lab.held("w1").starts_with("waiting for volume vol-") && lab.held("w1").contains(code),
            "{}",
            lab.held("w1")
        );
        lab.until(minutes(3), "an answer", |lab| lab.failure("w1").is_some()).await;
        assert_eq!(lab.failure("w1"), Some(format!("equip owner must fix {code}")));
        lab.until_nothing_is_left().await;
        assert_eq!(lab.instance_state(&instance), InstanceState::Terminated);
        lab.request("w1");
        lab.run(seconds(5)).await;
        assert_eq!(lab.launched(), 1, "the next request is answered from memory");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connected_worker_without_its_volume_is_let_finish_and_taken_away() {
    let mut lab = begin(|_| with_volume("vol-0123456789abcdef0").policy("connect_deadline = \"3m\""));
    let instance = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.until(minutes(5), "an order", |lab| lab.view("w1").order.is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("equip owner must fix InvalidVolume.NotFound"));
    lab.run(minutes(5)).await;
    assert_eq!(lab.instance_state(&instance), InstanceState::Running, "its build goes on");
    lab.build("w1", None);
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_missing_or_anothers_fails_the_attempt() {
    let mut lab = begin(|_| setup("elastic_ip = \"203.0.113.9\"").policy("connect_deadline = \"2m\""));
    running(&mut lab, "w1").await;
    lab.until(minutes(4), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("equip owner must fix InvalidAddress.NotFound"));
    assert_eq!(lab.calls(ApiCall::Associate), 0, "there is nothing to associate");
    let message = lab.view("w1").failure.expect("a failure").message;
    assert!(message.contains("correct elastic_ip in the manifest"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_or_a_crash_gives_nothing_twice() {
    for fault in [Fault::LoseReply, Fault::Hang, Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded")] {
        let (mut lab, id) = begin_with_volume("");
        lab.inject(ApiCall::Attach, &fault, 1);
        let instance = running(&mut lab, "w1").await;
        lab.until(minutes(1), "a call", |lab| lab.calls(ApiCall::Attach) > 0).await;
        lab.crash_and_start().await;
        lab.until(minutes(3), "its volume", |lab| holder(lab, &id).as_deref() == Some(instance.as_str())).await;
        lab.connect("w1");
        lab.run(minutes(5)).await;
        assert_eq!((lab.state("w1").as_str(), lab.failure("w1")), ("ready", None), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_adopted_by_its_tags_is_given_what_the_manifest_says() {
    let (mut lab, id) = begin_with_volume("");
    let instance = lab.make_ready("w1").await;
    lab.until(minutes(1), "its volume", |lab| holder(lab, &id).is_some()).await;
    lab.crash().await;
    lab.lose_ledger();
    lab.world(|site| site.detach_volume(&id).map(drop).expect("it was attached"));
    lab.start();
    lab.until(minutes(2), "it again", |lab| holder(lab, &id).as_deref() == Some(instance.as_str())).await;
}

#[tokio::test(start_paused = true)]
async fn what_changed_in_the_manifest_is_drift_for_a_stopped_instance() {
    let changes = [
        "elastic_ip = \"203.0.113.9\"",
        "volumes = [{ id = \"vol-1\", device = \"/dev/sdf\" }]",
        "security_group_names = [\"default\"]",
        "block_devices = [{ device = \"/dev/sdf\", size_gib = 8, delete_on_termination = false }]",
        "block_devices = [{ device = \"/dev/sdf\", no_device = true }]",
    ];
    for change in changes {
        let mut lab = Lab::new(setup("").policy("on_idle = \"stop\""));
        let instance = lab.make_ready("w1").await;
        lab.release("w1");
        lab.until_state("w1", "stopped").await;
        lab.reconfigure(setup("").policy("on_idle = \"stop\""));
        lab.run(minutes(2)).await;
        assert_eq!(lab.state("w1"), "stopped", "nothing has changed");
        lab.reconfigure(setup(change).policy("on_idle = \"stop\""));
        lab.until(minutes(3), change, |lab| lab.instance_state(&instance) == InstanceState::Terminated).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_its_manifest_keeps_is_no_leftover() {
    let lines = "block_devices = [{ device = \"/dev/sdg\", size_gib = 8, delete_on_termination = false }]";
    let mut lab = Lab::new(setup(lines));
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.run(minutes(120)).await;
    let left: Vec<VolumeId> = lab.world(|site| site.left_over().iter().filter_map(|id| id.parse().ok()).collect());
    assert_eq!(left.len(), 1, "its owner's wish");
    assert!(lab.controller().cells().iter().all(|cell| cell.leftovers.is_empty()));
}
