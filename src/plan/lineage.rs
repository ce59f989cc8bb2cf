//! The generations of each image: what there is, what came from what, who uses it, what it costs, and when
//! the next one is due.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Ami, AmiId, AmiState, Cell, ImageName, Instance, WorkerName, tag_keys};
use crate::policy::price::{self, Range};
use crate::policy::{AmiChoice, Image};

/// What a controller knows of the starts from one AMI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AmiStarts {
    /// Which.
    pub ami: AmiId,
    /// So many instances were started from it.
    pub starts: u64,
    /// So many workers connected.
    pub connected: u64,
    /// So many starts failed.
    pub failed: u64,
    /// Seconds from the launch to the connected worker, of the last starts.
    #[serde(default)]
    pub connect_seconds: Vec<f64>,
}

/// Where an AMI stands among the generations of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The manifest names it.
    Current,
    /// A rollback goes to it.
    Previous,
    /// It is not proven yet.
    Candidate,
    /// It was found bad, before it was promoted or after.
    Failed,
    /// Its owner made it.
    Original,
    /// It was promoted once, and newer ones have replaced it.
    Superseded,
    /// It shall not be used any more, and can be.
    Deprecated,
    /// It cannot be launched until it is enabled again.
    Disabled,
}

impl Standing {
    /// Our word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Current => "current",
            Standing::Previous => "previous",
            Standing::Candidate => "candidate",
            Standing::Failed => "failed",
            Standing::Original => "original",
            Standing::Superseded => "superseded",
            Standing::Deprecated => "deprecated",
            Standing::Disabled => "disabled",
        }
    }
}

/// One AMI.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// Which.
    pub ami: AmiId,
    /// Its number, counted by promotions; none of what no rebake made.
    pub generation: Option<u32>,
    /// The AMI that it was made from.
    pub parent: Option<AmiId>,
    /// How many of its line before it are shown here.
    pub depth: u32,
    /// Where it stands.
    pub standing: Standing,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// The size of its disks, in GiB: its snapshots hold that at most.
    pub size_gib: Option<u32>,
    /// What its snapshots cost per month, in millionths of a dollar: at most the higher one.
    pub month: Option<Range>,
    /// From when it shall not be used any more.
    pub deprecated: Option<DateTime<Utc>>,
    /// Instances that run it or can be started with it, and workers whose image it is.
    pub used_by: Vec<String>,
    /// What the controller knows of its starts.
    pub starts: Option<AmiStarts>,
}

/// The generations of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageLineage {
    /// Which.
    pub image: ImageName,
    /// The AMI that the manifest names; none if a filter chooses one.
    pub current: Option<AmiId>,
    /// The filter, if one chooses the AMI.
    pub filter: Option<String>,
    /// AMIs that the manifest names and that are not among the account's own.
    pub missing: Vec<AmiId>,
    /// Its workers.
    pub workers: Vec<WorkerName>,
    /// When the next generation is due, by the age of the current one.
    pub due: Option<DateTime<Utc>>,
    /// Its AMIs, each below the one that it was made from.
    pub generations: Vec<Generation>,
}

/// What there is in one account and region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lineage {
    /// Which.
    #[serde(flatten)]
    pub cell: Cell,
    /// By image.
    pub images: Vec<ImageLineage>,
    /// AMIs of the fleet that no manifest knows.
    pub unknown: Vec<Generation>,
}

/// Everything that it depends on.
#[derive(Debug, Clone, Copy)]
pub struct LineageView<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// The fleet.
    pub fleet: &'a str,
    /// Which account and region.
    pub cell: &'a Cell,
    /// All manifests.
    pub images: &'a BTreeMap<ImageName, Image>,
    /// The image of each worker.
    pub workers: &'a BTreeMap<WorkerName, ImageName>,
    /// The account's own AMIs there.
    pub amis: &'a [Ami],
    /// The instances there.
    pub instances: &'a [Instance],
    /// What the controller knows of their starts.
    pub starts: &'a BTreeMap<AmiId, AmiStarts>,
    /// The age from which an AMI is due to be made anew.
    pub max_age: TimeDelta,
}

/// The generations of each image of a cell.
pub fn lineage(view: &LineageView<'_>) -> Lineage {
    let known: BTreeMap<&AmiId, &Ami> =
        view.amis.iter().filter(|ami| ami.state != AmiState::Deregistered).map(|ami| (&ami.id, ami)).collect();
    let here = |image: &&(&ImageName, &Image)| image.1.owner == view.cell.owner && image.1.region == view.cell.region;
    let mut shown = BTreeSet::new();
    let images: Vec<ImageLineage> = view
        .images
        .iter()
        .filter(|(name, image)| here(&&(*name, *image)))
        .map(|(name, image)| {
            let members = members(view, &known, name, image);
            shown.extend(members.iter().copied());
            of_image(view, &known, name, image, &members)
        })
        .collect();
    let is_unknown = |ami: &&&Ami| ami.tags.get(tag_keys::FLEET) == Some(view.fleet) && !shown.contains(&ami.id);
    let unknown = known.values().filter(is_unknown).map(|ami| generation(view, ami, None, 0)).collect();
    Lineage { cell: view.cell.clone(), images, unknown }
}

/// The AMIs of an image: what carries its name, what its manifest names, and what these came from.
fn members<'a>(
    view: &LineageView<'_>,
    known: &BTreeMap<&'a AmiId, &'a Ami>,
    name: &ImageName,
    image: &Image,
) -> BTreeSet<&'a AmiId> {
    let tagged = known.values().filter(|ami| {
        ami.tags.get(tag_keys::FLEET) == Some(view.fleet) && ami.tags.get(tag_keys::IMAGE) == Some(name.as_str())
    });
    let named = image.ami.named().into_iter().chain(&image.previous);
    let mut open: Vec<AmiId> = tagged.map(|ami| ami.id.clone()).chain(named.cloned()).collect();
    let mut all = BTreeSet::new();
    while let Some(id) = open.pop() {
        let Some((id, ami)) = known.get_key_value(&id) else { continue };
        if all.insert(*id) {
            let before = [tag_keys::PARENT, tag_keys::ROOT].map(|key| ami.tags.get(key).and_then(|id| id.parse().ok()));
            open.extend(before.into_iter().flatten());
        }
    }
    all
}

fn of_image(
    view: &LineageView<'_>,
    known: &BTreeMap<&AmiId, &Ami>,
    name: &ImageName,
    image: &Image,
    members: &BTreeSet<&AmiId>,
) -> ImageLineage {
    let current = image.ami.named();
    let missing = current.into_iter().chain(&image.previous).filter(|id| !known.contains_key(id)).cloned().collect();
    let made = current.and_then(|id| known.get(id)).map(|ami| ami.created);
    ImageLineage {
        image: name.clone(),
        current: current.cloned(),
        filter: image.ami.filter().map(|_| AmiChoice::to_string(&image.ami)),
        missing,
        workers: workers(view, name),
        due: made.and_then(|made| made.checked_add_signed(view.max_age)),
        generations: in_line(known, members)
            .into_iter()
            .map(|(ami, depth)| generation(view, ami, Some((name, image)), depth))
            .collect(),
    }
}

fn workers(view: &LineageView<'_>, image: &ImageName) -> Vec<WorkerName> {
    view.workers.iter().filter(|(_, of)| *of == image).map(|(worker, _)| worker.clone()).collect()
}

fn parent(ami: &Ami) -> Option<AmiId> {
    ami.tags.get(tag_keys::PARENT).and_then(|id| id.parse().ok())
}

/// Each AMI below the one that it was made from, the older first, with how many are above it. Tags are
/// anybody's: two that name each other are shown once each.
fn in_line<'a>(known: &BTreeMap<&'a AmiId, &'a Ami>, members: &BTreeSet<&'a AmiId>) -> Vec<(&'a Ami, u32)> {
    let mut amis: Vec<&Ami> = members.iter().filter_map(|id| known.get(id).copied()).collect();
    amis.sort_by_key(|ami| (ami.created, &ami.id));
    let is_first = |ami: &&&Ami| parent(ami).is_none_or(|id| id == ami.id || !members.contains(&id));
    let mut open: Vec<(&Ami, u32)> = amis.iter().rev().filter(is_first).map(|ami| (*ami, 0)).collect();
    let (mut line, mut seen) = (Vec::new(), BTreeSet::new());
    // What is in a circle has no first one: it comes last.
    let mut rest = amis.iter();
    loop {
        let Some((ami, depth)) = open.pop().or_else(|| rest.next().map(|ami| (*ami, 0))) else { return line };
        if seen.insert(&ami.id) {
            line.push((ami, depth));
            let children = amis.iter().rev().filter(|other| parent(other).as_ref() == Some(&ami.id));
            open.extend(children.map(|child| (*child, depth + 1)));
        }
    }
}

fn generation(view: &LineageView<'_>, ami: &Ami, image: Option<(&ImageName, &Image)>, depth: u32) -> Generation {
    let running = view.instances.iter().filter(|i| i.ami.as_ref() == Some(&ami.id) && !i.state.is_ending());
    let is_current = image.is_some_and(|(_, image)| image.ami.named() == Some(&ami.id));
    let workers = image.filter(|_| is_current).map(|(name, _)| workers(view, name)).unwrap_or_default();
    let mut used_by: Vec<String> = workers.iter().map(ToString::to_string).collect();
    used_by.extend(running.map(|instance| instance.id.to_string()));
    Generation {
        ami: ami.id.clone(),
        generation: ami.tags.get(tag_keys::GENERATION).and_then(|text| text.parse().ok()),
        parent: parent(ami),
        depth,
        standing: standing(view, ami, image.map(|(_, image)| image)),
        created: ami.created,
        size_gib: ami.size_gib,
        month: ami.size_gib.and_then(|gib| price::snapshot_month(&view.cell.region, u64::from(gib))),
        deprecated: ami.deprecated,
        used_by,
        starts: view.starts.get(&ami.id).cloned(),
    }
}

fn standing(view: &LineageView<'_>, ami: &Ami, image: Option<&Image>) -> Standing {
    let rollout = ami.tags.get(tag_keys::ROLLOUT);
    if image.is_some_and(|image| image.ami.named() == Some(&ami.id)) {
        Standing::Current
    } else if ami.state == AmiState::Disabled {
        Standing::Disabled
    } else if image.is_some_and(|image| image.previous.as_ref() == Some(&ami.id)) {
        Standing::Previous
    } else if ami.state == AmiState::Failed || matches!(rollout, Some("failed" | "rolled-back")) {
        Standing::Failed
    } else if ami.deprecated.is_some_and(|at| at <= view.now) {
        Standing::Deprecated
    } else if ami.tags.get(tag_keys::IMAGE_ORIGIN) != Some("rebake") {
        Standing::Original
    } else if matches!(rollout, Some("promoted")) {
        Standing::Superseded
    } else {
        // Wanted, at its canary, or nobody's word yet.
        Standing::Candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TagSet;
    use crate::policy::{Intent, Sources};

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().expect("a time")
    }

    fn id(text: &str) -> AmiId {
        text.parse().expect("an id")
    }

    fn ami(text: &str, days: i64, tags: &[(&str, &str)]) -> Ami {
        Ami {
            architecture: "x86_64".to_owned(),
            id: id(text),
            name: text.to_owned(),
            state: AmiState::Available,
            snapshots: Vec::new(),
            created: now() - TimeDelta::days(days),
            size_gib: Some(30),
            deprecated: None,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn baked(text: &str, days: i64, parent: &str, generation: &str, rollout: &str) -> Ami {
        let tags = [
            (tag_keys::FLEET, "f"),
            (tag_keys::IMAGE, "debian"),
            (tag_keys::IMAGE_ORIGIN, "rebake"),
            (tag_keys::PARENT, parent),
            (tag_keys::GENERATION, generation),
            (tag_keys::ROLLOUT, rollout),
        ];
        ami(text, days, &tags)
    }

    fn judged(amis: &[Ami]) -> Lineage {
        let main = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.o]\naccount = \"012345678901\"\n\
                    credentials = { profile = \"p\" }\n";
        let manifest = "owner = \"o\"\nregion = \"us-east-1\"\nami = \"ami-3\"\nprevious = \"ami-2\"\n\
                        generation = 2\ninstance_types = [\"m7i.large\"]\n";
        let sources = Sources {
            main: ("latent.toml".to_owned(), main.to_owned()),
            images: vec![("debian".to_owned(), "amis/debian.toml".to_owned(), manifest.to_owned())],
            ..Sources::default()
        };
        let intent = Intent::parse(&sources).expect("a right configuration");
        let cell = Cell { owner: "o".parse().expect("a name"), region: "us-east-1".parse().expect("a region") };
        let worker = ("w".parse().expect("a name"), "debian".parse().expect("a name"));
        lineage(&LineageView {
            now: now(),
            fleet: "f",
            cell: &cell,
            images: &intent.images,
            workers: &BTreeMap::from([worker]),
            amis,
            instances: &[],
            starts: &BTreeMap::new(),
            max_age: TimeDelta::days(90),
        })
    }

    #[test]
    fn each_generation_stands_below_the_one_it_was_made_from() {
        let mut old = baked("ami-2", 100, "ami-1", "1", "promoted");
        old.deprecated = Some(now() - TimeDelta::days(1));
        let all = judged(&[
            baked("ami-3", 50, "ami-2", "2", "promoted"),
            baked("ami-5", 1, "ami-3", "4", "wanted"),
            old,
            ami("ami-1", 400, &[]),
            baked("ami-4", 20, "ami-3", "3", "rolled-back"),
            ami("ami-8", 3, &[(tag_keys::FLEET, "f"), (tag_keys::IMAGE, "fedora")]),
            ami("ami-9", 3, &[]),
        ]);
        let image = &all.images[0];
        let line: Vec<_> = image.generations.iter().map(|one| (one.ami.as_str(), one.depth, one.standing)).collect();
        let expected = [
            ("ami-1", 0, Standing::Original),
            ("ami-2", 1, Standing::Previous),
            ("ami-3", 2, Standing::Current),
            ("ami-4", 3, Standing::Failed),
            ("ami-5", 3, Standing::Candidate),
        ];
        assert_eq!(line, expected, "the owner's own, by the parent's tag");
        assert_eq!(image.generations[2].used_by, ["w"]);
        assert_eq!(image.due, Some(now() + TimeDelta::days(40)));
        assert!(image.missing.is_empty());
        let unknown: Vec<&str> = all.unknown.iter().map(|one| one.ami.as_str()).collect();
        assert_eq!(unknown, ["ami-8"], "of the fleet, and of no manifest; the owner's other AMIs are his own");
        let month = image.generations[0].month.expect("a price");
        assert_eq!(month.to_string(), "$0.00..$1.50", "30 GiB at $0.05 at most");
    }

    #[test]
    fn what_a_manifest_names_and_is_not_there_is_told_and_circles_end() {
        let all = judged(&[baked("ami-6", 3, "ami-7", "1", "promoted"), baked("ami-7", 2, "ami-6", "x", "odd")]);
        let image = &all.images[0];
        assert_eq!((image.missing.clone(), image.due), (vec![id("ami-3"), id("ami-2")], None));
        let line: Vec<_> = image.generations.iter().map(|one| (one.ami.as_str(), one.generation)).collect();
        assert_eq!(line, [("ami-6", Some(1)), ("ami-7", None)]);
        assert_eq!(judged(&[]).images[0].generations, []);
    }

    #[test]
    fn tags_are_anybodys_and_only_read() {
        let mut tags = TagSet::default();
        tags.set(tag_keys::FLEET, "f").set(tag_keys::IMAGE, "debian").set(tag_keys::PARENT, "\u{1b}[2J");
        tags.set(tag_keys::GENERATION, "99999999999").set(tag_keys::ROLLOUT, "\n");
        let all = judged(&[Ami { tags, ..ami("ami-6", 3, &[]) }]);
        let one = &all.images[0].generations[0];
        assert_eq!((one.parent.clone(), one.generation, one.standing), (None, None, Standing::Original));
    }
}
