//! Who may connect: each kind of evidence, what a policy asks for, and what holds whatever is listed.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use latent::model::{
    Actor, Attempt, AttemptId, Body, Cause, Entry, Fleet, Instance, InstanceId, InstanceState, Inventory, Parts,
    WorkerName,
};
use latent::plan::{Admission, Info, Knock, admit, launch_spec};
use latent::policy::{IdentityKey, Intent, JoinKey};
use proptest::prelude::*;

use crate::harness::{first_choice, minutes, morning, seconds, worker};
use crate::setup::Setup;

const OWN: [&str; 2] = ["172.31.0.4", "54.1.2.3"];
const OTHERS: [&str; 2] = ["172.31.0.9", "54.9.9.9"];
const PROXY: &str = "10.0.0.5";
const NAT: &str = "54.200.0.1";
/// With which the model signs; its certificate is `identity.pem` beside it.
const SIGNING_KEY: &[u8] = include_bytes!("../../src/sim/wire/identity.key.der");
const CERTIFICATE: &str = include_str!("../../src/sim/wire/identity.pem");

fn id(text: &str) -> InstanceId {
    text.parse().expect("an instance id")
}

fn attempt_id(text: &str) -> AttemptId {
    text.parse().expect("an attempt id")
}

/// Worker w1 on i-1, and i-9 of an earlier attempt of it that nothing explains.
#[derive(Clone)]
struct Case {
    intent: Intent,
    fleet: Fleet,
    inventory: Option<Inventory>,
    now: DateTime<Utc>,
}

impl Case {
    /// Under a policy that asks for this proof.
    fn of(proof: &str) -> Self {
        let lines = format!("proxies = [\"{PROXY}\"]\nidentity_certificates = \"certificates\"");
        let image = "user_data = \"join.sh\"";
        let setup = Setup::new().fleet(&lines).policy(&format!("proof = \"{proof}\""));
        let setup = setup.image("debian", "alice", "us-west-2", image).image("fedora", "alice", "us-west-2", image);
        let mut sources = setup.worker("w2", "fedora").sources();
        sources.templates.insert("join.sh".to_owned(), "#!/bin/sh\n: {{ join_secret }}\n".to_owned());
        let mut intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        intent.join_key = Some(JoinKey::new([3; 32]));
        let region = "us-west-2".parse().expect("a region");
        intent.identity_keys.insert(region, IdentityKey::from_pem(CERTIFICATE).expect("a certificate"));
        let mut case = Self { intent, fleet: Fleet::default(), inventory: None, now: morning() };
        case.write(Body::Requested { worker: worker("w1"), request: "r".parse().expect("an id") });
        let attempt = case.attempt("1-1");
        case.write(Body::LaunchIntended { worker: worker("w1"), attempt: Box::new(attempt) });
        case.now += seconds(2);
        case.write(Body::Launched { worker: worker("w1"), instance: id("i-1") });
        case.now += minutes(1);
        case.list(&[("i-1", "1-1", &OWN), ("i-9", "1-0", &OTHERS)]);
        case
    }

    fn attempt(&self, attempt: &str) -> Attempt {
        let (name, attempt) = (worker("w1"), attempt_id(attempt));
        let configured = &self.intent.workers[&name];
        let image = &self.intent.images[&configured.image];
        let spec = launch_spec(self.now, &self.intent, &name, configured, first_choice(image), &attempt);
        let cell = configured.cell.clone();
        Attempt { id: attempt, cell, image: configured.image.clone(), created: self.now, spec: Some(Box::new(spec)) }
    }

    fn write(&mut self, body: Body) {
        let entry = Entry { seq: self.fleet.seq + 1, at: self.now, actor: Actor::Controller, body };
        self.fleet.apply(&entry).expect("follows");
    }

    fn list(&mut self, shown: &[(&str, &str, &[&str])]) {
        let instances =
            shown.iter().map(|(name, attempt, addresses)| (id(name), self.instance(name, attempt, addresses)));
        let instances: BTreeMap<InstanceId, Instance> = instances.collect();
        self.inventory = Some(Inventory { observed_at: self.now - seconds(1), complete: true, instances });
    }

    /// The listing has it in this state, if it has it at all.
    fn set(&mut self, name: &str, state: InstanceState) {
        if let Some(instance) = self.inventory.as_mut().and_then(|listed| listed.instances.get_mut(&id(name))) {
            instance.state = state;
        }
    }

    fn instance(&self, name: &str, attempt: &str, addresses: &[&str]) -> Instance {
        let spec = self.attempt(attempt).spec.expect("a spec");
        Instance {
            id: id(name),
            state: InstanceState::Running,
            ami: Some(spec.ami.clone()),
            instance_type: spec.offering.instance_type.clone(),
            zone: None,
            launch_time: Some(self.now),
            launch_index: 0,
            token: None,
            attached_at: None,
            stopped_at: None,
            ended_at: None,
            parts: Parts::default(),
            platform_details: None,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            state_reason: None,
            tags: spec.tags,
        }
    }

    fn knock(&self, peer: Option<&str>, info: &Info) -> Admission {
        let name: WorkerName = worker("w1");
        admit(&Knock {
            worker: &name,
            peer,
            info,
            intent: &self.intent,
            fleet: &self.fleet,
            inventory: self.inventory.as_ref(),
        })
    }

    fn secret_of(&self, attempt: &str) -> Info {
        let key = self.intent.join_key.as_ref().expect("a key");
        Info { join_secret: Some(key.secret(&worker("w1"), &attempt_id(attempt))), ..Info::default() }
    }
}

/// The document of i-1, signed, with one field changed.
fn document(change: (&str, &str)) -> Info {
    let mut document = serde_json::json!({
        "accountId": "111111111111", "region": "us-west-2", "imageId": "ami-debian", "instanceId": "i-1",
        "pendingTime": (morning() + seconds(3)).to_rfc3339(), "version": "2017-09-30", "kernelId": null,
    });
    document[change.0] = change.1.into();
    let text = serde_json::to_string_pretty(&document).expect("JSON");
    let key = RsaKeyPair::from_pkcs8(SIGNING_KEY).expect("a key");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("signs");
    let signature = Some(STANDARD.encode(signature));
    Info { identity_document: Some(text), identity_signature: signature, ..Info::default() }
}

fn says(instance: &str) -> Info {
    Info { instance_id: Some(instance.to_owned()), ..Info::default() }
}

fn taken(admission: &Admission, proof: &str) {
    assert!(admission.admit && admission.why.is_none(), "{admission:?}");
    assert!(admission.proof.contains(proof), "{admission:?}");
}

fn refused(admission: &Admission, why: &str) {
    assert!(!admission.admit, "{admission:?}");
    assert!(admission.why.as_deref().unwrap_or_default().contains(why), "{admission:?}");
}

#[test]
fn an_address_of_the_instance_is_proof_however_it_is_written() {
    let case = Case::of("address");
    for peer in ["172.31.0.4", "54.1.2.3", "::ffff:54.1.2.3", "[::ffff:172.31.0.4]", " 54.1.2.3 "] {
        let admission = case.knock(Some(peer), &Info::default());
        taken(&admission, "an address of i-1");
        assert!(!admission.look);
    }
    let mut six = case.clone();
    six.list(&[("i-1", "1-1", &["172.31.0.4", "2600:1f14:0:0:0:0:0:7"])]);
    taken(&six.knock(Some("2600:1f14::7%eth0"), &Info::default()), "2600:1f14::7, an address of i-1");
}

#[test]
fn the_address_of_another_instance_is_refused_and_the_twin_named() {
    let case = Case::of("address");
    for peer in OTHERS {
        let admission = case.knock(Some(peer), &Info::default());
        refused(&admission, "the address of i-9, and not from i-1");
        assert_eq!((admission.twin, admission.instance), (Some(id("i-9")), Some(id("i-9"))));
    }
    let mut off = case.clone();
    let gone = off.inventory.as_mut().and_then(|inventory| inventory.instances.get_mut(&id("i-9"))).expect("listed");
    gone.state = InstanceState::Terminated;
    taken(&off.knock(Some(OTHERS[0]), &Info::default()), "not proved: it comes from 172.31.0.9");
}

#[test]
fn another_workers_instance_is_no_twin_to_be_ended() {
    let mut case = Case::of("address");
    case.write(Body::Requested { worker: worker("w2"), request: "r2".parse().expect("an id") });
    let attempt = case.attempt("2-1");
    case.write(Body::LaunchIntended { worker: worker("w2"), attempt: Box::new(attempt) });
    case.write(Body::Launched { worker: worker("w2"), instance: id("i-9") });
    for admission in [case.knock(Some(OTHERS[0]), &Info::default()), case.knock(Some(OWN[0]), &says("i-9"))] {
        refused(&admission, "i-9");
        assert_eq!((admission.instance, admission.twin), (Some(id("i-9")), None));
    }
    let why = case.knock(Some(OTHERS[0]), &Info::default()).why.expect("refused");
    assert_eq!(
        why,
        "it comes from 172.31.0.9, the address of i-9 of worker w2, and not from i-1, the instance of attempt 1-1"
    );
}

#[test]
fn what_an_address_cannot_tell_is_let_in_by_default() {
    let case = Case::of("address");
    for (peer, why) in [
        (None, "does not know the address"),
        (Some("127.0.0.1"), "through something on the master's own machine"),
        (Some("::1"), "through something on the master's own machine"),
        (Some(PROXY), "through the proxy 10.0.0.5"),
        (Some("::ffff:10.0.0.5"), "through the proxy 10.0.0.5"),
        (Some("unix:/run/x"), "which is no address"),
        (Some("172.31.7.7"), "which no instance of the fleet has"),
    ] {
        let admission = case.knock(peer, &Info::default());
        taken(&admission, why);
        assert!(admission.proof.starts_with("not proved: "), "{admission:?}");
    }
}

#[test]
fn a_stranger_on_the_internet_is_refused_where_the_instance_is_there_itself() {
    let mut case = Case::of("address");
    let admission = case.knock(Some(NAT), &Info::default());
    refused(&admission, "the public address of i-1, the instance of attempt 1-1 is 54.1.2.3");
    assert!(admission.look && admission.twin.is_none(), "an elastic address may be newer than the listing");
    case.list(&[("i-1", "1-1", &OWN[..1])]);
    taken(&case.knock(Some(NAT), &Info::default()), "through NAT");
}

#[test]
fn an_old_listing_refuses_nobody_and_asks_for_a_newer_one() {
    let mut case = Case::of("address");
    case.list(&[]);
    for peer in [OWN[0], OWN[1], NAT] {
        let admission = case.knock(Some(peer), &Info::default());
        taken(&admission, "no address of i-1, the instance of attempt 1-1 is listed yet");
        assert!(admission.look);
    }
    // The address was another's when the listing was read, before the launch.
    case.list(&[("i-9", "1-0", &OTHERS)]);
    case.inventory.as_mut().expect("a listing").observed_at = morning() - seconds(1);
    let admission = case.knock(Some(OTHERS[0]), &Info::default());
    taken(&admission, "not proved: it comes from 172.31.0.9, the address of i-9");
    assert!(admission.look);
    case.inventory = None;
    let admission = case.knock(Some(OWN[0]), &Info::default());
    assert!(admission.admit && admission.look, "{admission:?}");
}

#[test]
fn an_instance_whose_end_is_intended_is_known_by_its_address_in_an_old_listing_too() {
    let mut case = Case::of("address");
    let cell = case.intent.workers[&worker("w1")].cell.clone();
    let (instance, cause) = (id("i-9"), Cause::Twin);
    case.write(Body::TerminateIntended { instance, cell, worker: None, cause, seen: None, silent_since: None });
    case.list(&[("i-9", "1-0", &OTHERS)]);
    case.inventory.as_mut().expect("a listing").observed_at = morning() - seconds(1);
    let admission = case.knock(Some(OTHERS[0]), &Info::default());
    refused(&admission, "the address of i-9");
    assert_eq!(admission.twin, Some(id("i-9")));
}

#[test]
fn what_may_come_from_an_instance_that_is_being_ended_unseen_waits_for_a_proof() {
    let mut case = Case::of("address");
    let cell = case.intent.workers[&worker("w1")].cell.clone();
    let (instance, cause) = (id("i-9"), Cause::Twin);
    case.write(Body::TerminateIntended { instance, cell, worker: None, cause, seen: None, silent_since: None });
    let nat = |case: &Case| case.knock(Some(NAT), &Info::default());
    // Whoever began after it was on its way out has never seen its public address, nor yet that of the other.
    for own in [None, Some(("i-1", "1-1", &OWN[..1]))] {
        for addresses in [&OTHERS[..1], &[]] {
            case.list(&own.into_iter().chain([("i-9", "1-0", addresses)]).collect::<Vec<_>>());
            case.set("i-1", InstanceState::Pending);
            let admission = nat(&case);
            refused(&admission, "it may come from i-9, which is being ended and no longer shows such an address");
            assert!(admission.look && admission.twin.is_none(), "{admission:?}");
        }
    }
    taken(&case.knock(Some(OWN[0]), &Info::default()), "172.31.0.4, an address of i-1");
    taken(&case.knock(Some(NAT), &says("i-1")), "it says that it is i-1");
    taken(&case.knock(Some(PROXY), &Info::default()), "through the proxy");
    case.set("i-9", InstanceState::Terminated);
    taken(&nat(&case), "through NAT");
    case.set("i-9", InstanceState::ShuttingDown);
    case.set("i-1", InstanceState::Running);
    taken(&nat(&case), "through NAT");
}

#[test]
fn what_it_says_of_its_instance_is_compared() {
    let case = Case::of("instance-id");
    taken(&case.knock(None, &says("i-1\n")), "it says that it is i-1");
    let admission = case.knock(None, &says("i-9"));
    refused(&admission, "it says that it is i-9, and not i-1");
    assert_eq!(admission.twin, Some(id("i-9")));
    assert_eq!(case.knock(None, &says("i-77")).twin, None, "which is not ours to end");
    refused(&case.knock(None, &Info::default()), "its info/ has no latent-instance-id; let the AMI write it");
    refused(&case.knock(None, &says("nonsense\u{1b}[2J")), "\"nonsense [2J\", which is no instance id");
    refused(&Case::of("address").knock(Some(OWN[0]), &says("i-9")), "it says that it is i-9");
    refused(&case.knock(Some(OTHERS[0]), &says("i-1")), "the address of i-9");
}

#[test]
fn the_join_secret_is_that_of_the_attempt() {
    let case = Case::of("join-secret");
    taken(&case.knock(Some(PROXY), &case.secret_of("1-1")), "it knows the join secret of attempt 1-1");
    let admission = case.knock(Some(PROXY), &case.secret_of("1-0"));
    refused(&admission, "its join secret is not that of attempt 1-1");
    assert_eq!(admission.twin, Some(id("i-9")), "known by whose secret it is");
    refused(
        &case.knock(Some(OWN[0]), &Info::default()),
        "proof = \"join-secret\", and its info/ has no latent-join-secret",
    );
    let mut keyless = case.clone();
    keyless.intent.join_key = None;
    refused(&keyless.knock(Some(OWN[0]), &case.secret_of("1-1")), "the controller has no key");
    let said = format!("{:?} {admission:?}", case.secret_of("1-1"));
    assert!(!said.contains(case.secret_of("1-1").join_secret.expect("a secret").reveal()), "it is never printed");
}

#[test]
fn an_identity_document_is_that_of_the_instance_signed_by_ec2() {
    let case = Case::of("identity-document");
    let right = document(("version", "2017-09-30"));
    taken(&case.knock(Some(PROXY), &right), "it has the identity document of i-1, signed by EC2");
    for (field, value, why) in [
        ("instanceId", "i-9", "the instance is \"i-9\""),
        (
            "accountId",
            "999999999999",
            "the account is \"999999999999\", and of i-1, the instance of attempt 1-1 \"111111111111\"",
        ),
        ("region", "us-east-1", "the region is \"us-east-1\""),
        ("imageId", "ami-else", "the AMI is \"ami-else\""),
        ("pendingTime", "2026-03-02T07:00:00Z", "the pending time is \"2026-03-02T07:00:00+00:00\""),
    ] {
        for proof in ["address", "instance-id", "join-secret", "identity-document"] {
            refused(&Case::of(proof).knock(Some(OWN[0]), &document((field, value))), why);
        }
    }
    let mut forged = right.clone();
    forged.identity_document = forged.identity_document.map(|text| text.replace("2017", "2018"));
    refused(&case.knock(Some(OWN[0]), &forged), "not signed with the key of us-west-2");
    let ended = Info { identity_document: right.identity_document.clone().map(|text| text + "\n"), ..right.clone() };
    taken(&case.knock(Some(PROXY), &ended), "identity document of i-1");
    let unsigned = Info { identity_signature: None, ..right.clone() };
    refused(&case.knock(Some(OWN[0]), &unsigned), "no latent-identity-signature");
    let mut bare = case.clone();
    bare.intent.identity_keys.clear();
    refused(&bare.knock(Some(OWN[0]), &right), "there is no certificate of us-west-2");
}

#[test]
fn without_a_proof_only_the_state_of_the_worker_refuses() {
    let mut case = Case::of("none");
    taken(&case.knock(Some(OTHERS[0]), &says("i-9")), "not asked for");
    case.write(Body::Attached { worker: worker("w1") });
    case.write(Body::DrainOrdered { worker: worker("w1"), cause: Cause::Operator });
    refused(&case.knock(Some(OWN[0]), &Info::default()), "it takes no new connection");
    let cell = case.intent.workers[&worker("w1")].cell.clone();
    let (instance, cause) = (id("i-1"), Cause::Operator);
    case.write(Body::TerminateIntended {
        instance,
        cell,
        worker: Some(worker("w1")),
        cause,
        seen: None,
        silent_since: None,
    });
    refused(&case.knock(Some(OWN[0]), &Info::default()), "i-1 of w1 is being ended");
    case.write(Body::TerminateAccepted { instance: id("i-1") });
    let admission = case.knock(Some(OWN[0]), &Info::default());
    refused(&admission, "w1 has no instance");
    assert_eq!(admission.twin, Some(id("i-1")), "it is on its way out");
    case.inventory = None;
    assert!(case.knock(None, &Info::default()).look, "what is there may not be known yet");
}

#[test]
fn who_is_let_go_of_is_not_taken_unless_an_operator_keeps_it() {
    let mut case = Case::of("address");
    case.write(Body::Attached { worker: worker("w1") });
    case.write(Body::Released { worker: worker("w1"), cause: Cause::Released });
    refused(&case.knock(Some(OWN[0]), &Info::default()), "w1 is let go of");
    let until = case.now + minutes(10);
    case.write(Body::HoldSet { worker: worker("w1"), until });
    taken(&case.knock(Some(OWN[0]), &Info::default()), "an address of i-1");
}

#[test]
fn before_its_launch_is_answered_an_instance_is_known_by_its_attempt() {
    let mut case = Case::of("address");
    let mut fresh = Case { fleet: Fleet::default(), now: morning(), ..case.clone() };
    fresh.write(Body::Requested { worker: worker("w1"), request: "r".parse().expect("an id") });
    let attempt = fresh.attempt("1-1");
    fresh.write(Body::LaunchIntended { worker: worker("w1"), attempt: Box::new(attempt) });
    fresh.now = case.now;
    taken(&fresh.knock(Some(OWN[0]), &fresh.secret_of("1-1")), "an address of i-1; it knows the join secret");
    refused(&fresh.knock(Some(OTHERS[0]), &Info::default()), "the address of i-9");
    case.list(&[]);
    fresh.inventory = case.inventory;
    let admission = fresh.knock(Some(OWN[0]), &says("i-1"));
    taken(&admission, "not proved: it comes from 172.31.0.4");
    assert!(admission.look);
}

/// How much a listing shows of the right instance: nothing, what it has while pending, everything.
fn shown(stage: u8) -> Vec<&'static str> {
    match stage {
        0 => Vec::new(),
        1 => vec![OWN[0]],
        _ => OWN.to_vec(),
    }
}

/// A case as it may be when somebody knocks.
fn situation(proof: &str, state: u8, stage: u8, old: bool) -> Case {
    let mut case = Case::of(proof);
    let addresses = shown(stage);
    match stage {
        0 => case.list(&[("i-9", "1-0", &OTHERS)]),
        _ => case.list(&[("i-1", "1-1", &addresses), ("i-9", "1-0", &OTHERS)]),
    }
    if state > 0 {
        case.write(Body::Attached { worker: worker("w1") });
    }
    if state > 1 {
        case.write(Body::BuildStarted { worker: worker("w1"), build: "b/1".parse().expect("a build") });
    }
    case.now += if old { TimeDelta::hours(1) } else { TimeDelta::zero() };
    if stage == 3 {
        case.inventory = None;
    }
    case
}

proptest! {
    #[test]
    fn the_right_instance_is_never_refused_by_default_whatever_the_listing_knows(
        state in 0..3_u8, stage in 0..4_u8, old in any::<bool>(), peer in 0..6_usize, told in 0..8_u8,
    ) {
        let case = situation("address", state, stage, old);
        let peer = [None, Some("127.0.0.1"), Some(PROXY), Some(OWN[0]), Some(OWN[1]), Some("::ffff:54.1.2.3")][peer];
        let mut info = if told & 1 > 0 { document(("version", "1")) } else { Info::default() };
        info.instance_id = (told & 2 > 0).then(|| "i-1".to_owned());
        info.join_secret = (told & 4 > 0).then(|| case.secret_of("1-1").join_secret).flatten();
        let admission = case.knock(peer, &info);
        prop_assert!(admission.admit, "{admission:?}");
        prop_assert!(admission.why.is_none() && admission.twin.is_none());
    }

    #[test]
    fn one_contradiction_refuses_whatever_else_is_right(
        state in 0..3_u8, stage in 1..3_u8, old in any::<bool>(), proof in 0..4_usize, wrong in 1..16_u8,
    ) {
        let proof = ["address", "instance-id", "join-secret", "identity-document"][proof];
        let case = situation(proof, state, stage, old);
        let mut info = document(("instanceId", if wrong & 1 > 0 { "i-9" } else { "i-1" }));
        info.instance_id = Some(if wrong & 2 > 0 { "i-9" } else { "i-1" }.to_owned());
        info.join_secret = case.secret_of(if wrong & 4 > 0 { "1-0" } else { "1-1" }).join_secret;
        let peer = if wrong & 8 > 0 { OTHERS[usize::from(old)] } else { OWN[0] };
        let admission = case.knock(Some(peer), &info);
        prop_assert!(!admission.admit && admission.why.is_some(), "{admission:?}");
        prop_assert_eq!(admission.twin, Some(id("i-9")));
    }

    #[test]
    fn what_is_demanded_and_not_proved_refuses(state in 0..3_u8, stage in 0..4_u8, peer in "\\PC{0,40}", text in "\\PC{0,80}") {
        for proof in ["instance-id", "join-secret", "identity-document"] {
            let case = situation(proof, state, stage, false);
            let info = Info { identity_document: Some(text.clone()), identity_signature: Some(text.clone()), ..says(&text) };
            let admission = case.knock(Some(&peer), &info);
            prop_assert!(!admission.admit, "{admission:?}");
            prop_assert!(!admission.why.unwrap_or_default().contains(char::is_control));
        }
    }
}
