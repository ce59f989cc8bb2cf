//! The course of `latent sweep`: look, decide, ask, look again, act, look whether it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::print::{Outcome, Told, print};
use super::{OutputOptions, SweepOptions};
use crate::cli::exit::{CommandError, Exit, SweepExit};
use crate::cloud::Cloud;
use crate::control::{Clock, SweepDoor, sweep_act, sweep_look, sweep_look_again};
use crate::link::{ClaimsAnswer, Client};
use crate::model::{AmiId, Region, ResourceId, Survey, counted};
use crate::plan::sweep::{
    Act, Caps, Claims, ControllerKey, Finding, Guard, PlanFile, Stated, SweepPlan, SweepView, confirm, narrowed, sweep,
};
use crate::policy::SweepPolicy;
use crate::policy::price::Prices;

impl SweepOptions {
    /// Whether anything may be changed.
    pub(super) fn applies(&self) -> bool {
        self.apply.is_some()
    }

    /// The plan that is applied.
    pub(super) fn apply_file(&self) -> Option<&PathBuf> {
        self.apply.as_ref()?.as_ref()
    }
}

/// What a sweep works with.
pub(super) struct Ground<C> {
    pub(super) doors: Vec<SweepDoor<C>>,
    pub(super) account: String,
    /// The configuration's file, where an owner of it is named.
    pub(super) config: Option<PathBuf>,
    pub(super) fleet: Option<String>,
    pub(super) policy: SweepPolicy,
    pub(super) amis: BTreeSet<AmiId>,
    pub(super) stated: Stated,
    pub(super) ids: BTreeSet<ResourceId>,
    pub(super) caps: Caps,
    /// The controller that may be asked.
    pub(super) controller: Option<Client>,
    pub(super) clock: Clock,
    pub(super) prices: Arc<Prices>,
}

impl<C: Cloud + 'static> Ground<C> {
    /// What the controller says that can be asked; asked after the look, for whatever the cloud shows was
    /// intended before.
    async fn claims(&self) -> BTreeMap<ControllerKey, Claims> {
        let Some(client) = &self.controller else { return BTreeMap::new() };
        match client.get::<ClaimsAnswer>("/v1/claims").await {
            Ok(answer) if answer.listed => {
                BTreeMap::from([(ControllerKey::new(&answer.fleet, &answer.controller), answer.claims)])
            }
            // Before its first listing it may not know what is its own.
            Ok(_) | Err(_) => BTreeMap::new(),
        }
    }

    /// How many calls were sent so far.
    fn calls(&self) -> u64 {
        self.doors.iter().map(SweepDoor::calls).sum()
    }

    fn with_view<T>(&self, seen: &Seen, use_it: impl FnOnce(&SweepView<'_>) -> T) -> T {
        use_it(&SweepView {
            now: self.clock.now(),
            policy: &self.policy,
            caps: self.caps,
            account: &self.account,
            fleet: self.fleet.as_deref(),
            me: None,
            surveys: &seen.surveys,
            claims: &seen.claims,
            own_amis: &self.amis,
            stated: &self.stated,
            named: &self.ids,
            first_seen: &BTreeMap::new(),
            prices: &self.prices,
        })
    }

    /// First the cloud, then the controller: what the cloud shows was intended before.
    async fn look(&self, quiet: bool) -> Seen {
        let bar = progress(self.doors.len(), quiet);
        let surveys = sweep_look(&self.doors, &self.clock, |region| {
            bar.set_message(region.to_string());
            bar.inc(1);
        });
        let surveys = surveys.await;
        bar.finish_and_clear();
        Seen { surveys, claims: self.claims().await }
    }

    /// The same again for what is about to be acted on.
    async fn look_again(&self, seen: &mut Seen, findings: &[Finding]) {
        sweep_look_again(&self.doors, &self.clock, &mut seen.surveys, findings).await;
        seen.claims = self.claims().await;
    }
}

/// What was seen, and what controllers say of it.
struct Seen {
    surveys: BTreeMap<Region, Survey>,
    claims: BTreeMap<ControllerKey, Claims>,
}

/// A bar on a terminal; nothing in a pipe.
fn progress(regions: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(regions as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} regions {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Sweeps, and prints what there is to say.
pub(super) async fn run<C: Cloud + 'static>(
    ground: &Ground<C>,
    options: &SweepOptions,
    earlier: Option<SweepPlan>,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let seen = ground.look(options.output.quiet).await;
    let plan = ground.with_view(&seen, sweep);
    all_are_found(&ground.ids, &plan)?;
    if let Some(file) = &options.plan {
        write_plan(file, plan.clone())?;
    }
    if options.applies() {
        return Box::pin(apply(ground, options, earlier, seen, plan, out)).await;
    }
    let exit = end(&plan, None);
    let command = Some(command(ground.config.as_deref(), options));
    print(&Told { plan, outcome: None, shown: false, command, calls: ground.calls() }, &options.output, out)?;
    Ok(exit)
}

/// Does what the plan says; of an earlier plan what of it still holds.
async fn apply<C: Cloud + 'static>(
    ground: &Ground<C>,
    options: &SweepOptions,
    earlier: Option<SweepPlan>,
    mut seen: Seen,
    plan: SweepPlan,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let told = |plan, outcome| Told { plan, outcome, shown: false, command: None, calls: ground.calls() };
    let (wanted, mut skipped) = match &earlier {
        Some(earlier) => confirm(earlier, &plan),
        None => (plan.acts().cloned().collect(), Vec::new()),
    };
    if wanted.is_empty() {
        let outcome = earlier.is_some().then(|| Outcome { skipped, ..Outcome::default() });
        let exit = end(&plan, outcome.as_ref());
        print(&told(plan, outcome), &options.output, out)?;
        return Ok(exit);
    }
    // What a guard refuses is refused for what will be done, not for what could be.
    let planned = ground.with_view(&seen, |view| narrowed(view, &plan, wanted));
    if let Some(guard) = &planned.refused {
        let error = refused(guard);
        let refused = planned.refused.clone();
        print(&told(SweepPlan { refused, ..plan }, None), &options.output, out)?;
        return Err(error);
    }
    if !options.yes {
        show(&told(planned.clone(), None), &options.output, out)?;
        ask(planned.acts().count())?;
    }
    // A last look, at the resources and at the controller, just before anything is done.
    ground.look_again(&mut seen, &planned.findings).await;
    let now = ground.with_view(&seen, sweep);
    let (agreed, changed) = confirm(&planned, &now);
    skipped.extend(changed);
    let agreed = ground.with_view(&seen, |view| narrowed(view, &now, agreed));
    if let Some(guard) = &agreed.refused {
        return Err(refused(guard));
    }
    let (deeds, stayed) = sweep_act(&ground.doors, &ground.clock, &seen.surveys, &agreed.findings).await;
    let outcome = Outcome::of(&deeds, stayed, skipped);
    let exit = end(&plan, Some(&outcome));
    print(&Told { shown: !options.yes, ..told(plan, Some(outcome)) }, &options.output, out)?;
    Ok(exit)
}

/// A name that fits nothing is a mistake of whoever wrote it: nothing is done that was not meant.
fn all_are_found(ids: &BTreeSet<ResourceId>, plan: &SweepPlan) -> Result<(), CommandError> {
    let unknown = ids.iter().find(|id| !plan.findings.iter().any(|finding| finding.id == id.as_str()));
    let Some(id) = unknown else { return Ok(()) };
    let why = plan.kept.iter().find(|kept| kept.id == *id).map_or_else(
        || "it is not there, or of no fleet that is swept".to_owned(),
        |kept| format!("it is not left over: {}", kept.why),
    );
    Err(CommandError::new(Exit::Usage, anyhow::anyhow!("nothing was changed: --id {id}: {why}")))
}

/// Shows what is asked about: as a table, and where standard output is for a program on standard error.
fn show(told: &Told, how: &OutputOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    if how.json || how.csv || how.quiet {
        let table = OutputOptions { json: false, csv: false, quiet: false, verbose: how.verbose };
        return print(told, &table, &mut std::io::stderr());
    }
    print(told, how, out)
}

/// The command that does what this one showed, with the same credentials.
fn command(config: Option<&Path>, options: &SweepOptions) -> String {
    let access = &options.access;
    let mut words = vec!["latent".to_owned(), "sweep".to_owned()];
    let mut add = |option: &str, value: &dyn std::fmt::Display| words.extend([option.to_owned(), value.to_string()]);
    if let Some(config) = config {
        add("--config", &config.display());
    }
    if let Some(owner) = &options.owner {
        add("--owner", owner);
    }
    if let Some(profile) = &access.profile {
        add("--profile", profile);
    }
    if let Some(arn) = &access.role_arn {
        add("--role-arn", arn);
    }
    if access.external_id.is_some() {
        // Between the owner and whoever assumes the role; a screen is no place for it.
        add("--external-id", &"ID");
    }
    if let Some(file) = &options.plan {
        add("--apply", &file.display());
    } else {
        options.regions.iter().for_each(|region| add("--region", region));
        options.fleet.iter().for_each(|fleet| add("--fleet", fleet));
        options.amis.iter().for_each(|ami| add("--ami", ami));
        options.ids.iter().for_each(|id| add("--id", id));
        options.max_acts.iter().for_each(|most| add("--max-acts", most));
        options.max_percent.iter().for_each(|most| add("--max-percent", most));
        words.extend(options.all_regions.then(|| "--all-regions".to_owned()));
        words.push("--apply".to_owned());
    }
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

/// Asks on the terminal, where there is one.
#[expect(clippy::print_stderr, reason = "a question is no data")]
fn confirmed(acts: usize) -> Option<bool> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    eprint!("Do this to {}? Type the number to go on: ", counted(acts, "resource"));
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    Some(line.trim() == acts.to_string())
}

fn ask(acts: usize) -> Result<(), CommandError> {
    match confirmed(acts) {
        Some(true) => Ok(()),
        Some(false) => Err(CommandError::new(Exit::Usage, anyhow::anyhow!("nothing was changed"))),
        None => {
            let error =
                anyhow::anyhow!("nothing was changed: nobody can be asked here; say --yes, or --apply FILE --yes");
            Err(CommandError::new(Exit::Usage, error))
        }
    }
}

fn refused(guard: &Guard) -> CommandError {
    let exit = match guard {
        Guard::Incomplete { .. } => SweepExit::Incomplete,
        Guard::TooMany { .. } | Guard::TooLargeShare { .. } | Guard::ControllerStateLost { .. } => SweepExit::Guarded,
    };
    CommandError::new(Exit::Sweep(exit), anyhow::anyhow!("nothing was changed: {guard}"))
}

/// The end that a script is told.
fn end(plan: &SweepPlan, outcome: Option<&Outcome>) -> Exit {
    if !plan.complete() {
        return Exit::Sweep(SweepExit::Incomplete);
    }
    let Some(outcome) = outcome else {
        return if plan.findings.is_empty() { Exit::Done } else { Exit::Sweep(SweepExit::Found) };
    };
    if !outcome.failed.is_empty() || !outcome.stayed.is_empty() {
        return Exit::Sweep(SweepExit::Failed);
    }
    let ended = |id: &str| outcome.done.iter().any(|done| done.is(id));
    let left = plan.findings.iter().any(|finding| finding.act != Act::Terminate || !ended(&finding.id));
    if left { Exit::Sweep(SweepExit::Found) } else { Exit::Done }
}

fn write_plan(file: &Path, plan: SweepPlan) -> Result<(), CommandError> {
    let unexpected = |error: anyhow::Error| CommandError::new(Exit::Unexpected, error);
    let sealed = PlanFile::seal(plan).map_err(|error| unexpected(error.into()))?;
    let text = crate::cli::connect::pretty(&sealed)?;
    std::fs::write(file, text + "\n").map_err(|error| {
        unexpected(anyhow::Error::new(error).context(format!("cannot write the plan to {}", file.display())))
    })
}
