//! Which AMIs of an image may be put away now, and how far: deprecate, disable, deregister, one stage at a
//! time with a grace between them. What is not known for sure is kept.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Ami, AmiId, AmiState, ImageName, RetireStage, tag_keys};

/// The time between two stages, in which a person can say no and whoever still needs the AMI notices.
pub const RETIRE_GRACE: TimeDelta = TimeDelta::days(7);

/// An AMI that may be put away one stage further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// Which.
    pub ami: AmiId,
    /// How far.
    pub stage: RetireStage,
    /// Why, for people.
    pub why: String,
}

/// An AMI that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAmi {
    /// Which.
    pub ami: AmiId,
    /// Why, for people.
    pub why: String,
}

/// What is done and what is left: each AMI that was asked about stands in one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retirements {
    /// What may be done now.
    pub due: Vec<Retirement>,
    /// What is kept.
    pub kept: Vec<KeptAmi>,
}

/// Everything that it depends on.
#[derive(Debug, Clone, Copy)]
pub struct RetireView<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// The fleet.
    pub fleet: &'a str,
    /// The image.
    pub image: &'a ImageName,
    /// The AMI that its manifest names; none if a filter chooses one.
    pub current: Option<&'a AmiId>,
    /// What its manifest has as `previous`, to which a rollback goes.
    pub previous: Option<&'a AmiId>,
    /// What rebakes that are under way have made or begin from.
    pub in_work: &'a BTreeSet<AmiId>,
    /// The AMIs of the account in the image's region, the current one with them.
    pub amis: &'a [Ami],
    /// Who uses each: instances, stopped ones too, manifests, launch templates. An AMI that is missing here, or
    /// whose users could not be looked up, counts as in use.
    pub uses: &'a BTreeMap<AmiId, Result<Vec<String>, ()>>,
    /// So many generations are kept, whatever their age.
    pub keep: u32,
    /// A generation is kept for so long.
    pub keep_for: TimeDelta,
}

/// Which AMIs may be put away one stage further now.
pub fn retirements(view: &RetireView<'_>) -> Retirements {
    let mut all = Retirements::default();
    for ami in view.amis {
        match judge(view, ami) {
            Ok((stage, why)) => all.due.push(Retirement { ami: ami.id.clone(), stage, why }),
            Err(why) => all.kept.push(KeptAmi { ami: ami.id.clone(), why }),
        }
    }
    all
}

/// How far an AMI may be put away, or why it is kept.
fn judge(view: &RetireView<'_>, ami: &Ami) -> Result<(RetireStage, String), String> {
    belongs(view, ami)?;
    nobody_needs(view, ami)?;
    let age = view.now - ami.created;
    let newer = view.amis.iter().filter(|other| other.created > ami.created && is_good(view, other)).count();
    let failed = matches!(ami.tags.get(tag_keys::ROLLOUT), Some("failed" | "rolled-back"));
    // A generation that failed is none to go back to, so it is not counted, and no newer one has to come.
    if !failed && newer < view.keep as usize {
        return Err(format!("{newer} newer generations, and {} are kept (sweep.ami_keep)", view.keep));
    }
    if age < view.keep_for {
        let (days, limit) = (age.num_days().max(0), view.keep_for.num_days());
        return Err(format!("{days} days old, and {limit} days it is kept (sweep.ami_keep_for)"));
    }
    let why = if failed { "it failed".to_owned() } else { format!("{newer} newer generations have replaced it") };
    Ok((stage(view, ami)?, why))
}

/// Only what a rebake made for this image of this fleet is put away, and nothing that a person holds.
fn belongs(view: &RetireView<'_>, ami: &Ami) -> Result<(), String> {
    if ami.tags.get(tag_keys::FLEET) != Some(view.fleet) {
        return Err("it is not the fleet's".to_owned());
    }
    if ami.tags.get(tag_keys::IMAGE) != Some(view.image.as_str()) {
        return Err("it is another image's".to_owned());
    }
    if ami.tags.get(tag_keys::IMAGE_ORIGIN) != Some("rebake") {
        return Err("no rebake made it: it is its owner's".to_owned());
    }
    if ami.tags.get(tag_keys::KEEP).is_some_and(|word| !matches!(word, "false" | "no")) {
        return Err(format!("its tag {} says so", tag_keys::KEEP));
    }
    // A time that cannot be read was meant to be one.
    let until = ami.tags.get(tag_keys::KEEP_UNTIL).map(|_| ami.tags.time(tag_keys::KEEP_UNTIL));
    if until.is_some_and(|until| until.is_none_or(|until| until > view.now)) {
        return Err(format!("its tag {} says so", tag_keys::KEEP_UNTIL));
    }
    Ok(())
}

fn nobody_needs(view: &RetireView<'_>, ami: &Ami) -> Result<(), String> {
    let Some(current) = view.current else { return Err("its manifest names no AMI".to_owned()) };
    if ami.id == *current {
        return Err("its manifest names it".to_owned());
    }
    if view.previous == Some(&ami.id) {
        return Err("a rollback goes to it".to_owned());
    }
    if !view.amis.iter().any(|other| other.id == *current && other.state == AmiState::Available) {
        return Err(format!("the AMI that its manifest names, {current}, is not seen as available"));
    }
    if view.in_work.contains(&ami.id) {
        return Err("a rebake is at work with it".to_owned());
    }
    match ami.tags.get(tag_keys::ROLLOUT) {
        None | Some("promoted" | "failed" | "rolled-back") => {}
        Some(word) => return Err(format!("its rollout is not over ({})", shortened(word))),
    }
    match view.uses.get(&ami.id) {
        None | Some(Err(())) => return Err("who uses it could not be looked up".to_owned()),
        Some(Ok(users)) => {
            if let Some(user) = users.first() {
                return Err(format!("{} uses it", shortened(user)));
            }
        }
    }
    let shares = |other: &&Ami| other.id != ami.id && other.snapshots.iter().any(|id| ami.snapshots.contains(id));
    match view.amis.iter().find(shares) {
        Some(other) if other.state != AmiState::Deregistered => Err(format!("{} needs a snapshot of it", other.id)),
        _ => Ok(()),
    }
}

/// Whether a launch could use it as a generation of this image.
fn is_good(view: &RetireView<'_>, ami: &Ami) -> bool {
    ami.state == AmiState::Available
        && ami.deprecated.is_none_or(|at| at > view.now)
        && ami.tags.get(tag_keys::FLEET) == Some(view.fleet)
        && ami.tags.get(tag_keys::IMAGE) == Some(view.image.as_str())
        && matches!(ami.tags.get(tag_keys::ROLLOUT), None | Some("promoted"))
}

/// The next stage, or until when the present one lasts.
fn stage(view: &RetireView<'_>, ami: &Ami) -> Result<RetireStage, String> {
    let rest = |since: DateTime<Utc>, next: RetireStage, done: &str| {
        let from = since + RETIRE_GRACE;
        if view.now >= from {
            return Ok(next);
        }
        Err(format!("{done} on {}; the next stage comes on {}", since.date_naive(), from.date_naive()))
    };
    match (&ami.state, ami.deprecated) {
        (AmiState::Available, Some(at)) if at <= view.now => rest(at, RetireStage::Disable, "it was deprecated"),
        (AmiState::Available, _) => Ok(RetireStage::Deprecate),
        (AmiState::Disabled, _) => match ami.tags.time(tag_keys::PUT_AWAY) {
            Some(at) => rest(at, RetireStage::Deregister, "it was disabled"),
            None => Err(format!("it is disabled without a tag {} of ours, so a person did it", tag_keys::PUT_AWAY)),
        },
        (AmiState::Pending, _) => Err("it is pending".to_owned()),
        (AmiState::Failed, _) => Err("EC2 could not make it: the sweep tells it".to_owned()),
        (AmiState::Deregistered, _) => Err("it is gone".to_owned()),
        (AmiState::Unknown(state), _) => Err(format!("nobody knows what its state {state:?} means")),
    }
}

/// Somebody's text in a message: on one line, and not long.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::TagSet;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().expect("a time")
    }

    fn id(number: u32) -> AmiId {
        format!("ami-{number}").parse().expect("an id")
    }

    /// A generation of the image `debian` that is so many days old.
    fn baked(number: u32, days: i64) -> Ami {
        let mut tags = TagSet::default();
        tags.set(tag_keys::FLEET, "f").set(tag_keys::IMAGE, "debian").set(tag_keys::IMAGE_ORIGIN, "rebake");
        tags.set(tag_keys::ROLLOUT, "promoted");
        let snapshot = format!("snap-{number}").parse().expect("an id");
        Ami {
            id: id(number),
            name: String::new(),
            state: AmiState::Available,
            architecture: "x86_64".to_owned(),
            snapshots: vec![snapshot],
            created: now() - TimeDelta::days(days),
            size_gib: Some(8),
            deprecated: None,
            tags,
        }
    }

    struct Case {
        amis: Vec<Ami>,
        uses: BTreeMap<AmiId, Result<Vec<String>, ()>>,
        in_work: BTreeSet<AmiId>,
        previous: Option<AmiId>,
    }

    /// Five generations, the first the oldest; the fifth is current, the fourth the one before.
    fn case() -> Case {
        let amis: Vec<Ami> = (1..=5).map(|number| baked(number, 600 - i64::from(number) * 100)).collect();
        let uses = amis.iter().map(|ami| (ami.id.clone(), Ok(Vec::new()))).collect();
        Case { amis, uses, in_work: BTreeSet::new(), previous: Some(id(4)) }
    }

    impl Case {
        fn judge(&self) -> Retirements {
            retirements(&RetireView {
                now: now(),
                fleet: "f",
                image: &"debian".parse().expect("a name"),
                current: Some(&id(5)),
                previous: self.previous.as_ref(),
                in_work: &self.in_work,
                amis: &self.amis,
                uses: &self.uses,
                keep: 2,
                keep_for: TimeDelta::days(30),
            })
        }

        /// What becomes of the oldest one.
        fn oldest(&self) -> Result<RetireStage, String> {
            let all = self.judge();
            let due = all.due.iter().find(|due| due.ami == id(1)).map(|due| due.stage);
            due.ok_or_else(|| all.kept.iter().find(|kept| kept.ami == id(1)).expect("kept").why.clone())
        }
    }

    #[test]
    fn what_newer_generations_replaced_is_put_away_and_the_last_ones_stay() {
        let all = case().judge();
        assert_eq!(all.due.iter().map(|due| due.ami.clone()).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
        assert!(all.due.iter().all(|due| due.stage == RetireStage::Deprecate));
        let kept: Vec<&str> = all.kept.iter().map(|kept| kept.why.as_str()).collect();
        assert_eq!(kept, ["a rollback goes to it", "its manifest names it"]);
    }

    #[test]
    fn one_stage_follows_the_other_after_a_grace() {
        let mut case = case();
        let ago = |days: i64| now() - TimeDelta::days(days);
        case.amis[0].deprecated = Some(ago(6));
        let why = "it was deprecated on 2026-11-15; the next stage comes on 2026-11-22";
        assert_eq!(case.oldest(), Err(why.to_owned()));
        case.amis[0].deprecated = Some(ago(7));
        assert_eq!(case.oldest(), Ok(RetireStage::Disable));
        case.amis[0].deprecated = Some(ago(-700));
        assert_eq!(case.oldest(), Ok(RetireStage::Deprecate), "a time to come is EC2's own, of two years");
        case.amis[0].state = AmiState::Disabled;
        assert!(case.oldest().expect_err("kept").ends_with("so a person did it"));
        case.amis[0].tags.set_time(tag_keys::PUT_AWAY, ago(6));
        assert!(case.oldest().expect_err("kept").starts_with("it was disabled on 2026-11-15"));
        case.amis[0].tags.set_time(tag_keys::PUT_AWAY, ago(7));
        assert_eq!(case.oldest(), Ok(RetireStage::Deregister));
        case.amis[0].tags.set(tag_keys::PUT_AWAY, "soon");
        assert!(case.oldest().is_err(), "a time that cannot be read is none");
    }

    #[test]
    fn whoever_may_need_it_keeps_it() {
        let kept = |change: &dyn Fn(&mut Case)| {
            let mut case = case();
            change(&mut case);
            case.oldest().expect_err("kept")
        };
        let tagged = |key: &'static str, value: &'static str| {
            kept(&move |case: &mut Case| {
                case.amis[0].tags.set(key, value);
            })
        };
        assert_eq!(kept(&|case| drop(case.uses.remove(&id(1)))), "who uses it could not be looked up");
        assert_eq!(kept(&|case| drop(case.uses.insert(id(1), Err(())))), "who uses it could not be looked up");
        assert_eq!(kept(&|case| drop(case.uses.insert(id(1), Ok(vec!["i-1".to_owned()])))), "i-1 uses it");
        assert_eq!(kept(&|case| case.in_work.extend([id(1)])), "a rebake is at work with it");
        assert_eq!(tagged(tag_keys::ROLLOUT, "canary"), "its rollout is not over (canary)");
        assert_eq!(tagged(tag_keys::IMAGE_ORIGIN, "hand"), "no rebake made it: it is its owner's");
        assert_eq!(tagged(tag_keys::FLEET, "g"), "it is not the fleet's");
        assert_eq!(tagged(tag_keys::IMAGE, "fedora"), "it is another image's");
        assert_eq!(tagged(tag_keys::KEEP, "yes"), "its tag latent:keep says so");
        assert_eq!(tagged(tag_keys::KEEP_UNTIL, "whenever"), "its tag latent:keep-until says so");
        let shared = kept(&|case| case.amis[0].snapshots = case.amis[4].snapshots.clone());
        assert_eq!(shared, "ami-5 needs a snapshot of it");
        let unseen = kept(&|case| drop(case.amis.pop()));
        assert_eq!(unseen, "the AMI that its manifest names, ami-5, is not seen as available");
    }

    #[test]
    fn a_generation_that_failed_is_no_measure_and_needs_no_successor() {
        let mut case = case();
        for ami in &mut case.amis[2..4] {
            ami.tags.set(tag_keys::ROLLOUT, "rolled-back");
        }
        case.previous = None;
        let all = case.judge();
        let due: Vec<AmiId> = all.due.iter().map(|due| due.ami.clone()).collect();
        assert_eq!(due, [id(1), id(3), id(4)], "those that failed, and what two good ones have replaced");
        case.amis[1].state = AmiState::Disabled;
        let due: Vec<AmiId> = case.judge().due.into_iter().map(|due| due.ami).collect();
        assert_eq!(due, [id(3), id(4)], "what failed replaces nothing");
    }

    /// Number, age in days, state, tags, days since it was deprecated and put away, number of its snapshot.
    type Drawn = (u32, i64, AmiState, [Option<&'static str>; 6], Option<i64>, Option<i64>, u32);

    /// Any AMI: what it may say of itself in every way.
    fn any_ami() -> impl Strategy<Value = Drawn> {
        let states = prop::sample::select(vec![
            AmiState::Available,
            AmiState::Available,
            AmiState::Disabled,
            AmiState::Pending,
            AmiState::Unknown("odd".to_owned()),
        ]);
        let word = |words: Vec<&'static str>| prop::option::weighted(0.9, prop::sample::select(words));
        let tags = [
            word(vec!["f", "f", "f", "g"]),
            word(vec!["debian", "debian", "debian", "fedora"]),
            word(vec!["rebake", "rebake", "rebake", "hand"]),
            word(vec!["promoted", "promoted", "wanted", "canary", "failed", "rolled-back", "odd"]),
            prop::option::weighted(0.1, prop::sample::select(vec!["yes", "no"])),
            prop::option::weighted(
                0.1,
                prop::sample::select(vec!["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "x"]),
            ),
        ];
        let days = || prop::option::of(-10_i64..40);
        (1_u32..9, -5_i64..400, states, tags, days(), days(), 1_u32..12)
    }

    proptest! {
        #[test]
        fn whatever_the_input_what_must_be_kept_is_kept(
            drawn in prop::collection::vec(any_ami(), 0..9),
            uses in prop::collection::btree_map(1_u32..9, prop::sample::select(vec![0, 0, 0, 1, 2]), 0..9),
            in_work in prop::collection::btree_set(1_u32..9, 0..2),
            (previous, keep, keep_days) in (prop::option::of(1_u32..9), 0_u32..4, 0_i64..60),
        ) {
            let mut amis: BTreeMap<AmiId, Ami> = BTreeMap::new();
            for (number, days, state, tags, deprecated, put_away, snapshot) in drawn {
                let mut ami = Ami { state, tags: TagSet::default(), ..baked(number, days) };
                let keys = [tag_keys::FLEET, tag_keys::IMAGE, tag_keys::IMAGE_ORIGIN, tag_keys::ROLLOUT, tag_keys::KEEP, tag_keys::KEEP_UNTIL];
                for (key, value) in keys.into_iter().zip(tags) {
                    value.map(|value| ami.tags.set(key, value));
                }
                ami.deprecated = deprecated.map(|days| now() - TimeDelta::days(days));
                put_away.map(|days| ami.tags.set_time(tag_keys::PUT_AWAY, now() - TimeDelta::days(days)));
                ami.snapshots = vec![format!("snap-{snapshot}").parse().expect("an id")];
                amis.insert(ami.id.clone(), ami);
            }
            let amis: Vec<Ami> = amis.into_values().collect();
            let uses: BTreeMap<AmiId, Result<Vec<String>, ()>> = uses.into_iter().map(|(number, kind)| {
                (id(number), match kind { 0 => Ok(Vec::new()), 1 => Err(()), _ => Ok(vec!["i-1".to_owned()]) })
            }).collect();
            let in_work: BTreeSet<AmiId> = in_work.into_iter().map(id).collect();
            let (current, previous) = (id(1), previous.map(id));
            let all = retirements(&RetireView {
                now: now(), fleet: "f", image: &"debian".parse().expect("a name"), current: Some(&current),
                previous: previous.as_ref(), in_work: &in_work, amis: &amis, uses: &uses, keep,
                keep_for: TimeDelta::days(keep_days),
            });
            prop_assert_eq!(all.due.len() + all.kept.len(), amis.len(), "each has its place");
            for due in &all.due {
                let ami = amis.iter().find(|ami| ami.id == due.ami).expect("one of them");
                let tag = |key| ami.tags.get(key);
                prop_assert!(due.ami != current && previous.as_ref() != Some(&due.ami) && !in_work.contains(&due.ami));
                prop_assert_eq!(uses.get(&due.ami), Some(&Ok(Vec::new())), "in use or unknown");
                prop_assert_eq!((tag(tag_keys::FLEET), tag(tag_keys::IMAGE), tag(tag_keys::IMAGE_ORIGIN)), (Some("f"), Some("debian"), Some("rebake")));
                prop_assert!(!matches!(tag(tag_keys::ROLLOUT), Some("wanted" | "canary" | "odd")));
                prop_assert!(!matches!(tag(tag_keys::KEEP), Some("yes")));
                prop_assert!(!matches!(tag(tag_keys::KEEP_UNTIL), Some("x" | "2030-01-01T00:00:00Z")));
                prop_assert!(now() - ami.created >= TimeDelta::days(keep_days));
                prop_assert!(!amis.iter().any(|other| other.id != ami.id && other.snapshots == ami.snapshots));
                match due.stage {
                    RetireStage::Deprecate => prop_assert_eq!(&ami.state, &AmiState::Available),
                    RetireStage::Disable => {
                        prop_assert_eq!(&ami.state, &AmiState::Available);
                        prop_assert!(ami.deprecated.is_some_and(|at| now() - at >= RETIRE_GRACE));
                    }
                    RetireStage::Deregister => {
                        prop_assert_eq!(&ami.state, &AmiState::Disabled);
                        prop_assert!(ami.tags.time(tag_keys::PUT_AWAY).is_some_and(|at| now() - at >= RETIRE_GRACE));
                    }
                }
            }
            // So many to go back to are left as there were, or as there must be.
            let good = |ami: &&Ami| {
                ami.state == AmiState::Available && ami.deprecated.is_none_or(|at| at > now())
                    && ami.tags.get(tag_keys::FLEET) == Some("f") && ami.tags.get(tag_keys::IMAGE) == Some("debian")
                    && matches!(ami.tags.get(tag_keys::ROLLOUT), None | Some("promoted"))
            };
            let before = amis.iter().filter(good).count();
            let left = amis.iter().filter(good).filter(|ami| all.due.iter().all(|due| due.ami != ami.id)).count();
            prop_assert!(left >= before.min(keep as usize), "{left} of {before} are left, {keep} must be");
        }
    }
}
