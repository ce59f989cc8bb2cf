//! The check-up's judgement: facts in, rows out. Each thing that can be wrong is made wrong once, and an
//! account that is slow or lost holds up nobody else's rows.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::IpAddr;

use chrono::TimeDelta;
use insta::assert_snapshot;
use latent::cloud::Checkup;
use latent::control::{Clock, check_up};
use latent::model::{
    AmiCandidate, AmiFacts, AmiId, AmiQuery, AmiState, Cell, FailureKind, Found, Greeting, GroupFacts, GroupRule,
    Identity, ImdsDefaults, InstanceState, Market, OtherInstance, ResourceId, ResourceKind, Seen, SubnetFacts, TagSet,
    Trial, Tried, TypeFacts, Unseen, tag_keys,
};
use latent::plan::doctor::{CellFacts, FleetFacts, Row, SWEPT, Scope, Verdict, questions, rows, trials, worst};
use latent::policy::Intent;

use crate::harness::{morning, worker};
use crate::setup::Setup;

const AMI: &str = "ami-1234beef";
const ON_DEMAND: &str = "L-1216C47A";
const SPOT: &str = "L-34B43A08";

/// Two types, two subnets, both markets, a key pair, and a worker that is stopped when idle.
pub(crate) fn setup() -> Setup {
    let lines = "subnets = [{ id = \"subnet-a\", zone = \"us-west-2a\" }, { id = \"subnet-b\", zone = \"us-west-2b\" }]\n\
                 security_groups = [\"sg-work\"]\nmarket = [\"spot\", \"on-demand\"]\nkey_pair = \"alice\"";
    Setup::new().fleet("master = \"192.0.2.7:9989\"").policy("on_idle = \"stop\"").image_of(
        "debian",
        "alice",
        "us-west-2",
        AMI,
        "\"m7i.large\", \"m5.large\"",
        lines,
    )
}

fn cell() -> Cell {
    Cell { owner: "alice".parse().expect("a name"), region: "us-west-2".parse().expect("a region") }
}

pub(crate) fn ami() -> AmiId {
    AMI.parse().expect("an id")
}

fn unseen(kind: FailureKind, code: &str) -> Unseen {
    Unseen { kind, code: code.to_owned(), message: "said so".to_owned() }
}

fn denied<T>() -> Seen<T> {
    Err(unseen(FailureKind::Credentials, "UnauthorizedOperation"))
}

fn rule(protocol: &str, ports: Option<(u16, u16)>, peer: &str) -> GroupRule {
    GroupRule { protocol: protocol.to_owned(), ports, peer: peer.to_owned(), description: String::new() }
}

fn instance(id: &str, kind: &str, fleet: Option<&str>) -> OtherInstance {
    let mut tags = TagSet::default();
    if let Some(fleet) = fleet {
        tags.set(tag_keys::FLEET, fleet);
    }
    let (id, state) = (id.parse().expect("an id"), InstanceState::Running);
    OtherInstance { id, state, instance_type: kind.to_owned(), market: Market::Spot, tags }
}

fn sound_ami() -> AmiFacts {
    AmiFacts {
        name: "debian".to_owned(),
        account: "111111111111".to_owned(),
        state: AmiState::Available,
        created: Some(morning() - TimeDelta::days(9)),
        deprecated: None,
        public: false,
        architecture: "x86_64".to_owned(),
        windows: false,
        root_device: Some("/dev/sda1".to_owned()),
        root_gib: Some(30),
        root_encrypted: Some(false),
        boot_mode: Some("uefi".to_owned()),
        ena: true,
        imds_v2: true,
    }
}

fn kind(vcpus: u32) -> TypeFacts {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
    TypeFacts {
        vcpus,
        memory_mib: 8192,
        architectures: words(&["x86_64"]),
        nitro: true,
        ena_required: true,
        boot_modes: words(&["legacy-bios", "uefi"]),
        hibernates: true,
    }
}

/// An account in which everything is as it should be, with an instance of the fleet and another one.
pub(crate) fn sound(intent: &Intent) -> CellFacts {
    let identity = Identity {
        account: "111111111111".to_owned(),
        arn: "arn:aws:sts::111111111111:assumed-role/latent/latent-doctor".to_owned(),
    };
    let greeting = Greeting { identity: Ok(identity), date: Some(morning()) };
    let mut facts = CellFacts::only(greeting, Some(TimeDelta::zero()));
    let subnet =
        |zone: &str| SubnetFacts { zone: zone.to_owned(), vpc: "vpc-1".to_owned(), free: 200, default_for_zone: true };
    let group = |name: &str, inbound: Vec<GroupRule>| GroupFacts {
        name: name.to_owned(),
        vpc: "vpc-1".to_owned(),
        inbound,
        outbound: vec![rule("-1", None, "0.0.0.0/0")],
    };
    facts.dry_runs = Ok(true);
    facts.amis = BTreeMap::from([(ami(), Ok(sound_ami()))]);
    let types = [("m7i.large", 2), ("m5.large", 2), ("c5.24xlarge", 96)];
    facts.types = Ok(types.into_iter().map(|(name, vcpus)| (name.to_owned(), kind(vcpus))).collect());
    facts.groups = Ok(BTreeMap::from([
        ("sg-default".to_owned(), group("default", vec![rule("-1", None, "sg-default")])),
        ("sg-work".to_owned(), group("workers", Vec::new())),
    ]));
    facts.subnets = Ok(BTreeMap::from([
        ("subnet-a".to_owned(), subnet("us-west-2a")),
        ("subnet-b".to_owned(), subnet("us-west-2b")),
    ]));
    facts.key_pairs = Ok(BTreeSet::from(["alice".to_owned()]));
    facts.instances = Ok(vec![instance("i-1", "m7i.large", Some("test")), instance("i-2", "m5.large", None)]);
    facts.ours = SWEPT.into_iter().map(|(kind, _)| (kind, Ok(None))).collect();
    facts.ours.insert(ResourceKind::Volume, Ok(Some("vol-1".parse().expect("an id"))));
    facts.imds = Ok(ImdsDefaults::default());
    facts.quotas = BTreeMap::from([(ON_DEMAND, Ok(64.0)), (SPOT, Ok(64.0))]);
    facts.tried = tried(intent, &facts, right);
    facts
}

/// What a role of the right size answers.
pub(crate) fn right(trial: &Trial) -> Tried {
    match trial {
        Trial::Launch(_)
        | Trial::Terminate(_)
        | Trial::Stop(_)
        | Trial::Start(_)
        | Trial::Renew(..)
        | Trial::Console(_)
        | Trial::Remove(_) => Tried::Allowed,
        _ => Tried::Denied,
    }
}

pub(crate) fn tried(intent: &Intent, facts: &CellFacts, answer: impl Fn(&Trial) -> Tried) -> Vec<(Trial, Tried)> {
    let asked = questions(intent, &Scope::default(), &cell());
    trials(morning(), intent, &asked, facts).into_iter().map(|trial| (trial.clone(), answer(&trial))).collect()
}

pub(crate) fn sound_fleet() -> FleetFacts {
    let address: IpAddr = "192.0.2.7".parse().expect("an address");
    FleetFacts { master: Some(Ok(())), addresses: vec![address], controller: Ok(Vec::new()) }
}

pub(crate) fn judged(intent: &Intent, fleet: &FleetFacts, facts: CellFacts) -> Vec<Row> {
    rows(morning(), intent, &Scope::default(), fleet, &BTreeMap::from([(cell(), facts)]))
}

fn told(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let cure = row.cure.as_ref().map(|cure| format!("\n    -> {cure}")).unwrap_or_default();
        format!("{:<8} {}: {}{cure}\n", row.verdict, row.check, row.seen)
    };
    rows.iter().map(line).collect()
}

/// The one row that is not right once `change` was made.
#[track_caller]
fn wrong(change: impl FnOnce(&mut CellFacts)) -> String {
    wrong_by(&setup(), change)
}

#[track_caller]
fn wrong_by(setup: &Setup, change: impl FnOnce(&mut CellFacts)) -> String {
    let intent = setup.intent();
    let mut facts = sound(&intent);
    change(&mut facts);
    not_ok(judged(&intent, &sound_fleet(), facts))
}

fn not_ok(rows: Vec<Row>) -> String {
    assert!(rows.iter().all(|row| row.cure.is_some() == (row.verdict != Verdict::Ok)), "{rows:#?}");
    let odd = rows.into_iter().filter(|row| row.verdict != Verdict::Ok);
    told(&odd.collect::<Vec<_>>())
}

fn edit_ami(change: impl FnOnce(&mut AmiFacts)) -> impl FnOnce(&mut CellFacts) {
    move |facts| change(facts.amis.get_mut(&ami()).expect("asked").as_mut().expect("seen"))
}

fn edit_type(change: impl FnOnce(&mut TypeFacts)) -> impl FnOnce(&mut CellFacts) {
    move |facts| change(facts.types.as_mut().expect("seen").get_mut("m7i.large").expect("known"))
}

fn edit_group(change: impl FnOnce(&mut GroupFacts)) -> impl FnOnce(&mut CellFacts) {
    move |facts| change(facts.groups.as_mut().expect("seen").get_mut("sg-work").expect("known"))
}

#[test]
fn a_fleet_without_fault_has_only_right_rows() {
    let intent = setup().intent();
    let rows = judged(&intent, &sound_fleet(), sound(&intent));
    assert_eq!(worst(&rows), Verdict::Ok);
    assert_snapshot!(told(&rows));
}

#[test]
fn credentials_and_accounts_that_are_wrong_end_the_look_at_that_account() {
    assert_snapshot!(wrong(|facts| facts.greeting.identity = Err(unseen(FailureKind::Credentials, "AccessDenied"))));
    assert_snapshot!(wrong(|facts| facts.greeting.identity = Err(Unseen::late(TimeDelta::seconds(20)))));
    assert_snapshot!(wrong(|facts| {
        facts.greeting.identity.as_mut().expect("seen").account = "999999999999".to_owned();
    }));
}

#[test]
fn a_clock_that_is_off_is_told() {
    assert_snapshot!(wrong(|facts| facts.skew = Some(TimeDelta::seconds(90))), @"
    warning  clock: this machine is 90 s behind AWS
        -> let this machine keep its time by NTP (chrony, systemd-timesyncd)
    ");
    assert_snapshot!(wrong(|facts| facts.skew = Some(TimeDelta::minutes(-11))), @"
    problem  clock: this machine is 660 s ahead of AWS
        -> let this machine keep its time by NTP (chrony, systemd-timesyncd)
    ");
    assert_snapshot!(wrong(|facts| facts.skew = None), @"
    unknown  clock: the answer had no time
        -> see the row of the credentials
    ");
}

#[test]
fn permissions_that_are_missing_are_problems_and_those_that_cannot_be_tried_are_unknown() {
    let intent = setup().intent();
    assert_snapshot!("nothing_is_allowed", wrong(|facts| facts.tried = tried(&intent, facts, |_| Tried::Denied)));
    assert_snapshot!(
        "nothing_to_try_it_on",
        wrong(|facts| {
            facts.instances = Ok(Vec::new());
            facts.tried = tried(&intent, facts, right);
        })
    );
    assert_snapshot!(wrong(|facts| facts.dry_runs = Ok(false)), @"
    unknown  permission: this endpoint does what it is asked although it is a dry run: nothing was tried
        -> ask EC2 itself: remove endpoint from the owner, or use an emulator that knows DryRun
    ");
    assert_snapshot!(wrong(|facts| facts.dry_runs = Err(Unseen::late(TimeDelta::seconds(20)))), @"
    unknown  permission: a dry run of ec2:DescribeInstances: Timeout: no answer within 20 s
        -> check the network from this machine to AWS, then ask again
    ");
    let stuck = unseen(FailureKind::Throttled, "RequestLimitExceeded");
    assert_snapshot!(
        "nothing_answers",
        wrong(|facts| facts.tried = tried(&intent, facts, |_| Tried::Otherwise(stuck.clone())))
    );
}

#[test]
fn permissions_beyond_need_are_warnings() {
    let intent = setup().intent();
    assert_snapshot!(wrong(|facts| facts.tried = tried(&intent, facts, |_| Tried::Allowed)));
}

#[test]
fn a_launch_that_ec2_would_refuse_is_a_problem() {
    let intent = setup().intent();
    let refusal = unseen(FailureKind::Owner, "InvalidKeyPair.NotFound");
    let answer = |trial: &Trial| match trial {
        Trial::Launch(spec) if spec.offering.instance_type == "m5.large" => Tried::Otherwise(refusal.clone()),
        trial => right(trial),
    };
    assert_snapshot!(wrong(|facts| facts.tried = tried(&intent, facts, answer)), @"
    problem  launch: spot m5.large in subnet-a: InvalidKeyPair.NotFound: said so
        -> the owner corrects the image manifest in amis/ or the AWS set-up it names
    ");
}

#[test]
fn what_may_not_be_read_is_unknown_and_never_right() {
    let all = wrong(|facts| {
        facts.amis = BTreeMap::from([(ami(), denied())]);
        (facts.types, facts.groups, facts.subnets) = (denied(), denied(), denied());
        (facts.key_pairs, facts.imds, facts.instances) = (denied(), denied(), denied());
        facts.ours = SWEPT.into_iter().map(|(kind, _)| (kind, denied())).collect();
        facts.tried.clear();
    });
    assert_snapshot!(all);
    assert_snapshot!(wrong(|facts| facts.quotas = BTreeMap::from([(SPOT, denied())])), @"
    unknown  quota: servicequotas:GetServiceQuota: UnauthorizedOperation: said so
        -> allow servicequotas:GetServiceQuota: `latent iam --owner alice` prints the policy
    ");
}

#[test]
fn an_ami_that_cannot_be_launched_is_a_problem() {
    let absent = Err(unseen(FailureKind::Owner, "InvalidAMIID.NotFound"));
    let states = [
        wrong(|facts| facts.amis = BTreeMap::from([(ami(), absent)])),
        wrong(edit_ami(|ami| ami.state = AmiState::Pending)),
        wrong(edit_ami(|ami| ami.state = AmiState::Failed)),
        wrong(edit_ami(|ami| ami.state = AmiState::Deregistered)),
        wrong(edit_ami(|ami| ami.state = AmiState::Disabled)),
        wrong(edit_ami(|ami| ami.state = AmiState::Unknown("odd".to_owned()))),
    ];
    assert_snapshot!(states.concat());
}

#[test]
fn an_ami_that_is_old_or_everybodys_or_another_ones_is_told() {
    let tells = [
        wrong(edit_ami(|ami| ami.created = Some(morning() - TimeDelta::days(91)))),
        wrong(edit_ami(|ami| ami.created = None)),
        wrong(edit_ami(|ami| ami.deprecated = Some(morning()))),
        wrong(edit_ami(|ami| ami.public = true)),
        wrong(edit_ami(|ami| ami.account = "999999999999".to_owned())),
    ];
    assert_snapshot!(tells.concat());
}

#[test]
fn an_ami_that_is_not_what_the_manifest_says_is_a_problem() {
    let tells = [
        wrong(edit_ami(|ami| ami.architecture = "arm64".to_owned())),
        wrong(edit_ami(|ami| ami.windows = true)),
        wrong(edit_ami(|ami| ami.root_gib = Some(29))),
        wrong(edit_ami(|ami| ami.root_gib = None)),
    ];
    assert_snapshot!(tells.concat());
}

#[test]
fn a_type_that_is_too_small_or_does_not_fit_the_ami_is_a_problem() {
    let tells = [
        wrong(edit_type(|kind| kind.vcpus = 1)),
        wrong(edit_type(|kind| kind.memory_mib = 511)),
        wrong(edit_type(|kind| kind.architectures = BTreeSet::from(["arm64".to_owned()]))),
        wrong(edit_type(|kind| kind.boot_modes = BTreeSet::from(["legacy-bios".to_owned()]))),
        wrong(edit_ami(|ami| ami.ena = false)),
        wrong(|facts| drop(facts.types.as_mut().expect("seen").remove("m5.large"))),
    ];
    assert_snapshot!(tells.concat());
}

#[test]
fn requirements_are_the_fleets_own() {
    let strict = setup().fleet(
        "master = \"192.0.2.7:9989\"\n[requirements]\nmin_vcpus = 4\nmin_memory_mib = 16384\nmin_root_gib = 31\n\
         max_ami_age = \"8d\"\noutbound = [\"tcp/22\", \"udp/123\"]",
    );
    assert_snapshot!(wrong_by(&strict, |facts| {
        let out = vec![rule("tcp", Some((1, 65535)), "10.0.0.0/8"), rule("tcp", Some((9989, 9989)), "192.0.2.0/24")];
        facts.groups.as_mut().expect("seen").get_mut("sg-work").expect("known").outbound = out;
    }));
}

#[test]
fn what_a_security_group_lets_in_is_told() {
    let described = GroupRule { description: "my home".to_owned(), ..rule("tcp", Some((22, 22)), "sg-1") };
    let tells = [
        wrong(edit_group(|group| group.inbound = vec![rule("tcp", Some((22, 22)), "0.0.0.0/0")])),
        wrong(edit_group(|group| group.inbound = vec![described, rule("-1", None, "::/0")])),
        wrong(|facts| drop(facts.groups.as_mut().expect("seen").remove("sg-work"))),
    ];
    assert_snapshot!(tells.concat());
}

#[test]
fn a_security_group_that_does_not_let_out_to_the_master_is_a_problem() {
    let out = |rules: Vec<GroupRule>| wrong(edit_group(|group| group.outbound = rules));
    let rest = || rule("tcp", Some((20, 587)), "0.0.0.0/0");
    let tells = [
        out(vec![rest()]),
        out(vec![rest(), rule("tcp", Some((9989, 9989)), "198.51.100.0/24")]),
        out(vec![rest(), rule("tcp", Some((9989, 9989)), "pl-12345")]),
        out(Vec::new()),
    ];
    assert_snapshot!(tells.concat());
    let near = out(vec![rest(), rule("tcp", Some((9000, 9999)), "192.0.2.0/24")]);
    assert_eq!(near, "", "the master is in the range");
}

#[test]
fn places_keys_quotas_and_metadata_that_are_wrong_are_told() {
    let tells = [
        wrong(|facts| facts.subnets.as_mut().expect("seen").get_mut("subnet-a").expect("known").free = 7),
        wrong(|facts| facts.subnets.as_mut().expect("seen").get_mut("subnet-a").expect("known").free = 0),
        wrong(|facts| drop(facts.subnets.as_mut().expect("seen").remove("subnet-b"))),
        wrong(|facts| facts.key_pairs = Ok(BTreeSet::new())),
        wrong(|facts| drop(facts.quotas.insert(SPOT, Ok(3.0)))),
        wrong(|facts| facts.instances.as_mut().expect("seen").push(instance("i-3", "m9.odd", None))),
        wrong(|facts| facts.imds = Ok(ImdsDefaults { off: true, ..ImdsDefaults::default() })),
    ];
    assert_snapshot!(tells.concat());
    let two =
        setup().image_of("arch", "alice", "us-west-2", AMI, "\"m7i.large\"", "market = \"spot\"").worker("w2", "arch");
    assert_snapshot!(wrong_by(&two, |facts| drop(facts.quotas.insert(SPOT, Ok(4.0)))), @r#"
    warning  quota: standard spot: 2 of 4 vCPUs are free for the fleet; all workers together need 4
        -> the owner asks for more in Service Quotas, Amazon EC2, or ends other instances
    warning  inbound: sg-default (default) lets in all sg-default
        -> remove the rule: a worker only connects outward
    problem  on_idle: market is "spot" alone, and EC2 stops no one-time spot instance: an idle one is terminated
        -> add "on-demand" to market, or write on_idle = "terminate"
    "#);
}

#[test]
fn a_guest_that_cannot_see_its_lease_change_is_told() {
    let intent = setup().intent();
    let mut facts = sound(&intent);
    edit_type(|kind| kind.nitro = false)(&mut facts);
    let rows = judged(&intent, &sound_fleet(), facts);
    assert!(told(&rows).contains("m7i.large is not of the Nitro System"), "{}", told(&rows));
}

#[test]
fn a_master_and_a_controller_that_do_not_answer_are_told() {
    let intent = setup().intent();
    let no = || unseen(FailureKind::Unreachable, "Unreachable");
    let fleets = [
        FleetFacts { master: Some(Err(no())), ..sound_fleet() },
        FleetFacts { controller: Err(no()), ..sound_fleet() },
        FleetFacts { controller: Ok(vec!["alice cannot be listed".to_owned()]), ..sound_fleet() },
    ];
    let tells = fleets.map(|fleet| not_ok(judged(&intent, &fleet, sound(&intent))));
    assert_snapshot!(tells.concat());
    let nowhere = setup().fleet("").intent();
    let fleet = FleetFacts { master: None, ..sound_fleet() };
    assert_snapshot!(not_ok(judged(&nowhere, &fleet, sound(&nowhere))), @r#"
    unknown  master: latent.toml does not say where it is
        -> write [fleet] master = "host:port"; the way out of each security group is checked against it too
    "#);
}

/// An account that answers soundly, never, or with a refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Sound,
    Silent,
    SilentAfterGreeting,
    /// Dry runs are honoured by reads alone.
    InEarnest,
}

struct Played {
    manner: Manner,
    facts: CellFacts,
}

impl Played {
    /// The fact, or nothing for ever.
    async fn tell<T: Clone>(&self, fact: &T) -> T {
        if matches!(self.manner, Manner::Sound | Manner::InEarnest) { fact.clone() } else { pending().await }
    }
}

impl Checkup for Played {
    async fn greet(&self) -> Greeting {
        if self.manner == Manner::Silent { pending().await } else { self.facts.greeting.clone() }
    }

    async fn honours_dry_runs(&self) -> Seen<bool> {
        self.tell(&self.facts.dry_runs).await
    }

    async fn try_out(&self, trial: &Trial) -> Tried {
        let answer = if self.manner == Manner::InEarnest { Tried::Otherwise(Unseen::ignored()) } else { right(trial) };
        self.tell(&answer).await
    }

    async fn ami(&self, id: &AmiId) -> Seen<AmiFacts> {
        self.tell(&self.facts.amis[id]).await
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Seen<Vec<AmiCandidate>> {
        let listed = self.facts.choices.get(query).cloned();
        self.tell(&listed.map_or(Ok(Vec::new()), |listed| listed.map(|(_, found)| found))).await
    }

    async fn instance_types(&self, _: &BTreeSet<String>) -> Found<String, TypeFacts> {
        self.tell(&self.facts.types).await
    }

    async fn groups(&self) -> Found<String, GroupFacts> {
        self.tell(&self.facts.groups).await
    }

    async fn subnets(&self) -> Found<String, SubnetFacts> {
        self.tell(&self.facts.subnets).await
    }

    async fn key_pairs(&self) -> Seen<BTreeSet<String>> {
        self.tell(&self.facts.key_pairs).await
    }

    async fn all_instances(&self) -> Seen<Vec<OtherInstance>> {
        self.tell(&self.facts.instances).await
    }

    async fn one_of_ours(&self, kind: ResourceKind) -> Seen<Option<ResourceId>> {
        self.tell(&self.facts.ours[&kind]).await
    }

    async fn imds_defaults(&self) -> Seen<ImdsDefaults> {
        self.tell(&self.facts.imds).await
    }

    async fn quota(&self, code: &str) -> Seen<f64> {
        self.tell(&self.facts.quotas[code]).await
    }
}

async fn looked_at(manner: Manner) -> (CellFacts, TimeDelta) {
    let intent = setup().intent();
    let (clock, asked) = (Clock::starting_at(morning()), questions(&intent, &Scope::default(), &cell()));
    let played = Played { manner, facts: sound(&intent) };
    let facts = check_up(&clock, &played, &intent, &cell(), &asked).await;
    (facts, clock.now() - morning())
}

#[tokio::test(start_paused = true)]
async fn what_an_account_answers_is_gathered_whole() {
    let (facts, took) = looked_at(Manner::Sound).await;
    assert_eq!((facts, took), (sound(&setup().intent()), TimeDelta::zero()));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_never_answers_is_given_up_and_its_rows_are_unknown() {
    let intent = setup().intent();
    let (facts, took) = looked_at(Manner::Silent).await;
    assert!(took <= TimeDelta::seconds(16), "{took}");
    assert_snapshot!(not_ok(judged(&intent, &sound_fleet(), facts)));
    let (facts, took) = looked_at(Manner::SilentAfterGreeting).await;
    assert!(took <= TimeDelta::seconds(46), "{took}");
    let rows = judged(&intent, &sound_fleet(), facts);
    let facts_of_ec2 =
        rows.iter().filter(|row| !matches!(row.check.as_str(), "master" | "controller" | "IMDS" | "lease"));
    let right: Vec<&str> =
        facts_of_ec2.filter(|row| row.verdict == Verdict::Ok).map(|row| row.check.as_str()).collect();
    assert_eq!(right, ["credentials", "account", "clock"]);
}

#[tokio::test(start_paused = true)]
async fn where_a_dry_run_is_taken_for_earnest_one_harmless_thing_is_tried_and_no_more() {
    let (facts, _) = looked_at(Manner::InEarnest).await;
    let sent = facts.tried.iter().filter(|(_, tried)| *tried == Tried::Otherwise(Unseen::ignored()));
    let sent: Vec<&Trial> = sent.map(|(trial, _)| trial).collect();
    // The lease as it is: nothing changes, whatever the endpoint makes of it.
    assert!(matches!(sent[..], [Trial::Renew(_, lease)] if lease == "2026-03-02T09:00:00Z"), "{sent:?}");
    let rows = judged(&setup().intent(), &sound_fleet(), facts);
    assert_eq!(worst(&rows), Verdict::Unknown);
    assert!(told(&rows).contains("DryRunIgnored") && told(&rows).contains("dry runs are not safe here"));
}

#[test]
fn a_scope_leaves_out_other_owners_and_workers() {
    let two = setup().owner("bob", "222222222222").image("arch", "bob", "eu-west-1", "").worker("w2", "arch").intent();
    let cells = |scope: &Scope| scope.cells(&two).into_iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
    assert_eq!(cells(&Scope::default()).len(), 2);
    let bob = Scope { owner: Some("bob".parse().expect("a name")), worker: None };
    assert_eq!(cells(&bob), ["bob/eu-west-1"]);
    let first = Scope { owner: None, worker: Some(worker("w1")) };
    assert_eq!(cells(&first), ["alice/us-west-2"]);
    assert!(questions(&two, &bob, &cell()).images.is_empty());
    let idle = setup().owner("carol", "333333333333").intent();
    let carol = Scope { owner: Some("carol".parse().expect("a name")), worker: None };
    let rows = rows(morning(), &idle, &carol, &sound_fleet(), &BTreeMap::new());
    assert_snapshot!(not_ok(rows), @"
    warning  workers: no worker of this owner is configured: nothing was looked at
        -> add a manifest to amis/ and a worker that uses it
    ");
}
