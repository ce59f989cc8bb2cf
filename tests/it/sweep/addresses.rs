//! Elastic addresses and spot requests, each with their near misses.

use latent::model::{InstanceState, LeftoverKind, Resource, Response, SpotRequest, tag_keys};
use latent::plan::sweep::{Act, Confidence};

use super::desk::{Desk, address, ago, fleet_tags, hours, id, instance_id, spot_request, without, worker_instance};
use crate::harness::minutes;

const IP: &str = "eipalloc-1";

fn with_address(of: Option<InstanceState>, associated: bool) -> Desk {
    let mut desk = Desk::new();
    let mut address = address();
    address.associated = associated;
    if let Some(state) = of {
        address.instance = Some(instance_id("i-0a"));
        let mut instance = worker_instance("i-0a");
        instance.state = state;
        desk.add(instance);
    }
    desk.put(IP, Resource::Address(fleet_tags(), address));
    desk
}

#[test]
fn an_address_that_is_associated_with_nothing_is_told_and_may_be_released() {
    let mut desk = with_address(None, false);
    let finding = desk.finding(IP);
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::AddressIdle, Confidence::Strong));
    assert_eq!((finding.act, finding.since, finding.age_from.as_str()), (Act::Report, None, "unknown"));
    assert_eq!(finding.reason, "203.0.113.7 is associated with nothing");
    assert!(finding.monthly.expect("a price").low.as_micro_dollars() > 3_000_000, "idle ones cost as well");
    desk.respond(LeftoverKind::AddressIdle, Response::Terminate);
    assert_eq!(desk.act(IP), Act::Mark);
    assert_eq!(desk.name(IP).act(IP), Act::Terminate, "whoever names it needs no second look");
}

#[test]
fn an_address_of_a_stopped_instance_is_told_and_never_released() {
    let mut desk = with_address(Some(InstanceState::Stopped), true);
    desk.respond(LeftoverKind::AddressIdle, Response::Terminate).name(IP);
    let finding = desk.finding(IP);
    assert_eq!(finding.reason, "203.0.113.7 belongs to i-0a, which is stopped");
    assert_eq!(finding.act, Act::Report, "EC2 would refuse, and the instance may be started again with it");
}

#[test]
fn an_address_that_anything_else_has_is_kept() {
    for state in [InstanceState::Running, InstanceState::Pending, InstanceState::Stopping, InstanceState::Terminated] {
        assert_eq!(with_address(Some(state), true).kept(IP), "i-0a has it");
    }
    assert_eq!(with_address(None, true).kept(IP), "it is in use", "by an interface without an instance");
    let mut unseen = Desk::new();
    let mut address = address();
    (address.associated, address.instance) = (true, Some(instance_id("i-0gone")));
    unseen.put(IP, Resource::Address(fleet_tags(), address));
    assert_eq!(unseen.kept(IP), "i-0gone has it", "not seen is not stopped");
}

// --- spot requests ----------------------------------------------------------------------------------

fn with_request(edit: impl FnOnce(&mut SpotRequest)) -> Desk {
    let mut desk = Desk::new();
    let mut request = spot_request();
    edit(&mut request);
    desk.put("sir-1", Resource::SpotRequest(fleet_tags(), request));
    desk
}

#[test]
fn a_spot_request_that_is_open_without_an_instance_is_left_over() {
    let finding = with_request(|_| ()).finding("sir-1");
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::SpotRequestOpen, Confidence::Strong));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Mark, "its creation"));
    assert_eq!((finding.since, finding.evidence), (Some(ago(hours(2))), vec!["state open".to_owned()]));
}

#[test]
fn a_spot_request_that_outlives_its_instance_is_left_over() {
    let outlived = |state: Option<InstanceState>| {
        let mut desk = with_request(|request| {
            (request.state, request.instance) = ("active".to_owned(), Some(instance_id("i-0a")));
        });
        if let Some(state) = state {
            let mut instance = worker_instance("i-0a");
            instance.state = state;
            desk.add(instance);
        }
        desk
    };
    assert_eq!(outlived(None).finding("sir-1").reason, "it is active, and i-0a is gone");
    assert_eq!(outlived(Some(InstanceState::Terminated)).act("sir-1"), Act::Mark);
    for state in [InstanceState::Running, InstanceState::Stopped, InstanceState::ShuttingDown] {
        assert_eq!(outlived(Some(state)).kept("sir-1"), "i-0a fulfils it");
    }
}

#[test]
fn a_spot_request_that_is_young_or_over_or_of_others_is_left_alone() {
    assert_eq!(with_request(|request| request.created = Some(ago(minutes(29)))).kept("sir-1"), "it is young");
    assert_eq!(with_request(|request| request.created = None).kept("sir-1"), "its age is not known");
    with_request(|request| request.live = false).silent("sir-1");
    let mut others = Desk::new();
    others.put("sir-1", Resource::SpotRequest(without(&fleet_tags(), tag_keys::FLEET), spot_request()));
    others.name("sir-1").silent("sir-1");
}

#[test]
fn to_stop_what_is_no_instance_is_to_take_it_away() {
    let mut desk = with_request(|_| ());
    desk.respond(LeftoverKind::SpotRequestOpen, Response::Stop).first_seen.insert(id("sir-1"), ago(minutes(6)));
    assert_eq!(desk.act("sir-1"), Act::Terminate);
}
