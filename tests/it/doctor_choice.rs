//! The check-up's judgement of a manifest that names no AMI.

use std::collections::BTreeMap;

use latent::model::{AmiCandidate, AmiState, Seen, Unseen};

use crate::doctor::{ami, judged, right, setup, sound, sound_fleet, tried};
use crate::harness::morning;

#[test]
fn an_ami_that_is_chosen_is_looked_at_like_one_that_is_named() {
    let lines = "ami_owners = [\"self\"]\nami_location = '1+/w-([0-9]+)'\nsecurity_group_names = [\"default\"]";
    let intent = setup().image_by("debian", "alice", "us-west-2", lines).intent();
    let query =
        intent.images.values().next().and_then(latent::policy::Image::ami_query).expect("it asks for a listing");
    let told = |listed: Seen<Vec<AmiCandidate>>| {
        let mut facts = sound(&intent);
        facts.choices = BTreeMap::from([(query.clone(), listed.map(|found| (morning(), found)))]);
        facts.tried = tried(&intent, &facts, right);
        let rows = judged(&intent, &sound_fleet(), facts);
        let about = rows.iter().filter(|row| matches!(row.check.as_str(), "AMI" | "launch" | "inbound"));
        about.map(|row| format!("{:?} {}", row.verdict, row.seen)).collect::<Vec<_>>().join("; ")
    };
    let (id, state, created) = (ami(), AmiState::Available, Some(morning()));
    let one = AmiCandidate {
        id,
        location: "111/w-7".to_owned(),
        state,
        architecture: String::new(),
        created,
        deprecated: None,
    };
    let chosen = told(Ok(vec![one.clone()]));
    assert!(
        chosen.contains("is available, chosen by ami_owners = [\"self\"]") && chosen.contains("1 dry run"),
        "{chosen}"
    );
    let none = told(Ok(vec![AmiCandidate { location: "111/x-7".to_owned(), ..one }]));
    assert!(none.starts_with("Problem no AMI in us-west-2 fits ami_owners") && !none.contains("dry run"), "{none}");
    assert!(none.contains("sg-default (default) lets in"), "the group is found by its name: {none}");
    assert!(told(Err(Unseen::skipped("it was not asked for"))).starts_with("Unknown"), "not seen is not right");
}
