//! Leases: renewed together and in time, whatever else waits or fails, so that no guest that is needed
//! powers itself off.

use chrono::{DateTime, Utc};
use latent::model::{FailureKind, InstanceId, tag_keys};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, LedgerFaults, minutes, seconds};
use crate::setup::Setup;

/// The lease as EC2 has it.
fn lease(lab: &Lab, id: &InstanceId) -> DateTime<Utc> {
    let tag = lab.world(|world| world.instance(id).and_then(|i| i.tag(tag_keys::LEASE).map(ToOwned::to_owned)));
    tag.expect("a lease").parse().expect("a time")
}

fn eight_workers(mut setup: Setup) -> Setup {
    for number in 1..=8 {
        let name = format!("w{number}");
        setup = setup.image(&name, "alice", "us-west-2", "").worker(&name, &name);
    }
    setup
}

#[tokio::test(start_paused = true)]
async fn what_was_launched_one_after_the_other_is_renewed_together() {
    let mut lab = Lab::new(eight_workers(Setup::new().policy("lease = \"40m\"\nidle_timeout = \"never\"")));
    let mut ids = Vec::new();
    for number in 1..=8 {
        ids.push(lab.make_ready(&format!("w{number}")).await);
        lab.run(minutes(1)).await;
    }
    lab.run(minutes(120)).await;
    assert!((5..10).contains(&lab.calls(ApiCall::Renew)), "{} calls in two hours", lab.calls(ApiCall::Renew));
    assert!(ids.iter().all(|id| lease(&lab, id) > lab.now() + minutes(15)));
}

#[tokio::test(start_paused = true)]
async fn a_short_lease_shortens_no_other() {
    let setup = Setup::new().policy("lease = \"60m\"\nidle_timeout = \"never\"");
    let setup = setup.image("fedora", "alice", "us-west-2", "").worker_with("w2", "fedora", "lease = \"4m\"");
    let mut lab = Lab::new(setup);
    let (long, short) = (lab.make_ready("w1").await, lab.make_ready("w2").await);
    for _ in 0..60 {
        lab.run(minutes(1)).await;
        assert!(lease(&lab, &short) > lab.now() + seconds(90), "{} at {}", lease(&lab, &short), lab.now());
        assert!(lease(&lab, &long) > lab.now() + minutes(29), "{} at {}", lease(&lab, &long), lab.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_shorter_than_the_pause_between_listings_is_renewed_in_time() {
    let setup = Setup::new().fleet("[polling]\nslow = \"10m\"").policy("lease = \"2m\"\nidle_timeout = \"never\"");
    let mut lab = Lab::new(setup);
    let id = lab.make_ready("w1").await;
    for _ in 0..60 {
        lab.run(seconds(20)).await;
        assert!(lease(&lab, &id) > lab.now() + seconds(50), "{} at {}", lease(&lab, &id), lab.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_failed_is_sent_again_within_seconds() {
    let mut lab = Lab::new(Setup::new().policy("lease = \"10m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    let before = lab.calls(ApiCall::Renew);
    lab.inject(ApiCall::Renew, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 3);
    lab.until(minutes(8), "the first refusal", |lab| lab.calls(ApiCall::Renew) > before).await;
    lab.until(seconds(15), "the one that succeeds", |lab| lab.calls(ApiCall::Renew) == before + 4).await;
    assert!(lease(&lab, &id) > lab.now() + minutes(9));
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_though_the_ledger_cannot_be_written() {
    let mut lab = Lab::new(Setup::new().policy("lease = \"10m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.ledger.fail(LedgerFaults { write: true, read: false });
    lab.master.speaks = false;
    // Something that would be written at each look: the master's silence.
    for _ in 0..30 {
        lab.run(minutes(1)).await;
        assert!(lease(&lab, &id) > lab.now() + minutes(3), "{} at {}", lease(&lab, &id), lab.now());
    }
    lab.ledger.fail(LedgerFaults::default());
    lab.master.speaks = true;
    lab.run(minutes(1)).await;
    assert_eq!(lab.costing(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_started_again_is_vouched_for_at_once() {
    let mut lab = Lab::new(Setup::new().policy("on_idle = \"stop\"\nlease = \"10m\"\nmax_lifetime = \"10h\""));
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(60)).await;
    assert!(lease(&lab, &id) < lab.now(), "nobody vouches for what is stopped");
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.until(seconds(5), "a new lease", |lab| lease(lab, &id) > lab.now() + minutes(9)).await;
}
