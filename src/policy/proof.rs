//! What a worker must prove before its connection is taken, and what the proof needs.

use std::collections::BTreeMap;
use std::fmt;

use super::certificate::IdentityKey;
use super::fleet::FleetSettings;
use super::image::Image;
use super::intent::{Intent, WorkerIntent};
use super::load::Sources;
use super::problem::{Origin, Problem, Problems};
use crate::model::{ImageName, Region, WorkerName};

/// What a worker must prove: that it is on the instance of its present attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// Nothing may speak against it.
    Address,
    /// It says the instance's id.
    InstanceId,
    /// It knows the secret of the attempt.
    JoinSecret,
    /// It has the identity document that EC2 signed for the instance.
    IdentityDocument,
}

impl Proof {
    /// The words of the key.
    pub(super) const WORDS: &'static [&'static str] =
        &["none", "address", "instance-id", "join-secret", "identity-document"];

    /// A word of the key; the default for any other, which the reader has refused.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "none" => Proof::None,
            "instance-id" => Proof::InstanceId,
            "join-secret" => Proof::JoinSecret,
            "identity-document" => Proof::IdentityDocument,
            _ => Proof::Address,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::None => "none",
            Proof::Address => "address",
            Proof::InstanceId => "instance-id",
            Proof::JoinSecret => "join-secret",
            Proof::IdentityDocument => "identity-document",
        })
    }
}

/// A proof that no worker could give is refused when it is written, not when the worker knocks.
pub(super) fn can_be_given<'a>(
    workers: &BTreeMap<WorkerName, WorkerIntent>,
    image_of: impl Fn(&ImageName) -> Option<&'a Image>,
    fleet: &FleetSettings,
    sources: &Sources,
    problems: &mut Problems,
) {
    for (name, worker) in workers {
        let template = image_of(&worker.image).and_then(|image| sources.templates.get(image.user_data.as_ref()?));
        let (message, cure) = match worker.policy.proof {
            Proof::JoinSecret if !template.is_some_and(|text| text.contains("join_secret")) => (
                format!("the user data of image {} does not tell {{{{ join_secret }}}} to worker {name}", worker.image),
                "write it into the worker's info/latent-join-secret there, or ask for another proof",
            ),
            Proof::IdentityDocument if fleet.identity_certificates.is_none() => (
                format!("there is no certificate to check the document of worker {name} with"),
                "set fleet.identity_certificates to the folder of AWS's certificates, or ask for another proof",
            ),
            _ => continue,
        };
        problems.push(Problem {
            at: place_of(worker),
            key: "policy.proof".to_owned(),
            value: Some(format!("\"{}\"", worker.policy.proof)),
            message,
            cure: cure.to_owned(),
        });
    }
}

fn place_of(worker: &WorkerIntent) -> Origin {
    let shown = worker.shown.iter().find(|shown| shown.key == "policy.proof");
    shown.map_or_else(|| Origin { file: "latent.toml".to_owned(), line: 1, column: 1 }, |shown| shown.at)
}

impl Intent {
    /// Reads each `REGION.pem` of the folder `fleet.identity_certificates`, if that is set.
    ///
    /// # Errors
    /// [`Problems`]: a file that cannot be read, or that is missing where a policy demands the proof.
    pub fn read_certificates(&mut self, sources: &Sources) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let Some(folder) = self.fleet.identity_certificates.clone() else { return Ok(()) };
        // Of every region that there is one for: a worker that a master declares may be in any.
        let there = sources.stems_in(&folder, "pem");
        let mut regions: BTreeMap<Region, Option<&WorkerIntent>> =
            there.iter().filter_map(|stem| Some((stem.parse().ok()?, None))).collect();
        for worker in self.workers.values() {
            let needs = (worker.policy.proof == Proof::IdentityDocument).then_some(worker);
            let known = regions.entry(worker.cell.region.clone()).or_default();
            *known = known.or(needs);
        }
        let mut keys = BTreeMap::new();
        for (region, needed_by) in regions {
            let file = format!("{}/{region}.pem", folder.trim_end_matches('/'));
            let why = match sources.text_if_there(&file) {
                Ok(Some(text)) => match IdentityKey::from_pem(&text) {
                    Ok(key) => {
                        keys.insert(region, key);
                        continue;
                    }
                    Err(why) => why,
                },
                Ok(None) if needed_by.is_none() => continue,
                Ok(None) => format!("is not there, and policy.proof = \"identity-document\" holds in {region}"),
                Err(error) => format!("cannot be read: {error}"),
            };
            problems.push(Problem {
                at: needed_by.map_or_else(|| Origin { file: sources.main.0.clone(), line: 1, column: 1 }, place_of),
                key: "fleet.identity_certificates".to_owned(),
                value: Some(format!("{folder:?}")),
                message: format!("{file} {why}"),
                cure:
                    "put AWS's RSA certificate of the region there: \"AWS public certificates\" in the EC2 User Guide"
                        .to_owned(),
            });
        }
        self.identity_keys = keys;
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Whether a template or a policy speaks of join secrets.
    pub fn uses_join_secrets(&self, sources: &Sources) -> bool {
        self.workers.values().any(|worker| worker.policy.proof == Proof::JoinSecret)
            || sources.templates.values().any(|text| text.contains("join_secret"))
    }
}
