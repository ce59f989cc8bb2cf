//! `latent doctor` as it is: the command, the AWS SDK, and our model of EC2 behind EC2's own protocol. Each
//! kind of trouble is made in the account, and the account's own trace says that nothing was changed.

use chrono::TimeDelta;
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use aws_sdk_ec2::config::Credentials;
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, DefaultInstanceMetadataEndpointState, EbsBlockDevice,
    InstanceType, IpPermission, IpRange, LaunchPermission, LaunchPermissionModifications, PermissionGroup,
    ResourceType, Tag, TagSpecification,
};
use clap::Parser as _;
use insta::assert_snapshot;
use latent::cli::{Args, DoctorExit, Exit};
use latent::sim::Weather;
use latent::sim::wire::{Door, DoorOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const REGION: &str = "us-west-2";
const ACCOUNT: &str = "111111111111";

/// A door, an account behind it, a master that listens, and the files of a configuration.
struct Ground {
    endpoint: String,
    serving: JoinHandle<()>,
    folder: tempfile::TempDir,
    master: TcpListener,
    ec2: aws_sdk_ec2::Client,
    http: String,
    /// The manifest's lines beside owner and region.
    manifest: String,
    /// More of latent.toml.
    more: String,
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn client(endpoint: &str, account: &str) -> aws_sdk_ec2::Client {
    let key = Credentials::new(format!("AKIA{account}TEST"), "secret", None, None, "test");
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).endpoint_url(endpoint);
    let config = config.region(aws_config::Region::new(REGION)).credentials_provider(key).load().await;
    aws_sdk_ec2::Client::new(&config)
}

impl Ground {
    async fn new() -> Self {
        let options = DoorOptions { seed: 7, weather: Weather::calm(), speed: 60.0, behind: TimeDelta::zero() };
        let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
        let http = door.address().expect("bound").to_string();
        let endpoint = format!("http://{http}");
        let serving = tokio::spawn(door.run());
        let ec2 = client(&endpoint, ACCOUNT).await;
        let folder = tempfile::tempdir().expect("a folder");
        let master = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self { endpoint, serving, folder, master, ec2, http, manifest: String::new(), more: String::new() }
    }

    async fn register(&self, gib: i32) -> String {
        let disk = EbsBlockDevice::builder().volume_size(gib).delete_on_termination(true).build();
        let disk = BlockDeviceMapping::builder().device_name("/dev/sda1").ebs(disk).build();
        let call = self.ec2.register_image().name("worker").architecture(ArchitectureValues::X8664);
        let call = call.root_device_name("/dev/sda1").virtualization_type("hvm").block_device_mappings(disk);
        call.boot_mode(BootModeValues::Uefi).send().await.expect("registers").image_id().expect("an AMI").to_owned()
    }

    async fn group(&self, name: &str) -> String {
        let call = self.ec2.create_security_group().group_name(name).description("no way in");
        call.send().await.expect("makes").group_id().expect("a group").to_owned()
    }

    async fn instance(&self, ami: &str, fleet: Option<&str>) -> String {
        let call =
            self.ec2.run_instances().image_id(ami).min_count(1).max_count(1).instance_type(InstanceType::M5Large);
        let tags = fleet.map(|fleet| {
            let tag = Tag::builder().key("latent:fleet").value(fleet).build();
            let of = |kind| TagSpecification::builder().resource_type(kind).tags(tag.clone()).build();
            vec![of(ResourceType::Instance), of(ResourceType::Volume)]
        });
        let launched = call.set_tag_specifications(tags).send().await.expect("launches");
        self.sim("POST", "advance", &json!({ "seconds": 60 })).await;
        launched.instances()[0].instance_id().expect("an id").to_owned()
    }

    /// A subnet of the account.
    async fn subnet(&self) -> String {
        let found = self.ec2.describe_subnets().send().await.expect("lists");
        found.subnets()[0].subnet_id().expect("an id").to_owned()
    }

    /// A request at the side entrance.
    async fn sim(&self, method: &str, path: &str, body: &Value) -> Value {
        let (http, method, path) = (self.http.clone(), method.to_owned(), path.to_owned());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = tokio::task::spawn_blocking(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = TcpStream::connect(&http).expect("connects");
            let length = body.len();
            let head = format!(
                "{method} /_sim/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sends");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answers");
            answer
        });
        let answer = asked.await.expect("asks");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).expect("JSON")
    }

    async fn allow(&self, statements: Value) {
        self.sim("POST", "permissions", &json!({ "account": ACCOUNT, "allow": statements })).await;
    }

    fn owner(&self, name: &str, account: &str, role_of: &str) -> String {
        let role = format!("arn:aws:iam::{role_of}:role/latent");
        let endpoint = &self.endpoint;
        format!(
            "[owner.{name}]\naccount = \"{account}\"\ncredentials = {{ assume_role = \"{role}\" }}\nendpoint = \"{endpoint}\"\n"
        )
    }

    fn write(&self, more_owners: &str) -> String {
        let port = self.master.local_addr().expect("bound").port();
        let mut main = format!("[fleet]\nname = \"demo\"\ncontroller = \"c1\"\nmaster = \"127.0.0.1:{port}\"\n");
        let _ = write!(main, "{}{more_owners}{}", self.more, self.owner("alice", ACCOUNT, ACCOUNT));
        main += "[worker.alice-debian]\nimage = \"debian\"\n";
        let folder = self.folder.path();
        std::fs::create_dir_all(folder.join("amis")).expect("a folder");
        std::fs::write(folder.join("latent.toml"), main).expect("a file");
        let manifest = format!("owner = \"alice\"\nregion = \"{REGION}\"\n{}", self.manifest);
        std::fs::write(folder.join("amis/debian.toml"), manifest).expect("a file");
        folder.join("latent.toml").display().to_string()
    }

    async fn doctor(&self, options: &[&str]) -> (Exit, String) {
        let config = self.write("");
        run(&[&["doctor", "--config", &config, "--socket", "/nowhere/latent.sock"], options].concat()).await
    }

    /// Without what differs from run to run.
    fn told(&self, text: &str) -> String {
        let port = self.master.local_addr().expect("bound").port().to_string();
        // As wide as what it stands for: the lines break where they broke.
        text.replace(&port, &"9".repeat(port.len()))
    }

    /// Every call since an event: action, subject, outcome.
    async fn calls_after(&self, number: u64) -> Vec<(String, String, String)> {
        let trace = self.sim("GET", &format!("trace?after={number}"), &Value::Null).await;
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let events = trace["events"].as_array().expect("events");
        let call = |event: &Value| (text(event, "what"), text(event, "subject"), text(event, "outcome"));
        // Our own words for what happens by itself begin with a small letter.
        events.iter().map(call).filter(|(what, _, _)| what.starts_with(char::is_uppercase)).collect()
    }

    async fn last_event(&self) -> u64 {
        self.sim("GET", "trace", &Value::Null).await["count"].as_u64().expect("a number")
    }
}

async fn run(args: &[&str]) -> (Exit, String) {
    let args = Args::try_parse_from([&["latent"], args].concat()).expect("a command line");
    let mut out = Vec::new();
    let exit = latent::cli::run(args, &mut out).await;
    (exit, String::from_utf8(out).expect("text"))
}

/// A role that may do what latent does, and nothing else.
fn right_size() -> Value {
    let ours = json!({ "latent:fleet": "demo" });
    json!([
        { "actions": ["DescribeInstances", "DescribeImages", "DescribeInstanceTypes", "DescribeSubnets",
            "DescribeSecurityGroups", "DescribeKeyPairs", "DescribeVolumes", "DescribeSnapshots",
            "DescribeNetworkInterfaces", "DescribeAddresses", "DescribeSpotInstanceRequests",
            "GetInstanceMetadataDefaults", "GetServiceQuota"] },
        { "actions": ["RunInstances"], "request_tags": ours, "parameters": {
            "InstanceType": ["m7i.large", "m5.large"], "MetadataOptions.HttpTokens": ["required"] } },
        { "actions": ["TerminateInstances", "StopInstances", "StartInstances", "CreateTags", "DeleteVolume", "GetConsoleOutput"],
          "resource_tags": ours },
    ])
}

/// A sound account: an AMI, a group without a way in, an instance of the fleet and another one.
async fn sound() -> Ground {
    let mut ground = Ground::new().await;
    let (ami, group, subnet) = (ground.register(30).await, ground.group("workers").await, ground.subnet().await);
    ground.instance(&ami, None).await;
    ground.instance(&ami, Some("demo")).await;
    ground.manifest = format!(
        "ami = \"{ami}\"\ninstance_types = [\"m7i.large\", \"m5.large\"]\nsecurity_groups = [\"{group}\"]\n\
         subnets = [{{ id = \"{subnet}\", zone = \"us-west-2a\" }}]\n"
    );
    ground.allow(right_size()).await;
    ground
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn a_sound_fleet_is_told_as_such_and_nothing_is_changed() {
    let ground = sound().await;
    let before = ground.sim("GET", "instances", &Value::Null).await["instances"].clone();
    let last = ground.last_event().await;
    let (exit, out) = ground.doctor(&[]).await;
    fits(&out);
    assert_snapshot!(ground.told(&out));
    assert_eq!(exit, Exit::Doctor(DoctorExit::Warned), "no controller runs");
    let calls = ground.calls_after(last).await;
    let tries = calls.iter().filter(|(_, subject, _)| subject.starts_with("dry run")).count();
    assert_eq!(tries, 1 + 19, "{calls:#?}");
    for (action, subject, outcome) in calls {
        let reads = ["Describe", "Get"].iter().any(|verb| action.starts_with(verb)) || action == "AssumeRole";
        assert!(reads || subject.starts_with("dry run"), "{action} {subject}: {outcome}");
    }
    assert_eq!(ground.sim("GET", "instances", &Value::Null).await["instances"], before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn the_report_for_machines_has_every_row() {
    let ground = sound().await;
    let (exit, out) = ground.doctor(&["--json", "--worker", "alice-debian"]).await;
    assert_eq!(exit, Exit::Doctor(DoctorExit::Warned));
    let mut report: Value = serde_json::from_str(&out).expect("JSON");
    assert!(report["at"].take().is_string());
    let shown = serde_json::to_string_pretty(&report).expect("JSON");
    assert_snapshot!(ground.told(&shown));
}

/// An account and a manifest in which nearly everything is wrong.
async fn sick() -> Ground {
    let mut ground = Ground::new().await;
    let (ami, group) = (ground.register(8).await, ground.group("open").await);
    ground.instance(&ami, Some("demo")).await;
    let everybody = PermissionGroup::All;
    let permission = LaunchPermission::builder().group(everybody).build();
    let permission = LaunchPermissionModifications::builder().add(permission).build();
    ground.ec2.modify_image_attribute().image_id(&ami).launch_permission(permission).send().await.expect("shares");
    let range = IpRange::builder().cidr_ip("0.0.0.0/0").description("\u{202e}emoh").build();
    let ssh = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).ip_ranges(range).build();
    let call = ground.ec2.authorize_security_group_ingress().group_id(&group).ip_permissions(ssh);
    call.send().await.expect("opens");
    let all = IpRange::builder().cidr_ip("0.0.0.0/0").build();
    let all = IpPermission::builder().ip_protocol("-1").ip_ranges(all).build();
    let call = ground.ec2.revoke_security_group_egress().group_id(&group).ip_permissions(all);
    call.send().await.expect("shuts");
    let off = DefaultInstanceMetadataEndpointState::Disabled;
    ground.ec2.modify_instance_metadata_defaults().http_endpoint(off).send().await.expect("turns it off");
    ground.sim("POST", "quota", &json!({ "account": ACCOUNT, "region": REGION, "vcpus": 0 })).await;
    ground.sim("POST", "skew", &json!({ "seconds": -700 })).await;
    ground.manifest = format!(
        "ami = \"{ami}\"\narchitecture = \"arm64\"\nplatform = \"windows\"\nsecurity_groups = [\"{group}\"]\n\
         instance_types = [\"m1.small\", \"m9.none\"]\nsubnets = [{{ id = \"subnet-00000000\", zone = \"us-west-2a\" }}]\n\
         key_pair = \"nobody\"\n"
    );
    ground
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn a_sick_fleet_is_told_in_full_and_harmlessly() {
    let mut ground = sick().await;
    let (exit, out) = ground.doctor(&[]).await;
    fits(&out);
    assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
    assert_eq!(exit, Exit::Doctor(DoctorExit::Unfit));
    // The clock of the machine moves while it is looked at.
    let told = ground.told(&out);
    let steady: Vec<&str> = told.lines().filter(|line| !line.contains(" s ahead of AWS")).collect();
    assert_eq!(steady.len() + 1, told.lines().count(), "{told}");
    assert_snapshot!(steady.join("\n"));
    ground.manifest =
        "ami = \"ami-00000000\"\ninstance_types = [\"m5.large\"]\nsecurity_groups = [\"sg-00000000\"]\n".to_owned();
    let (exit, out) = ground.doctor(&[]).await;
    assert_eq!(exit, Exit::Doctor(DoctorExit::Unfit));
    for line in ["ami-00000000 does not exist", "sg-00000000 does not exist", "launch          on-demand"] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn a_role_that_may_nothing_leaves_everything_unknown_or_a_problem() {
    let ground = sound().await;
    ground.allow(json!([])).await;
    let (exit, out) = ground.doctor(&["--json"]).await;
    assert_eq!(exit, Exit::Doctor(DoctorExit::Unfit));
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let right: Vec<&str> = report["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["verdict"] == "ok")
        .filter_map(|row| row["check"].as_str())
        .collect();
    assert_eq!(
        right,
        ["master", "credentials", "account", "clock", "key pair", "IMDS", "lease"],
        "what needs no permission"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn an_old_ami_a_small_type_and_an_end_that_is_not_allowed_are_told() {
    let mut ground = sound().await;
    ground.more = "[requirements]\nmax_ami_age = \"1s\"\nmin_memory_mib = 9000\n".to_owned();
    let mut few = right_size();
    few[2]["actions"] = json!(["CreateTags"]);
    ground.allow(few).await;
    // The model's time flies, and the AMI is of its time; ours comes after it.
    let old = async {
        loop {
            let (exit, out) = ground.doctor(&[]).await;
            if out.contains("are the limit (max_ami_age)") {
                return (exit, out);
            }
        }
    };
    let (exit, out) = tokio::time::timeout(Duration::from_mins(1), old).await.expect("it ages");
    assert_eq!(exit, Exit::Doctor(DoctorExit::Unfit));
    for line in
        ["ec2:TerminateInstances is not allowed", "ec2:DeleteVolume is not allowed", "8192 MiB: 9000 MiB are required"]
    {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn another_ones_account_is_not_looked_at() {
    let ground = sound().await;
    let config = ground.write("");
    let text = std::fs::read_to_string(&config).expect("a file");
    let wrong = text.replace("account = \"111111111111\"", "account = \"222222222222\"");
    std::fs::write(&config, wrong).expect("a file");
    let last = ground.last_event().await;
    let (exit, out) =
        run(&["doctor", "--config", &config, "--socket", "/nowhere/latent.sock", "--owner", "alice"]).await;
    assert_eq!(exit, Exit::Doctor(DoctorExit::Unfit));
    assert!(out.contains("111111111111, and latent.toml says 222222222222"), "{out}");
    let calls: Vec<String> = ground.calls_after(last).await.into_iter().map(|(action, _, _)| action).collect();
    assert_eq!(calls, ["AssumeRole", "GetCallerIdentity"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn an_owner_who_never_answers_holds_up_nobody_else() {
    let ground = sound().await;
    let slow =
        json!({ "fault": "hang", "action": "AssumeRole", "account": "222222222222", "region": REGION, "times": 9 });
    ground.sim("POST", "faults", &slow).await;
    let refused = json!({ "fault": "role-denied", "action": "AssumeRole", "account": "333333333333", "region": REGION, "times": 9 });
    ground.sim("POST", "faults", &refused).await;
    let mut owners = String::new();
    for (name, account) in [("aaron", "222222222222"), ("abel", "333333333333")] {
        owners += &ground.owner(name, account, account);
        let _ = write!(owners, "[worker.{name}]\nimage = \"{name}\"\n");
        let manifest =
            format!("owner = \"{name}\"\nregion = \"{REGION}\"\nami = \"ami-1\"\ninstance_types = [\"m5.large\"]\n");
        std::fs::create_dir_all(ground.folder.path().join("amis")).expect("a folder");
        std::fs::write(ground.folder.path().join(format!("amis/{name}.toml")), manifest).expect("a file");
    }
    let config = ground.write(&owners);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_latent"));
    let mut child = tokio::process::Command::new(program)
        .args(["doctor", "--config", &config])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let out = child.stdout.take().expect("a pipe");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
    let mut seen = String::new();
    // Far less than the limit of a call: the others' rows are there while the slow one is still asked.
    let others = async {
        while !(seen.contains("owner abel") && seen.contains("worker alice-debian")) {
            seen += &lines.next_line().await.expect("reads").expect("more lines");
            seen.push('\n');
        }
    };
    tokio::time::timeout(Duration::from_secs(10), others).await.expect("in time");
    while let Some(line) = lines.next_line().await.expect("reads") {
        seen += &line;
        seen.push('\n');
    }
    let status = child.wait().await.expect("ends");
    assert_eq!(status.code(), Some(10), "{seen}");
    let (before, after) = seen.split_once("owner aaron in us-west-2").expect("the slow one is told as well");
    assert!(before.contains("AccessDenied") && before.contains("2 dry runs"), "{seen}");
    assert!(after.contains("no answer within 15 s"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn names_that_are_not_configured_are_refused() {
    let ground = sound().await;
    assert_eq!(ground.doctor(&["--owner", "nobody"]).await.0, Exit::Refused);
    assert_eq!(ground.doctor(&["--worker", "nobody"]).await.0, Exit::Refused);
    assert_eq!(
        ground.doctor(&["--worker", "alice-debian", "--owner", "alice"]).await.0,
        Exit::Doctor(DoctorExit::Warned)
    );
}
