//! Whatever an account holds and whatever its tags say: what always holds of a sweep's plan.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use latent::model::{
    Ami, AmiState, Instance, InstanceState, LeftoverKind, Resource, ResourceId, ResourceKind, Response, TagSet,
    tag_keys,
};
use latent::plan::sweep::{Act, Claim, PlanFile, confirm};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::desk::{
    CONTROLLER, Desk, FLEET, address, ago, baked, clock, gap, home, id, instance_id, its_key, region, snapshot,
    spot_request, volume, worker_instance,
};
use crate::harness::worker;

/// Minutes before the look; negative ones lie ahead.
fn spans() -> impl Strategy<Value = i64> {
    prop_oneof![-60..60_i64, -100_000..100_000_i64, Just(5), Just(15), Just(30), Just(0)]
}

/// A tag's text: a time, a word that means something somewhere, or anything.
fn texts() -> impl Strategy<Value = String> {
    let words = ["true", "no", "false", "worker", "rebake", "canary", FLEET, "test2", "another", CONTROLLER, ""];
    let marks = (spans(), 0..LeftoverKind::ALL.len())
        .prop_map(|(span, kind)| format!("{} {}", clock(ago(TimeDelta::minutes(span))), LeftoverKind::ALL[kind]));
    prop_oneof![
        4 => spans().prop_map(|span| clock(ago(TimeDelta::minutes(span)))),
        4 => proptest::sample::select(words.to_vec()).prop_map(ToOwned::to_owned),
        1 => marks,
        1 => any::<String>(),
    ]
}

fn tags() -> impl Strategy<Value = TagSet> {
    let keys = [
        tag_keys::FLEET,
        tag_keys::CONTROLLER,
        tag_keys::ROLE,
        tag_keys::CREATED,
        tag_keys::LEASE,
        tag_keys::DEADLINE,
        tag_keys::MARK,
        tag_keys::KEEP,
        tag_keys::KEEP_UNTIL,
        tag_keys::IMAGE,
        tag_keys::IMAGE_ORIGIN,
        "Name",
    ];
    // Mostly ours, or nothing would ever be found.
    let base = btree_map(proptest::sample::select(keys.to_vec()), texts(), 0..5);
    (any::<u8>(), base).prop_map(|(how, spoilt)| {
        let mut tags = TagSet::default();
        if how % 8 != 0 {
            tags.set(tag_keys::FLEET, FLEET).set(tag_keys::CONTROLLER, CONTROLLER).set(tag_keys::ROLE, "worker");
            tags.set_time(tag_keys::LEASE, ago(TimeDelta::minutes(10)))
                .set_time(tag_keys::DEADLINE, ago(TimeDelta::hours(-9)));
            tags.set(tag_keys::IMAGE, "debian").set(tag_keys::IMAGE_ORIGIN, "rebake");
        }
        for (key, value) in spoilt {
            tags.set(key, value);
        }
        tags
    })
}

fn an_instance(number: usize, state: u8, age: Option<i64>, ami: u8, tags: TagSet, disk: bool) -> Instance {
    let state = match state {
        0 | 1 => InstanceState::Running,
        2 => InstanceState::Pending,
        3 => InstanceState::Stopping,
        4 => InstanceState::Stopped,
        5 => InstanceState::ShuttingDown,
        6 => InstanceState::Terminated,
        _ => InstanceState::Unknown("odd".to_owned()),
    };
    let mut instance = Instance { state, tags, ..worker_instance(&format!("i-0a{number}")) };
    instance.attached_at = age.map(|span| ago(TimeDelta::minutes(span)));
    instance.stopped_at = instance.attached_at;
    instance.ami = (ami > 0).then(|| super::desk::ami_id(&format!("ami-0a{ami}")));
    instance.parts.volumes = if disk { vec![format!("vol-{number}")] } else { Vec::new() };
    instance.parts.spot_request = (number % 2 == 1).then(|| format!("sir-{number}"));
    instance
}

fn an_ami(number: usize, state: u8, age: Option<i64>, tags: TagSet) -> Ami {
    let state = match state {
        0..=3 => AmiState::Available,
        4 => AmiState::Pending,
        5 => AmiState::Failed,
        6 => AmiState::Deregistered,
        _ => AmiState::Unknown("odd".to_owned()),
    };
    let age = TimeDelta::minutes(age.unwrap_or_default());
    let snapshots = vec![format!("snap-{}", number % 3).parse().expect("an id")];
    Ami { state, tags, snapshots, ..baked(&format!("ami-0a{number}"), age) }
}

/// A kind, a state, an age, an AMI, tags, and whether it is free.
type Drawn = (usize, u8, Option<i64>, u8, TagSet, bool);

/// Something of any kind.
fn things() -> impl Strategy<Value = BTreeMap<ResourceId, Resource>> {
    let one = (0..7_usize, 0..8_u8, option::of(spans()), 0..4_u8, tags(), any::<bool>());
    vec(one, 0..14).prop_map(|all| {
        let one = |(number, (kind, state, age, ami, tags, flag)): (usize, Drawn)| {
            let at = age.map(|span| ago(TimeDelta::minutes(span)));
            let of = (state % 3 == 0).then(|| instance_id(&format!("i-0a{ami}")));
            match ResourceKind::ALL[kind] {
                ResourceKind::Instance => {
                    let instance = an_instance(number, state, age, ami, tags, flag);
                    (ResourceId::from(&instance.id), Resource::Instance(Box::new(instance)))
                }
                ResourceKind::Ami => {
                    let ami = an_ami(number % 5, state, age, tags);
                    (ResourceId::from(&ami.id), Resource::Ami(Box::new(ami)))
                }
                ResourceKind::Volume => {
                    let volume = latent::model::Volume { available: flag, instance: of, created: at, ..volume() };
                    (id(&format!("vol-{number}")), Resource::Volume(tags, volume))
                }
                ResourceKind::Snapshot => {
                    let snapshot = latent::model::Snapshot { started: at, ..snapshot() };
                    (id(&format!("snap-{number}")), Resource::Snapshot(tags, snapshot))
                }
                ResourceKind::Interface => (id(&format!("eni-{number}")), Resource::Interface(tags, flag)),
                ResourceKind::Address => {
                    let address = latent::model::Address { associated: flag, instance: of, ..address() };
                    (id(&format!("eipalloc-{number}")), Resource::Address(tags, address))
                }
                ResourceKind::SpotRequest => {
                    let request =
                        latent::model::SpotRequest { live: flag, instance: of, created: at, ..spot_request() };
                    (id(&format!("sir-{number}")), Resource::SpotRequest(tags, request))
                }
            }
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

/// What is known beside the account, each as a number that says which.
#[derive(Debug, Clone)]
struct Beside {
    claims: Vec<Option<(u8, i64)>>,
    fleet: bool,
    me: bool,
    named: BTreeSet<usize>,
    /// Which kind could not be read; everything, beyond the last of them.
    gap: Option<usize>,
    response: Option<Response>,
    seen: Option<i64>,
}

fn beside() -> impl Strategy<Value = Beside> {
    let claims = vec(option::of((0..4_u8, spans())), 0..14);
    let responses = [Response::Report, Response::Stop, Response::Terminate];
    let named = proptest::collection::btree_set(0..14_usize, 0..3);
    let gap = option::weighted(0.2, 0..ResourceKind::ALL.len());
    let response = option::of(proptest::sample::select(responses.to_vec()));
    (claims, any::<bool>(), any::<bool>(), named, gap, response, option::of(spans())).prop_map(
        |(claims, fleet, me, named, gap, response, seen)| Beside { claims, fleet, me, named, gap, response, seen },
    )
}

fn desk(things: BTreeMap<ResourceId, Resource>, beside: &Beside) -> Desk {
    let mut desk = Desk::new();
    let ids: Vec<ResourceId> = things.keys().cloned().collect();
    desk.survey(&home()).resources = things;
    desk.survey(&region("eu-west-1"));
    for (id, claim) in ids.iter().filter_map(ResourceId::instance).zip(&beside.claims) {
        let Some((how, span)) = claim else { continue };
        let (worker, at) = (worker("w1"), ago(TimeDelta::minutes(*span)));
        let claim = match how {
            0 => Claim::Used { worker },
            1 => Claim::Connecting { worker, until: at },
            2 => Claim::Stopped { worker },
            _ => Claim::Ending { since: at },
        };
        desk.claim(id.as_str(), claim);
    }
    desk.fleet = beside.fleet.then(|| FLEET.to_owned());
    desk.me = beside.me.then(|| CONTROLLER.to_owned());
    desk.named = ids.iter().enumerate().filter(|(at, _)| beside.named.contains(at)).map(|(_, id)| id.clone()).collect();
    desk.own_amis.insert(super::desk::ami_id("ami-0a1"));
    if let Some(kind) = beside.gap {
        desk.survey(&region("eu-west-1")).gaps.push(gap(ResourceKind::ALL[kind]));
    }
    for kind in LeftoverKind::ALL.iter().filter(|_| beside.response.is_some()) {
        desk.respond(*kind, beside.response.expect("some"));
    }
    if let Some(span) = beside.seen {
        desk.first_seen = ids.iter().map(|id| (id.clone(), ago(TimeDelta::minutes(span)))).collect();
    }
    desk
}

/// Whether a person's tags forbid to end it, as the tags' documentation has it.
fn protected(tags: &TagSet) -> bool {
    let keep =
        tags.get(tag_keys::KEEP).is_some_and(|keep| !["false", "no"].contains(&keep.trim().to_lowercase().as_str()));
    let until = tags.get(tag_keys::KEEP_UNTIL).is_some_and(|until| {
        chrono::DateTime::parse_from_rfc3339(until.trim()).is_ok_and(|at| at > super::desk::now())
    });
    keep || until
}

/// Whether it is the swept fleet's, and not over.
fn ours(desk: &Desk, resource: &Resource) -> bool {
    let fleet = resource.tags().get(tag_keys::FLEET);
    !resource.is_over() && fleet.is_some_and(|own| desk.fleet.as_ref().is_none_or(|fleet| fleet == own))
}

fn plenty() -> ProptestConfig {
    ProptestConfig { cases: 300, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(plenty())]

    #[test]
    fn only_what_is_the_fleets_and_unprotected_is_acted_on(things in things(), beside in beside()) {
        let desk = desk(things, &beside);
        let survey = &desk.surveys[&home()];
        for finding in desk.plan().findings.iter().filter(|finding| finding.act > Act::Report) {
            let id = finding.resource().expect("a resource");
            let resource = &survey.resources[&id];
            prop_assert!(!protected(resource.tags()), "{finding:#?}");
            prop_assert!(!resource.is_over(), "{finding:#?}");
            let named_zombie = desk.named.contains(&id) && finding.kind == LeftoverKind::UntaggedOnOwnAmi;
            prop_assert!(ours(&desk, resource) || named_zombie, "{finding:#?}");
            if let (Some(me), false) = (&desk.me, named_zombie) {
                prop_assert_eq!(resource.tags().get(tag_keys::CONTROLLER), Some(me.as_str()));
            }
            if let Some(Claim::Used { .. }) = id.instance().and_then(|id| desk.claims.get(&its_key())?.instances.get(&id)) {
                let its_own = resource.tags().get(tag_keys::CONTROLLER) == Some(CONTROLLER)
                    && resource.tags().get(tag_keys::FLEET) == Some(FLEET)
                    && resource.tags().get(tag_keys::ROLE) == Some("worker");
                prop_assert!(!its_own || named_zombie, "its controller uses it: {finding:#?}");
            }
            if let Resource::Instance(instance) = resource {
                let disks = instance.parts.volumes.iter().filter_map(|text| survey.resources.get(&super::desk::id(text)));
                prop_assert!(disks.into_iter().all(|disk| !protected(disk.tags())), "{finding:#?}");
            }
        }
    }

    #[test]
    fn everything_of_the_fleet_is_spoken_of_once(things in things(), beside in beside()) {
        let desk = desk(things, &beside);
        let plan = desk.plan();
        let found = plan.findings.iter().filter_map(latent::plan::sweep::Finding::resource);
        let all: Vec<ResourceId> = found.chain(plan.kept.iter().map(|kept| kept.id.clone())).collect();
        let once: BTreeSet<&ResourceId> = all.iter().collect();
        prop_assert_eq!(once.len(), all.len(), "spoken of twice: {:#?}", plan);
        let resources = &desk.surveys[&home()].resources;
        for (id, resource) in resources.iter().filter(|(_, resource)| ours(&desk, resource)) {
            prop_assert!(once.contains(id), "{id} is not spoken of: {resource:#?}");
        }
        prop_assert_eq!(plan.seen.ours.values().sum::<usize>(), resources.values().filter(|resource| ours(&desk, resource)).count());
    }

    #[test]
    fn with_a_gap_nothing_may_be_done(things in things(), beside in beside()) {
        let plan = desk(things, &beside).plan();
        prop_assert_eq!(plan.complete(), beside.gap.is_none());
        if beside.gap.is_some() {
            prop_assert!(plan.refused.is_some());
        }
    }

    #[test]
    fn what_is_taken_away_was_looked_at_twice_or_is_over_by_its_own_tags_or_was_named(things in things(), beside in beside()) {
        let desk = desk(things, &beside);
        for finding in desk.plan().findings.iter().filter(|finding| finding.act.takes_away()) {
            let id = finding.resource().expect("a resource");
            let over = |key| {
                let tags = desk.surveys[&home()].resources[&id].tags().clone();
                tags.time(key).is_some_and(|at| desk.now - at >= desk.policy.grace)
            };
            let twice = finding.first_seen.is_some_and(|at| desk.now - at >= desk.policy.second_look);
            let sure = match finding.kind {
                LeftoverKind::Unattended => over(tag_keys::LEASE),
                LeftoverKind::Expired | LeftoverKind::BakeOverdue => over(tag_keys::DEADLINE),
                _ => false,
            };
            prop_assert!(twice || sure || desk.named.contains(&id), "{finding:#?}");
            let allowed = desk.policy.response(finding.kind) != Response::Report || desk.named.contains(&id);
            prop_assert!(allowed, "{finding:#?}");
        }
    }

    #[test]
    fn a_plan_survives_its_file_and_confirms_itself(things in things(), beside in beside()) {
        let plan = desk(things, &beside).plan();
        let text = serde_json::to_string(&PlanFile::seal(plan.clone()).expect("sealed")).expect("a text");
        prop_assert_eq!(&PlanFile::read(&text).expect("a plan").plan, &plan);
        let (holds, skipped) = confirm(&plan, &plan);
        prop_assert_eq!((holds.len(), skipped.len()), (plan.acts().count(), 0));
    }

    #[test]
    fn no_text_is_taken_for_a_plan(text in any::<String>()) {
        prop_assert!(PlanFile::read(&text).is_err());
    }

    #[test]
    fn what_is_confirmed_is_never_more_than_both_looks_say(before in things(), after in things(), first in beside(), then in beside()) {
        let (earlier, now) = (desk(before, &first).plan(), desk(after, &then).plan());
        let (holds, skipped) = confirm(&earlier, &now);
        prop_assert_eq!(holds.len() + skipped.len(), earlier.acts().count());
        for finding in holds {
            let of = |plan: &latent::plan::sweep::SweepPlan| {
                plan.findings.iter().find(|other| other.id == finding.id).map(|other| (other.kind, other.act))
            };
            let (was, is) = (of(&earlier).expect("planned"), of(&now).expect("still so"));
            prop_assert_eq!(was, (finding.kind, finding.act));
            prop_assert!(is.0 == finding.kind && is.1 >= finding.act);
        }
    }
}
