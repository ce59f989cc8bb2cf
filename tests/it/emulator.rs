//! The real SDK against whoever plays EC2 over HTTP: moto from PyPI (`make test-rust`), LocalStack
//! (`make localstack`), and the wire door of the simulation. What each does otherwise than EC2 stands in
//! `conformance/departures.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, DomainType, EbsBlockDevice, Filter, Image, IpPermission, IpRange,
    Ipv6Range, LaunchTemplate, NetworkInterface, RequestLaunchTemplateData, RequestSpotLaunchSpecification,
    ResourceType, SecurityGroup, Snapshot, SpotInstanceRequest, Subnet, Tag, TagSpecification,
};
use chrono::TimeDelta;
use futures_util::future::LocalBoxFuture;
use latent::cloud::{Bakery, Cloud};
use latent::control::Clock;
use latent::ec2::Ec2;
use latent::model::{Cell, FailureKind, Fence, InstanceId, Place, Rehearsal, ResourceKind, TagSet};
use latent::policy::{Intent, Sources};
use latent::sim::Weather;
use latent::sim::wire::{Door, DoorOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::conformance::{FLEET, Ground, Probe, Resource, Snapshots, conforms, say, spec};

const REGION: &str = "us-west-2";
/// Instances per page: the least that EC2 allows.
const PAGE: i32 = 5;

/// moto's server; it ends with this value.
pub(crate) struct Moto {
    server: Child,
    _folder: tempfile::TempDir,
    pub(crate) endpoint: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/localstack/moto_server.py");
        let folder = tempfile::tempdir().expect("a folder");
        let python = std::env::var("LATENT_TEST_PYTHON").expect("LATENT_TEST_PYTHON: run this by `make test-rust`");
        let mut server = Command::new(python)
            .args([script, "--until-eof", "--log"])
            .arg(folder.path().join("moto.log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts moto");
        let mut endpoint = String::new();
        let out = server.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut endpoint).expect("moto says its address");
        Self { server, _folder: folder, endpoint: endpoint.trim().to_owned() }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// The account at this endpoint, with an AMI in it.
pub(crate) async fn ground(endpoint: &str, account: &'static str) -> Ground<Ec2> {
    let api = Api::at(endpoint).await;
    Ground {
        cloud: cloud_at(endpoint, "{ environment = true }").with_page(PAGE),
        clock: Clock::system(),
        account,
        ami: api.registered().await,
        more_than_a_page: 12,
        look_every: TimeDelta::milliseconds(100),
        probe: Box::new(api),
    }
}

/// The API itself, for what `Cloud` does not show.
struct Api {
    ec2: aws_sdk_ec2::Client,
}

impl Api {
    async fn at(endpoint: &str) -> Self {
        let region = aws_config::Region::new(REGION);
        let latest = aws_config::BehaviorVersion::latest();
        let config = aws_config::defaults(latest).endpoint_url(endpoint).region(region).load().await;
        Self { ec2: aws_sdk_ec2::Client::new(&config) }
    }

    /// An AMI of the account.
    async fn registered(&self) -> String {
        let disk = EbsBlockDevice::builder().volume_size(8).delete_on_termination(true).build();
        let disk = BlockDeviceMapping::builder().device_name("/dev/sda1").ebs(disk).build();
        let call = self.ec2.register_image().name("worker").architecture(ArchitectureValues::X8664);
        let call = call.root_device_name("/dev/sda1").virtualization_type("hvm").block_device_mappings(disk);
        call.send().await.expect("registers").image_id().expect("an AMI").to_owned()
    }

    async fn own_snapshots(&self) -> Result<Snapshots, String> {
        let found = self.ec2.describe_snapshots().owner_ids("self").send().await.map_err(|error| error.to_string())?;
        let one = |snapshot: &Snapshot| (snapshot.snapshot_id().unwrap_or_default().to_owned(), read(snapshot.tags()));
        Ok(found.snapshots().iter().map(one).collect())
    }

    async fn tags_of(&self, resource: Resource, of: &InstanceId) -> Result<Vec<TagSet>, String> {
        let attached = |name: &str| Filter::builder().name(name).values(of.as_str()).build();
        match resource {
            Resource::VolumesOf => {
                let call = self.ec2.describe_volumes().filters(attached("attachment.instance-id"));
                let found = call.send().await.map_err(|error| error.to_string())?;
                Ok(found.volumes().iter().map(|volume| read(volume.tags())).collect())
            }
            Resource::InterfacesOf => {
                let call = self.ec2.describe_network_interfaces().filters(attached("attachment.instance-id"));
                let found = call.send().await.map_err(|error| error.to_string())?;
                Ok(found.network_interfaces().iter().map(|interface| read(interface.tag_set())).collect())
            }
        }
    }
}

fn read(tags: &[Tag]) -> TagSet {
    let pair = |tag: &Tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned());
    tags.iter().map(pair).collect()
}

/// The tags of something at its birth; EC2 takes no empty list of them.
fn birth(kind: ResourceType, tags: &TagSet) -> Option<Vec<TagSpecification>> {
    let one = |(key, value)| Tag::builder().key(key).value(value).build();
    let all: Vec<Tag> = tags.iter().map(one).collect();
    (!all.is_empty()).then(|| vec![TagSpecification::builder().resource_type(kind).set_tags(Some(all)).build()])
}

impl Api {
    async fn volume(&self, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        let call = self.ec2.create_volume().availability_zone(format!("{REGION}a")).size(8);
        let made = call.set_tag_specifications(birth(ResourceType::Volume, tags)).send().await?;
        Ok(made.volume_id().unwrap_or_default().to_owned())
    }

    async fn interface(&self, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        let subnets = self.ec2.describe_subnets().send().await?;
        let subnet = subnets.subnets().first().and_then(Subnet::subnet_id).unwrap_or_default();
        let call = self.ec2.create_network_interface().subnet_id(subnet);
        let made = call.set_tag_specifications(birth(ResourceType::NetworkInterface, tags)).send().await?;
        let made = made.network_interface().and_then(NetworkInterface::network_interface_id);
        Ok(made.unwrap_or_default().to_owned())
    }

    async fn spot_request(&self, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        let images = self.ec2.describe_images().owners("self").send().await?;
        let image = images.images().first().and_then(Image::image_id).unwrap_or_default();
        let what = RequestSpotLaunchSpecification::builder().image_id(image).instance_type("m5.large".into()).build();
        let call = self.ec2.request_spot_instances().instance_count(1).spot_price("0.0001").launch_specification(what);
        let made = call.set_tag_specifications(birth(ResourceType::SpotInstancesRequest, tags)).send().await?;
        let made = made.spot_instance_requests().first().and_then(SpotInstanceRequest::spot_instance_request_id);
        Ok(made.unwrap_or_default().to_owned())
    }

    async fn made(&self, kind: ResourceKind, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        match kind {
            ResourceKind::Volume => self.volume(tags).await,
            ResourceKind::Snapshot => {
                let of = self.volume(&TagSet::default()).await?;
                let call = self.ec2.create_snapshot().volume_id(of);
                let made = call.set_tag_specifications(birth(ResourceType::Snapshot, tags)).send().await?;
                Ok(made.snapshot_id().unwrap_or_default().to_owned())
            }
            ResourceKind::Interface => self.interface(tags).await,
            ResourceKind::Address => {
                let call = self.ec2.allocate_address().domain(DomainType::Vpc);
                let made = call.set_tag_specifications(birth(ResourceType::ElasticIp, tags)).send().await?;
                Ok(made.allocation_id().unwrap_or_default().to_owned())
            }
            ResourceKind::SpotRequest => self.spot_request(tags).await,
            ResourceKind::Instance | ResourceKind::Ami => Ok(String::new()),
        }
    }
}

/// Everybody, by this protocol and port; all of them by `-1`.
fn everybody(protocol: &str, port: Option<i32>) -> IpPermission {
    let range = IpRange::builder().cidr_ip("0.0.0.0/0").build();
    IpPermission::builder().ip_protocol(protocol).set_from_port(port).set_to_port(port).ip_ranges(range).build()
}

fn words(way: &str, permissions: &[IpPermission]) -> Vec<String> {
    let one = |permission: &IpPermission| {
        let port = permission.from_port().map_or_else(|| "all".to_owned(), |port| port.to_string());
        let head = format!("{way} {} {port}", permission.ip_protocol().unwrap_or_default());
        let ranges = permission.ip_ranges().iter().filter_map(IpRange::cidr_ip);
        let ranges6 = permission.ipv6_ranges().iter().filter_map(Ipv6Range::cidr_ipv6);
        ranges.chain(ranges6).map(|peer| format!("{head} {peer}")).collect::<Vec<_>>()
    };
    permissions.iter().flat_map(one).collect()
}

/// What a rebake's checks need beside.
impl Api {
    async fn grouped(&self, name: &str, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        let made = self.ec2.create_security_group().group_name(name).description("of a check");
        let made = made.set_tag_specifications(birth(ResourceType::SecurityGroup, tags)).send().await?;
        Ok(made.group_id().unwrap_or_default().to_owned())
    }

    async fn rules_of(&self, group: &str) -> Result<Vec<String>, aws_sdk_ec2::Error> {
        let found = self.ec2.describe_security_groups().group_ids(group).send().await?;
        let both = |group: &SecurityGroup| {
            [words("in", group.ip_permissions()), words("out", group.ip_permissions_egress())].concat()
        };
        Ok(found.security_groups().iter().flat_map(both).collect())
    }

    async fn opened(&self, group: &str) -> Result<(), aws_sdk_ec2::Error> {
        let ssh = everybody("tcp", Some(22));
        self.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(ssh).send().await?;
        let all = everybody("-1", None);
        self.ec2.authorize_security_group_egress().group_id(group).ip_permissions(all).send().await?;
        Ok(())
    }

    async fn first_subnet(&self) -> Result<String, aws_sdk_ec2::Error> {
        let subnets = self.ec2.describe_subnets().send().await?;
        Ok(subnets.subnets().first().and_then(Subnet::subnet_id).unwrap_or_default().to_owned())
    }

    async fn templated(&self, name: &str, amis: &[&str]) -> Result<String, aws_sdk_ec2::Error> {
        let data = |ami: &str| RequestLaunchTemplateData::builder().image_id(ami).build();
        let made = self.ec2.create_launch_template().launch_template_name(name).launch_template_data(data(amis[0]));
        let made = made.send().await?;
        let id = made.launch_template().and_then(LaunchTemplate::launch_template_id).unwrap_or_default().to_owned();
        for ami in &amis[1..] {
            let call = self.ec2.create_launch_template_version().launch_template_id(&id);
            call.launch_template_data(data(ami)).send().await?;
        }
        Ok(id)
    }

    async fn registered_of(&self, name: &str, snapshot: &str, tags: &TagSet) -> Result<String, aws_sdk_ec2::Error> {
        let disk = EbsBlockDevice::builder().snapshot_id(snapshot).delete_on_termination(true).build();
        let disk = BlockDeviceMapping::builder().device_name("/dev/sda1").ebs(disk).build();
        let call = self.ec2.register_image().name(name).architecture(ArchitectureValues::X8664);
        let call = call.root_device_name("/dev/sda1").virtualization_type("hvm").block_device_mappings(disk);
        let made = call.set_tag_specifications(birth(ResourceType::Image, tags)).send().await?;
        Ok(made.image_id().unwrap_or_default().to_owned())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn told(error: aws_sdk_ec2::Error) -> String {
    format!("{error:?}")
}

impl Probe for Api {
    fn make<'a>(&'a self, kind: ResourceKind, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(async move { self.made(kind, tags).await.map_err(|error| format!("cannot make it: {error:?}")) })
    }

    fn tags<'a>(&'a self, resource: Resource, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Vec<TagSet>, String>> {
        Box::pin(self.tags_of(resource, of))
    }

    fn group<'a>(&'a self, name: &'a str, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(async move { self.grouped(name, tags).await.map_err(told) })
    }

    fn rules<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move { self.rules_of(group).await.map_err(told) })
    }

    fn open<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.opened(group).await.map_err(told) })
    }

    fn subnet(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.first_subnet().await.map_err(told) })
    }

    fn template<'a>(&'a self, name: &'a str, amis: &'a [&'a str]) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(async move { self.templated(name, amis).await.map_err(told) })
    }

    fn register<'a>(
        &'a self,
        name: &'a str,
        snapshot: &'a str,
        tags: &'a TagSet,
    ) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(async move { self.registered_of(name, snapshot, tags).await.map_err(told) })
    }

    fn snapshots(&self) -> LocalBoxFuture<'_, Result<Snapshots, String>> {
        Box::pin(self.own_snapshots())
    }
}

fn cloud_at(endpoint: &str, credentials: &str) -> Ec2 {
    let main = format!(
        "[fleet]\nname = \"{FLEET}\"\ncontroller = \"tests\"\n\
         [owner.o]\naccount = \"123456789012\"\ncredentials = {credentials}\nendpoint = \"{endpoint}\"\n"
    );
    let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
    let intent = Intent::parse(&sources).expect("a configuration");
    let cell = Cell { owner: "o".parse().expect("a name"), region: REGION.parse().expect("a region") };
    Ec2::new(&cell, &intent)
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_does_as_ec2_does_or_departs_as_the_table_says() {
    let moto = Moto::start();
    conforms("moto", &ground(&moto.endpoint, "123456789012").await).await;
}

/// Runs the checks on a server that somebody else started, if its endpoint is given.
async fn conforms_at(variable: &str, who: &str, account: &'static str) {
    match std::env::var(variable).ok().filter(|endpoint| !endpoint.is_empty()) {
        Some(endpoint) => conforms(who, &ground(&endpoint, account).await).await,
        None => say(&format!("{who}: not run: no endpoint in {variable}")),
    }
}

#[tokio::test]
#[ignore = "needs the LocalStack of `make localstack`"]
async fn localstack_does_as_ec2_does_or_departs_as_the_table_says() {
    conforms_at("LATENT_TEST_LOCALSTACK", "LocalStack", "000000000000").await;
}

/// The model behind EC2's own protocol. Fast enough for images, slow enough to see what is pending.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn the_wire_door_does_as_ec2_does() {
    let options = DoorOptions { seed: 7, weather: Weather::calm(), speed: 60.0, behind: chrono::TimeDelta::zero() };
    let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
    let endpoint = format!("http://{}", door.address().expect("bound"));
    let serving = tokio::spawn(door.run());
    conforms("wire door", &ground(&endpoint, "123456789012").await).await;
    serving.abort();
}

/// What the door was asked, in the order in which it came.
async fn actions(door: SocketAddr) -> Vec<String> {
    let mut stream = TcpStream::connect(door).await.expect("connects");
    let asks = "GET /_sim/calls HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(asks.as_bytes()).await.expect("is written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is read");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
    let said: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let calls = said["calls"].as_array().expect("calls");
    calls.iter().map(|call| call["action"].as_str().expect("an action").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn what_was_prepared_is_launched_by_one_call_and_what_was_not_asks_for_its_disks_once() {
    let options = DoorOptions { seed: 7, weather: Weather::calm(), speed: 60.0, behind: chrono::TimeDelta::zero() };
    let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
    let at = door.address().expect("bound");
    let serving = tokio::spawn(door.run());
    let endpoint = format!("http://{at}");
    let ami = Api::at(&endpoint).await.registered().await;
    let now = Clock::system().now();
    for prepares in [true, false] {
        let cloud = cloud_at(&endpoint, "{ environment = true }");
        let before = actions(at).await.len();
        if prepares {
            cloud.prepare(&[ami.parse().expect("an AMI")].into()).await.expect("is prepared");
            assert_eq!(actions(at).await[before..], ["DescribeImages"]);
        }
        for attempt in ["1-1", "2-1"] {
            let spec = spec(&ami, &format!("{attempt}-{prepares}"), now);
            cloud.launch(&spec, None, &spec.token()).await.expect("launches");
        }
        assert_eq!(actions(at).await[before..], ["DescribeImages", "RunInstances", "RunInstances"], "{prepares}");
    }
    serving.abort();
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn nobody_at_the_endpoint_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let cloud = cloud_at(&format!("http://127.0.0.1:{port}"), "{ environment = true }");
    let error = cloud.inventory(Clock::system().now(), &[]).await.expect_err("nobody there");
    assert_eq!(error.kind, FailureKind::Unreachable, "{error}");
}

/// Answers every request with this.
fn always(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 8192]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close\r\ncontent-length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes());
        }
    });
    endpoint
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn without_a_default_vpc_the_owner_is_told_to_name_a_subnet() {
    let none = "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
        <requestId>1</requestId><vpcSet/></DescribeVpcsResponse>";
    let cloud = cloud_at(&always(none), "{ environment = true }");
    let (name, place) = ("fence".to_owned(), Place::Anywhere);
    let fence = Fence { name, place, egress: Vec::new(), tags: TagSet::default() };
    let error = cloud.fence(&fence).await.expect_err("there is no VPC");
    assert_eq!((error.kind, error.code.as_str()), (FailureKind::Owner, "DefaultVpcDoesNotExist"), "{error}");
    assert!(error.message.contains("name a subnet in the image manifest"), "{error}");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn where_a_dry_run_is_none_nothing_else_is_tried() {
    let listing = "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
        <requestId>1</requestId><reservationSet/></DescribeInstancesResponse>";
    let cloud = cloud_at(&always(listing), "{ environment = true }");
    let spec = spec("ami-1", "never", Clock::system().now());
    let source = spec.ami.clone();
    let answers = cloud.rehearse(&Rehearsal { launch: Box::new(spec), source }).await;
    let [(action, Err(error))] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((*action, error.kind), ("ec2:DescribeInstances", FailureKind::Bug), "{error}");
    assert!(error.message.contains("no dry run"), "{error}");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn an_answer_that_is_not_ec2s_is_unreachable_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 8192]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>");
        }
    });
    let cloud = cloud_at(&endpoint, "{ environment = true }");
    let error = cloud.inventory(Clock::system().now(), &[]).await.expect_err("not EC2");
    assert_eq!((error.kind, error.code.as_str()), (FailureKind::Unreachable, "NotAnEc2Answer"), "{error}");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn a_profile_that_is_not_there_is_a_matter_of_credentials() {
    let cloud = cloud_at("http://127.0.0.1:9", "{ profile = \"nobody-has-this-profile\" }");
    let error = cloud.account().await.expect_err("no credentials");
    assert_eq!(error.kind, FailureKind::Credentials, "{error}");
}
