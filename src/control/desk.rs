//! The files' configuration and what masters declare over it, as one.
//!
//! Each declaration is read once, when it comes or when the files change; what is composed from them is
//! what the loops go by.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::ledger::{Declarations, DeclaredSet, KeptKey, LedgerError};
use crate::model::{MasterId, OwnerName, WorkerName};
use crate::policy::{Declaration, DeclaredOwner, DeclaredWorker, Intent, place};

/// The most workers that one master may declare.
const WORKERS_MAX: usize = 5_000;

/// What became of a declaration of several workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The workers that hold as they were declared.
    pub accepted: Vec<WorkerName>,
    /// By name as it was sent: what is wrong, and what to do. Such a one keeps its earlier declaration.
    pub refused: BTreeMap<String, String>,
}

/// Whether a master uses a worker, as the record has it.
pub(super) type Uses<'a> = dyn Fn(&MasterId, &WorkerName) -> bool + 'a;

/// A declaration that was read.
#[derive(Debug)]
struct Linked {
    master: MasterId,
    declared: Declaration,
    worker: DeclaredWorker,
}

/// The files, the declarations, and what they come to.
#[derive(Debug)]
pub(super) struct Desk {
    files: Arc<Intent>,
    kept: Declarations,
    linked: BTreeMap<WorkerName, Linked>,
    refused: BTreeMap<(MasterId, String), String>,
}

impl Desk {
    pub(super) fn new(files: Intent, kept: Declarations) -> Self {
        let mut desk = Self { files: Arc::new(files), kept, linked: BTreeMap::new(), refused: BTreeMap::new() };
        desk.read_all();
        desk
    }

    pub(super) fn files(&self) -> &Arc<Intent> {
        &self.files
    }

    pub(super) fn accounts(&self) -> &BTreeMap<OwnerName, String> {
        self.kept.accounts()
    }

    pub(super) fn keep_accounts(&mut self, accounts: BTreeMap<OwnerName, String>) -> Result<(), LedgerError> {
        self.kept.keep_accounts(accounts)
    }

    /// Takes new files, and reads again what is kept.
    pub(super) fn reconfigure(&mut self, files: Intent) {
        self.files = Arc::new(files);
        self.kept.reload();
        self.read_all();
    }

    fn read_all(&mut self) {
        (self.linked, self.refused) = (BTreeMap::new(), BTreeMap::new());
        let all = self
            .kept
            .sets()
            .iter()
            .flat_map(|(master, set)| set.workers.iter().map(move |(name, declared)| (master, name, declared)));
        let all: Vec<_> = all.collect();
        let read = self.files.read_declared(all.iter().copied());
        for ((master, name, declared), read) in all.into_iter().zip(read) {
            match read {
                Ok(_) if self.linked.contains_key(name) => {
                    let why = format!("{}: another master declares it as well", place(master.as_str(), name.as_str()));
                    self.refused.insert((master.clone(), name.to_string()), why);
                }
                Ok(worker) => {
                    let linked = Linked { master: master.clone(), declared: declared.clone(), worker };
                    self.linked.insert(name.clone(), linked);
                }
                Err(problems) => {
                    self.refused.insert((master.clone(), name.to_string()), problems.to_string());
                }
            }
        }
    }

    /// Forgets how to act for former owners of whom nothing lives any more. What could not be read is left as
    /// it is.
    pub(super) fn prune(&mut self, lives: &dyn Fn(&OwnerName) -> bool) {
        if !self.kept.warnings().is_empty() {
            return;
        }
        let over = |set: &DeclaredSet| set.former.keys().any(|owner| !lives(owner));
        let over: BTreeMap<MasterId, DeclaredSet> =
            self.kept.sets().iter().filter(|(_, set)| over(set)).map(|(of, set)| (of.clone(), set.clone())).collect();
        let pruned = over.into_iter().map(|(master, mut set)| {
            set.former.retain(|owner, _| lives(owner));
            (master, set)
        });
        let pruned: BTreeMap<MasterId, DeclaredSet> = pruned.collect();
        if !pruned.is_empty()
            && let Err(error) = self.kept.keep(pruned, &[])
        {
            tracing::warn!(%error, "an owner of whom nothing is left is forgotten later");
        }
    }

    /// What the loops go by; where nothing is declared it is the files' and no second one of their size.
    pub(super) fn intent(&self) -> Arc<Intent> {
        let owners = self.kept.sets().values().flat_map(|set| set.former.iter());
        let mut former = owners.filter_map(|(name, access)| Some((name.clone(), access.owner()?))).peekable();
        if self.linked.is_empty() && former.peek().is_none() {
            return Arc::clone(&self.files);
        }
        let workers = self.linked.iter().map(|(name, linked)| (name, &linked.worker));
        Arc::new(self.files.with_declared(workers, former))
    }

    /// What a person should know: what could not be read, and what was refused.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.kept.warnings().iter().chain(self.refused.values()).cloned().collect()
    }

    /// Takes in what a master declares: all its workers (`whole`), or some of them beside the others. When
    /// it returns, that survives a crash. Gives whether anything changed.
    pub(super) fn declare(
        &mut self,
        master: &MasterId,
        workers: &BTreeMap<String, Value>,
        whole: bool,
        uses: &Uses<'_>,
    ) -> Result<(Declared, bool), LedgerError> {
        let before = self.kept.sets().get(master).cloned().unwrap_or_default();
        let mut round = Round::new(master, &before, whole);
        for (number, (name, value)) in workers.iter().enumerate() {
            if number >= WORKERS_MAX {
                round.refuse(name, format!("{}: workers: are more than {WORKERS_MAX}", at(master, name)));
                continue;
            }
            if value.is_null() {
                round.keep(name);
            } else if let Err(why) = self.take_in(&mut round, name, value, uses) {
                round.refuse(name, why);
            }
        }
        self.read(&mut round, true);
        round.follow_access();
        // A worker whose owner's way to act was declared anew with another one is read again with it.
        self.read(&mut round, false);
        self.settle(round, &before, workers, whole)
    }

    /// One declaration, before it is read over the files.
    fn take_in(&self, round: &mut Round<'_>, name: &str, value: &Value, uses: &Uses<'_>) -> Result<(), String> {
        let at = at(round.master, name);
        let worker: WorkerName = name.parse().map_err(|error| format!("{at}: worker: {error}; choose another name"))?;
        let mut declared = Declaration::read(&at, value).map_err(|problems| problems.to_string())?;
        if let Some(access) = declared.access.take() {
            let kept = self.kept.by_reference(&declared.owner, access);
            let (access, key) = kept.map_err(|why| format!("{at}: credentials.access_key: {why}"))?;
            self.check_owner(round, &declared.owner, &access).map_err(|why| format!("{at}: {why}"))?;
            round.said.entry(declared.owner.clone()).or_insert_with(|| access.clone());
            declared.access = Some(access);
            round.keys.extend(key);
        }
        let linked = self.linked.get(&worker);
        let same = linked.is_some_and(|linked| linked.declared == declared);
        if let Some(other) = linked.filter(|linked| linked.master != *round.master) {
            let used = uses(&other.master, &worker);
            if used && same {
                // It stays the other's, and nobody can tell the difference.
                round.answer.accepted.push(worker);
                return Ok(());
            }
            if used {
                let why = format!("master {} declares it otherwise, and uses it now", other.master);
                return Err(format!("{at}: worker: {why}; declare the same, or take it out of one of the two"));
            }
            round.taken.push((other.master.clone(), worker.clone()));
            round.fresh.push((worker, declared));
        } else if same {
            round.after.workers.insert(worker.clone(), declared);
            round.answer.accepted.push(worker);
        } else {
            round.fresh.push((worker, declared));
        }
        Ok(())
    }

    /// One name means one way to act in one account.
    fn check_owner(&self, round: &Round<'_>, owner: &OwnerName, access: &DeclaredOwner) -> Result<(), String> {
        let cure = "give the two owners different names";
        if round.said.get(owner).is_some_and(|said| said != access) {
            return Err(format!("owner: {owner} has other credentials with another of these workers; {cure}"));
        }
        let others = self.kept.sets().iter().filter(|(master, _)| *master != round.master);
        for (other, set) in others {
            let theirs = set.workers.values().filter(|declared| declared.owner == *owner);
            if theirs.filter_map(|declared| declared.access.as_ref()).any(|theirs| theirs != access) {
                return Err(format!("owner: master {other} declares {owner} with other credentials; {cure}"));
            }
        }
        Ok(())
    }

    /// Reads what is fresh over the files; what is wrong is refused and keeps what it had. The call speaks of
    /// it (`named`), or of another worker of its owner.
    fn read(&self, round: &mut Round<'_>, named: bool) {
        let fresh = std::mem::take(&mut round.fresh);
        let read = self.files.read_declared(fresh.iter().map(|(name, declared)| (round.master, name, declared)));
        for ((name, declared), read) in fresh.into_iter().zip(read) {
            match read {
                Ok(worker) => {
                    if named {
                        round.answer.accepted.push(name.clone());
                    }
                    round.after.workers.insert(name.clone(), declared.clone());
                    let master = round.master.clone();
                    round.linked.insert(name, Linked { master, declared, worker });
                }
                Err(problems) => {
                    round.taken.retain(|(_, taken)| *taken != name);
                    round.refuse(name.as_str(), problems.to_string());
                }
            }
        }
    }

    /// Writes what changed, and believes it when it is written.
    fn settle(
        &mut self,
        round: Round<'_>,
        before: &DeclaredSet,
        workers: &BTreeMap<String, Value>,
        whole: bool,
    ) -> Result<(Declared, bool), LedgerError> {
        let Round { master, mut after, keys, taken, linked, mut answer, .. } = round;
        answer.accepted.sort();
        self.refused.retain(|(of, name), _| of != master || !(whole || workers.contains_key(name)));
        let refused = answer.refused.iter().map(|(name, why)| ((master.clone(), name.clone()), why.clone()));
        self.refused.extend(refused);
        keep_former(&mut after, before, &self.files);
        let mut changed = BTreeMap::new();
        for (other, name) in &taken {
            let theirs = self.kept.sets().get(other).cloned().unwrap_or_default();
            let set = changed.entry(other.clone()).or_insert_with(|| theirs.clone());
            set.workers.remove(name);
            keep_former(set, &theirs, &self.files);
        }
        if after != *before {
            changed.insert(master.clone(), after.clone());
        }
        if changed.is_empty() {
            return Ok((answer, false));
        }
        self.kept.keep(changed, &keys)?;
        self.linked.retain(|name, linked| linked.master != *master || after.workers.contains_key(name));
        self.linked.extend(linked);
        Ok((answer, true))
    }
}

fn at(master: &MasterId, name: &str) -> crate::policy::Origin {
    // A name may be anybody's text: shown in part, and on one line.
    let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    place(master.as_str(), &name)
}

/// An owner of whom nothing is declared any more is needed until his instances have gone; [`Desk::prune`]
/// forgets him then.
fn keep_former(after: &mut DeclaredSet, before: &DeclaredSet, files: &Intent) {
    let present: Vec<OwnerName> = after.workers.values().map(|declared| declared.owner.clone()).collect();
    let before = before.owners().into_iter().map(|(name, access)| (name.clone(), access.clone()));
    let gone = before.filter(|(name, _)| !present.contains(name) && !files.owners.contains_key(name));
    after.former = gone.collect();
}

/// What comes of one call.
struct Round<'a> {
    master: &'a MasterId,
    before: &'a DeclaredSet,
    after: DeclaredSet,
    /// How to act for each owner, as this call says.
    said: BTreeMap<OwnerName, DeclaredOwner>,
    keys: Vec<KeptKey>,
    /// Workers that were another master's.
    taken: Vec<(MasterId, WorkerName)>,
    /// What is yet to be read.
    fresh: Vec<(WorkerName, Declaration)>,
    linked: BTreeMap<WorkerName, Linked>,
    answer: Declared,
}

impl<'a> Round<'a> {
    fn new(master: &'a MasterId, before: &'a DeclaredSet, whole: bool) -> Self {
        let workers = if whole { BTreeMap::new() } else { before.workers.clone() };
        Self {
            master,
            before,
            after: DeclaredSet { workers, former: BTreeMap::new() },
            said: BTreeMap::new(),
            keys: Vec::new(),
            taken: Vec::new(),
            fresh: Vec::new(),
            linked: BTreeMap::new(),
            answer: Declared::default(),
        }
    }

    fn refuse(&mut self, name: &str, why: String) {
        self.answer.refused.insert(name.to_owned(), why);
        self.answer.accepted.retain(|accepted| accepted.as_str() != name);
        self.keep(name);
    }

    /// What was declared of a worker before stays, if anything was.
    fn keep(&mut self, name: &str) {
        let earlier = name.parse().ok().and_then(|name: WorkerName| self.before.workers.get_key_value(&name));
        if let Some((name, earlier)) = earlier {
            self.after.workers.insert(name.clone(), earlier.clone());
        }
    }

    /// What this call says of an owner holds for all his workers, also for those that it does not name.
    fn follow_access(&mut self) {
        let read = self.linked.values().map(|linked| &linked.declared);
        let said = read.filter_map(|declared| Some((declared.owner.clone(), declared.access.clone()?)));
        let said: BTreeMap<OwnerName, DeclaredOwner> = said.collect();
        for (name, declared) in &mut self.after.workers {
            let said = said.get(&declared.owner).filter(|said| declared.access.as_ref() != Some(*said));
            if let Some(said) = said {
                declared.access = Some(said.clone());
                self.fresh.push((name.clone(), declared.clone()));
            }
        }
    }
}
