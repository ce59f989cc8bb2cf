//! The check-up's judgement of a policy that keeps what is idle.

use latent::plan::doctor::Verdict;

use crate::doctor::{ami, judged, setup, sound, sound_fleet};
use crate::setup::Setup;

/// The rows about it that are not right.
fn told(setup: &Setup, encrypted: Option<bool>, hibernates: bool, memory_gib: u64) -> Vec<String> {
    let intent = setup.intent();
    let mut facts = sound(&intent);
    facts.amis.get_mut(&ami()).expect("asked").as_mut().expect("seen").root_encrypted = encrypted;
    for kind in facts.types.as_mut().expect("seen").values_mut() {
        (kind.hibernates, kind.memory_mib) = (hibernates, memory_gib * 1024);
    }
    let rows = judged(&intent, &sound_fleet(), facts);
    let about = rows.iter().filter(|row| matches!(row.check.as_str(), "hibernation" | "on_idle"));
    about.filter(|row| row.verdict != Verdict::Ok).map(|row| format!("{} {}", row.verdict, row.seen)).collect()
}

#[test]
fn what_cannot_be_hibernated_is_told_before_a_launch_is_refused() {
    let hibernates = setup().policy("on_idle = \"hibernate\"");
    assert_eq!(told(&hibernates, Some(true), true, 8), Vec::<String>::new());
    assert_eq!(
        told(&hibernates, Some(true), false, 8),
        ["problem EC2 does not hibernate m7i.large, m5.large: a launch that asks for it is refused"]
    );
    for unsaid in [None, Some(false)] {
        let rows = told(&hibernates, unsaid, true, 8);
        assert!(rows[0].starts_with("warning nothing says that the root disk is encrypted"), "{rows:?}");
    }
    assert_eq!(
        told(&hibernates, Some(true), true, 32),
        ["problem the root disk has 30 GiB, and the memory of 32 GiB is to be written to it"]
    );
    assert_eq!(told(&hibernates, Some(true), true, 192).len(), 2, "so much memory is not hibernated at all");
    let long = setup().policy("on_idle = \"hibernate\"\nmax_lifetime = \"90d\"");
    assert!(told(&long, Some(true), true, 8)[0].contains("60 days"));
    assert_eq!(told(&setup(), Some(false), false, 512), Vec::<String>::new(), "a stop needs none of that");
}

#[test]
fn a_pool_of_spot_capacity_alone_is_none() {
    for (on_idle, wrong) in [("terminate", 0), ("stop", 1), ("hibernate", 1)] {
        let policy = format!("on_idle = \"{on_idle}\"");
        let spot = setup().policy(&policy).image_of(
            "debian",
            "alice",
            "us-west-2",
            ami().as_str(),
            "\"m7i.large\"",
            "market = [\"spot\"]",
        );
        assert_eq!(told(&spot, Some(true), true, 8).len(), wrong, "{on_idle}");
    }
}
