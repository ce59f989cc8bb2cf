//! A ledger that cannot be written: nothing is started or ended, and all goes on when it can be again.

use latent::control::ControlError;
use latent::model::{Actor, Body, InstanceState, MasterId};

use crate::account::ApiCall;
use crate::harness::{Lab, LedgerFaults, minutes, seconds, worker};
use crate::setup::Setup;

const UNWRITABLE: LedgerFaults = LedgerFaults { write: true, read: false };
const BROKEN: LedgerFaults = LedgerFaults { write: true, read: true };
const FINE: LedgerFaults = LedgerFaults { write: false, read: false };

fn changing_calls(lab: &Lab) -> usize {
    [ApiCall::Launch, ApiCall::Terminate, ApiCall::Stop, ApiCall::Start].into_iter().map(|call| lab.calls(call)).sum()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_written_is_refused() {
    for faults in [UNWRITABLE, BROKEN] {
        let mut lab = Lab::new(Setup::new());
        lab.ledger.fail(faults);
        let master: MasterId = "m1".parse().expect("an id");
        let asked = lab.controller().request(&Actor::Master(master), &worker("w1"), &"r1".parse().expect("an id"));
        assert!(matches!(asked, Err(ControlError::Ledger(_))), "{asked:?}");
        lab.master.speaks = false;
        lab.run(minutes(2)).await;
        assert_eq!((lab.launched(), lab.count(|body| matches!(body, Body::Requested { .. }))), (0, 0));
        lab.ledger.fail(FINE);
        lab.master.speaks = true;
        lab.until(seconds(20), "the truth", |lab| lab.state("w1") == "gone").await;
        lab.request("w1");
        lab.until_state("w1", "registering").await;
        lab.fleet();
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_whose_intent_cannot_be_written_is_not_sent() {
    for faults in [UNWRITABLE, BROKEN] {
        let mut lab = Lab::new(Setup::new());
        lab.request("w1");
        lab.ledger.fail(faults);
        lab.master.speaks = false;
        lab.run(minutes(3)).await;
        assert_eq!((changing_calls(&lab), lab.launched()), (0, 0), "{faults:?}");
        lab.ledger.fail(FINE);
        lab.master.speaks = true;
        lab.until_state("w1", "registering").await;
        assert_eq!((lab.calls(ApiCall::Launch), lab.launched()), (1, 1), "{faults:?}");
        lab.fleet();
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_whose_outcome_cannot_be_written_is_found_by_its_tags() {
    for faults in [UNWRITABLE, BROKEN] {
        for ignores_tokens in [false, true] {
            let mut lab = Lab::new(Setup::new());
            lab.world(|world| world.ignores_tokens = ignores_tokens);
            lab.request("w1");
            lab.until(seconds(5), "an intent", |lab| lab.calls(ApiCall::Launch) > 0).await;
            lab.ledger.fail(faults);
            lab.master.speaks = false;
            lab.run(minutes(3)).await;
            lab.ledger.fail(FINE);
            lab.until_state("w1", "registering").await;
            lab.run(minutes(1)).await;
            assert_eq!(lab.launched(), 1, "{faults:?} {ignores_tokens}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_intent_cannot_be_written_waits_for_the_ledger() {
    for faults in [UNWRITABLE, BROKEN] {
        let mut lab = Lab::new(Setup::new());
        let id = lab.make_ready("w1").await;
        lab.release("w1");
        lab.ledger.fail(faults);
        lab.master.speaks = false;
        let before = changing_calls(&lab);
        lab.run(minutes(3)).await;
        assert_eq!((changing_calls(&lab), lab.costing()), (before, 1), "{faults:?}");
        lab.ledger.fail(FINE);
        lab.until_nothing_is_left().await;
        assert_eq!(lab.instance_state(&id), InstanceState::Terminated);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_acceptance_cannot_be_written_is_asked_for_again() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until(seconds(5), "a call", |lab| lab.calls(ApiCall::Terminate) > 0).await;
    lab.ledger.fail(UNWRITABLE);
    lab.master.speaks = false;
    lab.run(minutes(2)).await;
    lab.ledger.fail(FINE);
    lab.until_nothing_is_left().await;
    assert_eq!(lab.state("w1"), "gone");
}

#[tokio::test(start_paused = true)]
async fn a_controller_does_not_start_on_a_ledger_that_it_cannot_write() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.crash().await;
    for faults in [UNWRITABLE, BROKEN] {
        lab.ledger.fail(faults);
        assert!(lab.try_start().is_err(), "{faults:?}");
    }
    lab.ledger.fail(FINE);
    lab.start();
    assert_eq!(lab.state("w1"), "ready");
}
