//! The fold of a rebake's journal: what cannot follow is refused.

use latent::control::first_entry;
use latent::model::{
    AmiId, CanaryPhase, CanarySight, Failure, FailureKind, GuestReport, Outcome, Phase, Rebake, RebakeBody,
    RebakeEntry, RebakeFoldError, RebakeOrder, RetireStage, Step, Thing,
};
use latent::sim::run::rebake::Case;

use super::{house, succeeds};

fn ami(text: &str) -> AmiId {
    text.parse().expect("an id")
}

fn sight(phase: CanaryPhase) -> RebakeBody {
    RebakeBody::CanarySaw { sight: Box::new(CanarySight { phase, why: None, instance: None, built: None }) }
}

/// One entry of each kind.
fn every(order: &RebakeOrder) -> Vec<RebakeBody> {
    let failure = Failure::new(Phase::Rebake, FailureKind::RetrySame, "Code", "said");
    let (from, to) = (order.source.clone(), ami("ami-2"));
    let stage = RetireStage::Deprecate;
    vec![
        RebakeBody::Ordered { order: Box::new(order.clone()) },
        RebakeBody::Resumed { version: "0.1.0".to_owned() },
        RebakeBody::Begun { step: Step::Fence },
        RebakeBody::Done { step: Step::Preflight, evidence: String::new() },
        RebakeBody::FenceIntended {},
        RebakeBody::FenceMade { group: "sg-1".parse().expect("an id") },
        RebakeBody::LaunchIntended { spec: Box::new(order.launches[0].clone()) },
        RebakeBody::Launched { instance: "i-1".parse().expect("an id") },
        RebakeBody::LaunchRefused { failure: failure.clone() },
        RebakeBody::CommandIntended {},
        RebakeBody::Commanded { command: "01234567-89ab-cdef-0123-456789abcdef".parse().expect("an id") },
        RebakeBody::CommandForgone { why: String::new() },
        RebakeBody::StopIntended { instance: "i-1".parse().expect("an id") },
        RebakeBody::GuestSaid { report: Box::new(GuestReport::default()) },
        RebakeBody::BuilderOff {},
        RebakeBody::ImageIntended {},
        RebakeBody::ImageMade { ami: to.clone() },
        RebakeBody::HandedOver {},
        RebakeBody::CanaryIntended { now: false },
        sight(CanaryPhase::Passed),
        RebakeBody::PromoteIntended { from: from.clone(), to: to.clone() },
        RebakeBody::Promoted { from, to: to.clone() },
        RebakeBody::FoundWorse { why: String::new() },
        RebakeBody::RetireIntended { ami: ami("ami-3"), stage },
        RebakeBody::Retired { ami: ami("ami-3"), stage },
        RebakeBody::Refused { what: "it".to_owned(), failure },
        RebakeBody::UndoBegun { why: "why".to_owned(), by_hand: false },
        RebakeBody::UndoIntended { thing: Thing::Builder },
        RebakeBody::Undone { thing: Thing::Builder },
        RebakeBody::Ended { outcome: Outcome::Done { ami: to.clone() } },
        RebakeBody::Ended { outcome: Outcome::HandedOver { ami: to } },
        RebakeBody::Ended { outcome: Outcome::Aborted {} },
    ]
}

/// The record after these entries.
fn after(order: &RebakeOrder, bodies: &[RebakeBody]) -> Rebake {
    let mut rebake = Rebake::begin(&first_entry(order.clone())).expect("begins");
    for body in bodies {
        apply(&mut rebake, body).unwrap_or_else(|error| panic!("{error}"));
    }
    rebake
}

fn apply(rebake: &mut Rebake, body: &RebakeBody) -> Result<(), RebakeFoldError> {
    rebake.apply(&RebakeEntry { version: 1, seq: rebake.seq + 1, at: rebake.last_at, body: body.clone() })
}

/// The places in the list of those entries that may follow.
fn follow(order: &RebakeOrder, bodies: &[RebakeBody]) -> Vec<usize> {
    let rebake = after(order, bodies);
    let all = every(order);
    let may = |body: &RebakeBody| {
        let mut next = rebake.clone();
        let applied = apply(&mut next, body);
        assert!(applied.is_ok() || next == rebake, "what is refused changes nothing: {body:?}");
        applied.is_ok()
    };
    (0..all.len()).filter(|at| may(&all[*at])).collect()
}

#[tokio::test]
async fn each_entry_follows_what_makes_it_possible_and_nothing_else() {
    let order = house(Case::default()).order;
    let all = every(&order);
    let chosen = |places: &[usize]| places.iter().map(|at| all[*at].clone()).collect::<Vec<_>>();
    // What was before, and the places of what may follow.
    let table: [(&[usize], &[usize]); 11] = [
        (&[], &[1, 3, 4, 6, 9, 12, 15, 18, 25, 26]),
        (&[3], &[1, 2, 4, 6, 9, 12, 15, 18, 25, 26]),
        (&[3, 2], &[1, 4, 6, 9, 12, 15, 18, 25, 26]),
        (&[4], &[1, 3, 4, 5, 6, 9, 12, 15, 18, 25, 26]),
        (&[6], &[1, 3, 4, 6, 7, 8, 9, 12, 15, 18, 25, 26]),
        (&[6, 7], &[1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 18, 25, 26]),
        (&[9], &[1, 3, 4, 6, 9, 10, 12, 15, 18, 25, 26]),
        (&[15], &[1, 3, 4, 6, 9, 12, 15, 16, 18, 25, 26]),
        (&[15, 16, 3], &[1, 2, 4, 6, 9, 12, 15, 16, 17, 18, 25, 26, 30]),
        (&[18, 19, 20, 21], &[1, 3, 4, 6, 9, 12, 15, 18, 19, 20, 21, 22, 25, 26]),
        (&[6, 26], &[1, 7, 8, 25, 27, 28]),
    ];
    for (before, then) in table {
        assert_eq!(follow(&order, &chosen(before)), then, "after {before:?}");
    }
    assert_eq!(follow(&order, &chosen(&[26])), [1, 25, 31], "nothing was made: it is over");
    assert_eq!(follow(&order, &chosen(&[6, 26, 27, 28])), [1, 7, 8, 25, 31], "what was made is gone: it is over");
    assert_eq!(follow(&order, &chosen(&[26, 31])), Vec::<usize>::new(), "nothing follows the end");
}

#[tokio::test]
async fn nothing_is_promoted_whose_canary_has_not_passed() {
    let order = house(Case::default()).order;
    let intended = RebakeBody::PromoteIntended { from: order.source.clone(), to: ami("ami-2") };
    let phases = [
        CanaryPhase::Waiting,
        CanaryPhase::Starting,
        CanaryPhase::Connected,
        CanaryPhase::Building,
        CanaryPhase::Stopping,
        CanaryPhase::Stopped,
        CanaryPhase::Restarting,
        CanaryPhase::Failed,
    ];
    for phase in phases {
        let mut rebake = after(&order, &[RebakeBody::CanaryIntended { now: false }, sight(phase)]);
        let refused = apply(&mut rebake, &intended).expect_err("is refused").to_string();
        assert!(refused.ends_with("its canary has not passed"), "{phase}: {refused}");
    }
}

#[tokio::test]
async fn a_gap_a_second_order_and_a_newer_version_are_refused() {
    let order = house(Case::default()).order;
    let first = first_entry(order.clone());
    let entry = |seq, version| RebakeEntry { version, seq, ..first.clone() };
    assert_eq!(Rebake::begin(&entry(2, 1)), Err(RebakeFoldError::Gap { found: 2, expected: 1 }));
    assert_eq!(Rebake::begin(&entry(1, 9)), Err(RebakeFoldError::Newer { seq: 1, found: 9 }));
    assert!(matches!(Rebake::fold(&[]), Err(RebakeFoldError::Order { .. })));
    let later = |seq, version| {
        let body = RebakeBody::Resumed { version: String::new() };
        let mut rebake = after(&order, &[]);
        rebake.apply(&RebakeEntry { version, seq, at: order.at, body })
    };
    assert_eq!(later(3, 1), Err(RebakeFoldError::Gap { found: 3, expected: 2 }));
    assert_eq!(later(2, 9), Err(RebakeFoldError::Newer { seq: 2, found: 9 }));
    assert!(Rebake::fold(&[entry(1, 1), entry(2, 1)]).is_err(), "it was ordered already");
}

#[tokio::test(start_paused = true)]
async fn no_entry_of_a_whole_rebake_can_be_left_out_or_come_twice() {
    let house = house(Case::default());
    succeeds(&house).await;
    let entries = house.entries();
    for leave_out in 1..entries.len() - 1 {
        let mut fewer = entries.clone();
        fewer.remove(leave_out);
        assert!(Rebake::fold(&fewer).is_err(), "without {:?}", entries[leave_out].body);
        let mut twice = entries.clone();
        twice.insert(leave_out, entries[leave_out].clone());
        assert!(Rebake::fold(&twice).is_err(), "twice {:?}", entries[leave_out].body);
    }
}
