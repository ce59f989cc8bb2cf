//! The wire door over loopback, byte by byte: EC2's protocol as it is, not as an SDK smooths it.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use latent::sim::Weather;
use latent::sim::wire::{Door, DoorOptions};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A door that ends with this value.
struct Wire {
    at: SocketAddr,
    serving: JoinHandle<()>,
}

/// An HTTP status and a text.
type Answer = (u16, String);

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Wire {
    /// At a speed at which a call takes about a millisecond.
    async fn fast() -> Self {
        Self::at_speed(1000.0).await
    }

    async fn at_speed(speed: f64) -> Self {
        let options = DoorOptions { seed: 7, weather: Weather::calm(), speed, behind: chrono::TimeDelta::zero() };
        let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
        Self { at: door.address().expect("bound"), serving: tokio::spawn(door.run()) }
    }

    /// One request on a connection of its own; `None` if that ended without an answer.
    async fn send(&self, request: hyper::http::request::Builder, body: &str) -> Option<Answer> {
        let stream = TcpStream::connect(self.at).await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        let pump = tokio::spawn(connection);
        let request = request.header("host", "ec2").body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        pump.abort();
        Some((status, String::from_utf8(body.to_vec()).expect("text")))
    }

    async fn signed(&self, key: &str, scope: &str, params: &str) -> Option<Answer> {
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={key}/20261121/{scope}/aws4_request, SignedHeaders=host, Signature=0");
        let request = Request::builder().method("POST").uri("/").header("authorization", signature);
        self.send(request, params).await
    }

    /// A call of EC2; the action comes first in `params`.
    async fn ec2(&self, params: &str) -> Answer {
        let params = format!("Version=2016-11-15&Action={params}");
        self.signed("emulated", "us-west-2/ec2", &params).await.expect("an answer")
    }

    /// A call that is done.
    #[track_caller]
    fn done(answer: Answer) -> String {
        assert_eq!(answer.0, 200, "{}", answer.1);
        answer.1
    }

    /// EC2's code of a refusal, with its status.
    async fn refused(&self, params: &str) -> (u16, String) {
        let (status, text) = self.ec2(params).await;
        assert!(text.contains("<Response><Errors><Error><Code>"), "{params}: {status} {text}");
        (status, one(&text, "Code"))
    }

    /// A request at the side entrance.
    async fn sim(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(format!("/_sim/{path}"));
        let (status, text) = self.send(request, &text).await.expect("an answer");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    async fn advance(&self, seconds: u32) {
        assert_eq!(self.sim("POST", "advance", json!({ "seconds": seconds })).await.0, 200);
    }

    async fn fault(&self, body: Value) {
        let (status, text) = self.sim("POST", "faults", body).await;
        assert_eq!(status, 200, "{text}");
    }

    /// A guest's look at its metadata.
    async fn guest(&self, id: &str, method: &str, path: &str, header: (&str, &str)) -> Answer {
        let uri = format!("/_sim/imds/{id}/latest/{path}");
        self.send(Request::builder().method(method).uri(uri).header(header.0, header.1), "").await.expect("an answer")
    }

    async fn image(&self) -> String {
        self.image_named("base").await
    }

    async fn image_named(&self, name: &str) -> String {
        let params = format!(
            "RegisterImage&Name={name}&Architecture=x86_64&RootDeviceName=/dev/xvda\
             &BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.VolumeSize=10"
        );
        one(&Self::done(self.ec2(&params).await), "imageId")
    }

    /// Launches one instance that runs.
    async fn instance(&self, more: &str) -> String {
        let image = self.image().await;
        let launched = Self::done(self.ec2(&launch(&image, more)).await);
        self.advance(30).await;
        one(&launched, "instanceId")
    }
}

fn launch(image: &str, more: &str) -> String {
    format!("RunInstances&ImageId={image}&InstanceType=m5.large&MinCount=1&MaxCount=1{more}")
}

/// The text of the first element of a name.
#[track_caller]
fn one(xml: &str, name: &str) -> String {
    let all = all(xml, name);
    all.into_iter().next().unwrap_or_else(|| panic!("no {name} in {xml}"))
}

/// The texts of all elements of a name.
fn all(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    parts.map(|(text, _)| text.to_owned()).collect()
}

#[tokio::test]
async fn a_token_launches_once_and_its_instance_is_found_by_it() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let call = launch(
        &image,
        "&ClientToken=t-1&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k\
         &TagSpecification.1.Tag.1.Value=%3Ca%26b%3E",
    );
    let first = one(&Wire::done(wire.ec2(&call).await), "instanceId");
    assert_eq!(one(&Wire::done(wire.ec2(&call).await), "instanceId"), first);
    let other = call.replace("m5.large", "m5.xlarge");
    assert_eq!(wire.refused(&other).await, (400, "IdempotentParameterMismatch".to_owned()));
    let found = wire.ec2("DescribeInstances&Filter.1.Name=client-token&Filter.1.Value.1=t-*").await;
    let found = Wire::done(found);
    assert_eq!(all(&found, "instanceId"), [first]);
    assert!(found.contains("<tagSet><item><key>k</key><value>&lt;a&amp;b&gt;</value></item></tagSet>"), "{found}");
    assert!(found.contains("</imageId><instanceState><code>"), "{found}");
}

#[tokio::test]
async fn refusals_are_ec2s_own() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let long = "a".repeat(30_000);
    let cases = [
        ("LaunchMissiles".to_owned(), 400, "InvalidAction"),
        ("DescribeFleets".to_owned(), 400, "InvalidAction"),
        ("DescribeInstances&Colour=red".to_owned(), 400, "UnknownParameter"),
        ("DescribeInstances&MaxResults=4".to_owned(), 400, "InvalidParameterValue"),
        ("DescribeInstances&Filter.1.Name=colour&Filter.1.Value.1=red".to_owned(), 400, "InvalidParameterValue"),
        (
            "DescribeInstances&InstanceId.1=i-0123456789abcdef0&MaxResults=5".to_owned(),
            400,
            "InvalidParameterCombination",
        ),
        ("DescribeInstances&InstanceId.1=i-1".to_owned(), 400, "InvalidInstanceID.Malformed"),
        ("DescribeInstances&InstanceId.1=i-0123456789abcdef0".to_owned(), 400, "InvalidInstanceID.NotFound"),
        ("DescribeInstances&NextToken=x".to_owned(), 400, "InvalidNextToken"),
        ("TerminateInstances".to_owned(), 400, "MissingParameter"),
        ("TerminateInstances&InstanceId.1=i-0123456789abcdef0".to_owned(), 400, "InvalidInstanceID.NotFound"),
        ("CreateTags&ResourceId.1=i-0123456789abcdef0&Tag.1.Key=k".to_owned(), 400, "InvalidInstanceID.NotFound"),
        ("CreateTags&ResourceId.1=ami-00000000&Tag.1.Key=aws:k".to_owned(), 400, "InvalidParameterValue"),
        (launch("ami-00000000", ""), 400, "InvalidAMIID.NotFound"),
        (launch("ami-x!", ""), 400, "InvalidAMIID.Malformed"),
        (launch(&image, "&SubnetId=subnet-00000000"), 400, "InvalidSubnetID.NotFound"),
        (launch(&image, "&SecurityGroupId.1=sg-00000000"), 400, "InvalidGroup.NotFound"),
        (launch(&image, "&KeyName=nobody"), 400, "InvalidKeyPair.NotFound"),
        (launch(&image, &format!("&UserData={long}")), 400, "InvalidParameterValue"),
        (launch(&image, "&DryRun=true"), 412, "DryRunOperation"),
        (launch(&image, "").replace("MinCount=1", "MinCount=x"), 400, "InvalidParameterValue"),
        (launch(&image, "").replace("m5.large", "z9.enormous"), 400, "InvalidParameterValue"),
        ("DeregisterImage&ImageId=ami-00000000".to_owned(), 400, "InvalidAMIID.NotFound"),
        ("DeleteVolume&VolumeId=vol-00000000".to_owned(), 400, "InvalidVolume.NotFound"),
        ("CreateFleet&Type=maintain".to_owned(), 400, "UnsupportedOperation"),
    ];
    for (call, status, code) in cases {
        assert_eq!(wire.refused(&call).await, (status, code.to_owned()), "{call}");
    }
    assert!(all(&Wire::done(wire.ec2("DescribeInstances").await), "instanceId").is_empty(), "nothing was launched");
}

#[tokio::test]
async fn one_unknown_id_fails_the_whole_call_and_is_named() {
    let wire = Wire::fast().await;
    let id = wire.instance("").await;
    let call = format!("TerminateInstances&InstanceId.1={id}&InstanceId.2=i-0123456789abcdef0");
    let (status, text) = wire.ec2(&call).await;
    assert_eq!((status, one(&text, "Message").as_str()), (400, "The instance ID 'i-0123456789abcdef0' does not exist"));
    let states = all(&Wire::done(wire.ec2("DescribeInstances").await), "name");
    assert!(states.contains(&"running".to_owned()), "{states:?}");
}

#[tokio::test]
async fn callers_are_known_by_their_keys_and_accounts_do_not_meet() {
    let wire = Wire::fast().await;
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let (_, ours) = wire.signed("AKIA111122223333ABCD", "us-west-2/sts", identity).await.expect("an answer");
    assert_eq!(one(&ours, "Account"), "111122223333");
    wire.instance("").await;
    let listing = "Action=DescribeInstances&Version=2016-11-15";
    for (key, scope) in [("AKIA111122223333ABCD", "us-west-2/ec2"), ("emulated", "eu-west-1/ec2")] {
        let (_, text) = wire.signed(key, scope, listing).await.expect("an answer");
        assert!(all(&text, "instanceId").is_empty(), "{key} {scope}");
    }
    let bare = wire.send(Request::builder().method("POST").uri("/"), listing).await.expect("an answer");
    assert_eq!((bare.0, one(&bare.1, "Code").as_str()), (403, "MissingAuthenticationToken"));
    let (status, text) =
        wire.signed("x", "us-west-2/sts", "Action=AssumeRole&RoleArn=no&RoleSessionName=me").await.expect("an answer");
    assert_eq!((status, one(&text, "Code").as_str()), (400, "ValidationError"));
    assert!(text.starts_with("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"), "{text}");
}

#[tokio::test]
async fn a_session_acts_in_its_roles_account_until_it_ends() {
    let wire = Wire::fast().await;
    let call = "Action=AssumeRole&RoleArn=arn:aws:iam::222233334444:role/latent&RoleSessionName=me&DurationSeconds=900";
    let (_, text) = wire.signed("emulated", "us-west-2/sts", call).await.expect("an answer");
    let (key, token) = (one(&text, "AccessKeyId"), one(&text, "SessionToken"));
    assert_eq!(key.len(), 20);
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20261121/us-west-2/sts/aws4_request, SignedHeaders=host, Signature=0"
    );
    let ask = async |token: &str| {
        let request = Request::builder().method("POST").uri("/").header("authorization", &signature);
        let request = request.header("x-amz-security-token", token);
        wire.send(request, "Action=GetCallerIdentity").await.expect("an answer")
    };
    let (_, identity) = ask(&token).await;
    assert_eq!(one(&identity, "Arn"), "arn:aws:sts::222233334444:assumed-role/latent/me");
    assert_eq!(one(&ask("another").await.1, "Code"), "AuthFailure");
    wire.advance(901).await;
    assert_eq!(one(&ask(&token).await.1, "Code"), "ExpiredToken");
    wire.fault(json!({ "fault": "role-denied", "action": "AssumeRole" })).await;
    let (status, text) = wire.signed("emulated", "us-west-2/sts", call).await.expect("an answer");
    assert_eq!((status, one(&text, "Code").as_str()), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_after_the_effect_and_a_refusal_before_it() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    wire.fault(json!({ "fault": "reply-lost", "action": "RunInstances", "times": 1 })).await;
    let call = format!("Version=2016-11-15&Action={}", launch(&image, "&ClientToken=lost"));
    assert_eq!(wire.signed("emulated", "us-west-2/ec2", &call).await, None);
    let again = wire.signed("emulated", "us-west-2/ec2", &call).await.expect("an answer");
    let listed = Wire::done(wire.ec2("DescribeInstances").await);
    assert_eq!(all(&listed, "instanceId"), [one(&again.1, "instanceId")], "one instance for one token");
    wire.fault(json!({ "fault": "refuse", "code": "Blocked", "message": "No.", "status": 403, "times": 2 })).await;
    assert_eq!(wire.refused(&launch(&image, "")).await, (403, "Blocked".to_owned()));
    assert_eq!(wire.sim("DELETE", "faults", Value::Null).await.0, 200);
    Wire::done(wire.ec2("DescribeInstances").await);
    wire.fault(json!({ "fault": "hang" })).await;
    let call = wire.ec2("DescribeInstances");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), call).await.is_err(), "it never answers");
}

#[tokio::test]
async fn a_burst_of_launches_is_throttled_in_ec2s_words() {
    let wire = Wire::at_speed(1.0).await;
    let image = wire.image().await;
    let call = launch(&image, "");
    let (mut done, mut throttled) = (0, 0);
    for (status, text) in futures_util::future::join_all((0..9).map(|_| wire.ec2(&call))).await {
        if status == 200 {
            done += 1;
        } else {
            assert_eq!((status, one(&text, "Code").as_str()), (503, "RequestLimitExceeded"));
            assert!(text.contains("Account 123456789012 has been throttled on ec2:RunInstances because"), "{text}");
            throttled += 1;
        }
    }
    assert!((5..8).contains(&done) && throttled > 0, "{done} done, {throttled} throttled");
}

#[tokio::test]
async fn listings_come_in_pages_of_the_size_that_was_asked_for() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let call = launch(&image, "").replace("MaxCount=1", "MaxCount=12");
    Wire::done(wire.ec2(&call).await);
    let (mut seen, mut next, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = Wire::done(wire.ec2(&format!("DescribeInstances&MaxResults=5{next}")).await);
        let ids = all(&page, "instanceId");
        sizes.push(ids.len());
        seen.extend(ids);
        let Some(token) = all(&page, "nextToken").pop() else { break };
        next = format!("&NextToken={token}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), sizes), (12, vec![5, 5, 2]));
    wire.fault(json!({ "fault": "page-expired", "rate": 1.0 })).await;
    let again = wire.refused(&format!("DescribeInstances&MaxResults=5{next}")).await;
    assert_eq!(again.1, "InvalidPaginationToken");
}

#[tokio::test]
async fn an_image_takes_minutes_and_its_snapshot_outlives_it() {
    let wire = Wire::fast().await;
    let id = wire.instance("").await;
    let call = format!("CreateImage&InstanceId={id}&Name=baked&NoReboot=true");
    let image = one(&Wire::done(wire.ec2(&call).await), "imageId");
    assert_eq!(wire.refused(&call).await.1, "InvalidAMIName.Duplicate");
    let state = async || one(&Wire::done(wire.ec2(&format!("DescribeImages&ImageId.1={image}")).await), "imageState");
    assert_eq!(state().await, "pending");
    assert_eq!(wire.refused(&launch(&image, "")).await.1, "InvalidAMIID.Unavailable");
    wire.advance(900).await;
    assert_eq!(state().await, "available");
    let snapshots = Wire::done(wire.ec2("DescribeSnapshots&Owner.1=self").await);
    assert_eq!((one(&snapshots, "status").as_str(), one(&snapshots, "progress").as_str()), ("completed", "100%"));
    let delete = format!("DeleteSnapshot&SnapshotId={}", one(&snapshots, "snapshotId"));
    assert_eq!(wire.refused(&delete).await.1, "InvalidSnapshot.InUse");
    Wire::done(wire.ec2(&format!("DeregisterImage&ImageId={image}")).await);
    assert_eq!(wire.refused(&format!("DescribeImages&ImageId.1={image}")).await.1, "InvalidAMIID.NotFound");
    Wire::done(wire.ec2(&delete).await);
}

#[tokio::test]
async fn disks_end_with_their_instance_only_if_that_was_asked_for() {
    let wire = Wire::fast().await;
    let id = wire
        .instance(
            "&BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=20\
             &TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=k",
        )
        .await;
    let interfaces = Wire::done(wire.ec2("DescribeNetworkInterfaces&Filter.1.Name=tag-key&Filter.1.Value.1=k").await);
    assert_eq!(one(&interfaces, "instanceId"), id);
    assert_eq!(all(&Wire::done(wire.ec2("DescribeVolumes").await), "size").len(), 2);
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={id}")).await);
    wire.advance(60).await;
    let left = Wire::done(wire.ec2("DescribeVolumes&Filter.1.Name=status&Filter.1.Value.1=available").await);
    assert_eq!(all(&left, "size"), ["20"]);
    assert!(all(&Wire::done(wire.ec2("DescribeNetworkInterfaces").await), "networkInterfaceId").is_empty());
}

#[tokio::test]
async fn a_persistent_spot_request_launches_again_until_it_is_cancelled() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let call = format!(
        "RequestSpotInstances&Type=persistent&LaunchSpecification.ImageId={image}&LaunchSpecification.InstanceType=m5.large"
    );
    let made = Wire::done(wire.ec2(&call).await);
    assert_eq!(one(&made, "code"), "pending-evaluation");
    let request = one(&made, "spotInstanceRequestId");
    let look = async || {
        wire.advance(60).await;
        Wire::done(wire.ec2(&format!("DescribeSpotInstanceRequests&SpotInstanceRequestId.1={request}")).await)
    };
    let first = look().await;
    assert_eq!(one(&first, "code"), "fulfilled");
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={}", one(&first, "instanceId"))).await);
    let second = look().await;
    assert_ne!(one(&second, "instanceId"), one(&first, "instanceId"), "EC2 launched another one");
    Wire::done(wire.ec2(&format!("CancelSpotInstanceRequests&SpotInstanceRequestId.1={request}")).await);
    assert_eq!(one(&look().await, "code"), "request-canceled-and-instance-running");
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={}", one(&second, "instanceId"))).await);
    assert_eq!(one(&look().await, "code"), "instance-terminated-by-user");
    let up = Wire::done(wire.ec2("DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running").await);
    assert!(all(&up, "instanceId").is_empty());
}

#[tokio::test]
async fn a_guest_reads_its_metadata_with_a_session_while_it_runs() {
    let wire = Wire::fast().await;
    let id = wire
        .instance(
            "&UserData=aGVsbG8%3D&MetadataOptions.HttpTokens=required&MetadataOptions.InstanceMetadataTags=enabled\
             &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=latent:worker\
             &TagSpecification.1.Tag.1.Value=w1&InstanceMarketOptions.MarketType=spot",
        )
        .await;
    assert_eq!(wire.guest(&id, "GET", "meta-data/instance-id", ("accept", "*/*")).await.0, 401);
    assert_eq!(wire.guest(&id, "PUT", "api/token", ("accept", "*/*")).await.0, 400, "without a time to live");
    let (_, token) = wire.guest(&id, "PUT", "api/token", ("x-aws-ec2-metadata-token-ttl-seconds", "21600")).await;
    let get = async |path: &str| wire.guest(&id, "GET", path, ("x-aws-ec2-metadata-token", &token)).await;
    assert_eq!(get("meta-data/instance-id").await, (200, id.clone()));
    assert_eq!(get("meta-data/placement/region").await.1, "us-west-2");
    assert_eq!(get("meta-data/tags/instance/").await.1, "latent:worker");
    assert_eq!(get("meta-data/tags/instance/latent:worker").await.1, "w1");
    assert_eq!(get("user-data").await, (200, "hello".to_owned()));
    assert_eq!(get("meta-data/spot/instance-action").await.0, 404);
    let document: Value = serde_json::from_str(&get("dynamic/instance-identity/document").await.1).expect("JSON");
    assert_eq!((&document["instanceId"], &document["accountId"]), (&json!(id), &json!("123456789012")));
    assert_eq!(wire.sim("POST", &format!("instances/{id}/interrupt"), Value::Null).await.0, 200);
    assert!(get("meta-data/spot/instance-action").await.1.contains("terminate"));
    wire.advance(180).await;
    assert_eq!(get("meta-data/instance-id").await.0, 404, "it has ended");
}

#[tokio::test]
async fn the_side_entrance_tells_the_truth_and_says_what_it_does_not_take() {
    let wire = Wire::fast().await;
    let id = wire.instance("&InstanceInitiatedShutdownBehavior=stop").await;
    assert_eq!(wire.sim("GET", "ready", Value::Null).await.1["seed"], 7);
    let text = json!({ "text": "booted\n" });
    assert_eq!(wire.sim("POST", &format!("instances/{id}/console"), text).await.0, 200);
    let shown = one(&Wire::done(wire.ec2(&format!("GetConsoleOutput&InstanceId={id}")).await), "output");
    // The end of the base64 of "…\nbooted\n", after what the boot itself wrote.
    assert!(shown.ends_with("Ym9vdGVkCg==") && shown.len() > 12, "{shown}");
    let (_, off) = wire.sim("POST", &format!("instances/{id}/power-off"), Value::Null).await;
    assert_eq!((&off["state"], &off["shutdown_behavior"]), (&json!("stopping"), &json!("stop")));
    wire.advance(60).await;
    let (_, truth) = wire.sim("GET", "instances", Value::Null).await;
    assert_eq!(
        (&truth["instances"][0]["state"], &truth["instances"][0]["region"]),
        (&json!("stopped"), &json!("us-west-2"))
    );
    assert!(wire.sim("GET", "bill", Value::Null).await.1["seconds"].as_i64().expect("a number") >= 60);
    let (_, trace) = wire.sim("GET", "trace?after=1", Value::Null).await;
    assert!(trace["events"].as_array().expect("a list").iter().any(|event| event["what"] == "RunInstances"));
    let wrong = [
        ("POST", "faults", json!({ "fault": "rain" }), 400),
        ("POST", "faults", json!({ "fault": "reply-lost", "rate": -1 }), 400),
        ("POST", "faults", json!({ "fault": "refuse" }), 400),
        ("POST", "advance", json!({ "seconds": -1 }), 400),
        ("POST", "advance", json!({ "minutes": 1 }), 400),
        ("POST", "instances/i-0/power-off", Value::Null, 404),
        ("GET", "trace?before=1", Value::Null, 400),
        ("GET", "secrets", Value::Null, 404),
        ("GET", "reset", Value::Null, 405),
    ];
    for (method, path, body, status) in wrong {
        let (got, answer) = wire.sim(method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert_eq!(wire.sim("POST", "reset", Value::Null).await.0, 200);
    assert_eq!(wire.sim("GET", "instances", Value::Null).await.1["instances"], json!([]));
}

#[tokio::test]
async fn a_fleet_gives_what_there_is_and_says_what_there_is_not() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let template = format!("CreateLaunchTemplate&LaunchTemplateName=t&LaunchTemplateData.ImageId={image}");
    let template = one(&Wire::done(wire.ec2(&template).await), "launchTemplateId");
    let config = format!("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId={template}");
    let call = format!(
        "CreateFleet&Type=instant&ClientToken=f&TargetCapacitySpecification.TotalTargetCapacity=2\
         &TargetCapacitySpecification.DefaultTargetCapacityType=on-demand&{config}\
         &LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=1\
         &LaunchTemplateConfigs.1.Overrides.1.InstanceType=z9.enormous\
         &LaunchTemplateConfigs.1.Overrides.2.InstanceType=c5.xlarge"
    );
    let fleet = Wire::done(wire.ec2(&call).await);
    assert_eq!(one(&fleet, "errorCode"), "InvalidParameterValue");
    assert_eq!(all(&one(&fleet, "instanceIds"), "item").len(), 2);
    assert_eq!(one(&Wire::done(wire.ec2(&call).await), "fleetId"), one(&fleet, "fleetId"), "the token is honoured");
}

#[tokio::test]
async fn an_elastic_address_stays_with_its_instance_and_outlives_it() {
    let wire = Wire::fast().await;
    let id = wire.instance("").await;
    let address = Wire::done(wire.ec2("AllocateAddress&Domain=vpc").await);
    let (allocation, ip) = (one(&address, "allocationId"), one(&address, "publicIp"));
    let associate = format!("AssociateAddress&AllocationId={allocation}&InstanceId={id}");
    Wire::done(wire.ec2(&associate).await);
    let seen = async || Wire::done(wire.ec2(&format!("DescribeInstances&InstanceId.1={id}")).await);
    assert_eq!(one(&seen().await, "ipAddress"), ip);
    Wire::done(wire.ec2(&format!("StopInstances&InstanceId.1={id}")).await);
    wire.advance(60).await;
    Wire::done(wire.ec2(&format!("StartInstances&InstanceId.1={id}")).await);
    wire.advance(60).await;
    assert_eq!(one(&seen().await, "ipAddress"), ip, "after a stop and a start too");
    let release = format!("ReleaseAddress&AllocationId={allocation}");
    assert_eq!(wire.refused(&release).await.1, "InvalidIPAddress.InUse");
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={id}")).await);
    wire.advance(60).await;
    let left = Wire::done(wire.ec2(&format!("DescribeAddresses&PublicIp.1={ip}")).await);
    assert!(all(&left, "associationId").is_empty());
    Wire::done(wire.ec2(&release).await);
}

#[tokio::test]
async fn an_interface_that_was_to_stay_is_left_and_can_be_deleted() {
    let wire = Wire::fast().await;
    let id = wire.instance("&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.DeleteOnTermination=false").await;
    let left = async || Wire::done(wire.ec2("DescribeNetworkInterfaces").await);
    let delete = format!("DeleteNetworkInterface&NetworkInterfaceId={}", one(&left().await, "networkInterfaceId"));
    assert_eq!(wire.refused(&delete).await.1, "InvalidNetworkInterface.InUse");
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={id}")).await);
    wire.advance(60).await;
    assert_eq!(one(&left().await, "status"), "available");
    Wire::done(wire.ec2(&delete).await);
    assert!(all(&left().await, "networkInterfaceId").is_empty());
}

#[tokio::test]
async fn an_image_is_copied_to_another_region_with_its_own_snapshots() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let copy = format!(
        "Version=2016-11-15&Action=CopyImage&Name=copy&SourceRegion=us-west-2&SourceImageId={image}\
         &TagSpecification.1.ResourceType=snapshot&TagSpecification.1.Tag.1.Key=k"
    );
    let there = async |params: &str| wire.signed("emulated", "eu-west-1/ec2", params).await.expect("an answer");
    let made = one(&Wire::done(there(&copy).await), "imageId");
    wire.advance(900).await;
    let describe = format!("Version=2016-11-15&Action=DescribeImages&ImageId.1={made}");
    assert_eq!(one(&Wire::done(there(&describe).await), "imageState"), "available");
    let snapshots = Wire::done(there("Version=2016-11-15&Action=DescribeSnapshots").await);
    assert_eq!(one(&snapshots, "key"), "k");
    let (status, text) = there(&copy.replace("us-west-2", "us-east-2").replace("copy", "other")).await;
    assert_eq!((status, one(&text, "Code").as_str()), (400, "InvalidAMIID.NotFound"));
}

#[tokio::test]
async fn a_protected_instance_is_not_ended_and_keeps_no_other_zone_from_it() {
    let wire = Wire::fast().await;
    let image = wire.image().await;
    let zone =
        |letter: char, more: &str| launch(&image, &format!("&Placement.AvailabilityZone=us-west-2{letter}{more}"));
    let kept = one(&Wire::done(wire.ec2(&zone('a', "&DisableApiTermination=true")).await), "instanceId");
    let free = one(&Wire::done(wire.ec2(&zone('b', "")).await), "instanceId");
    wire.advance(30).await;
    let both = format!("TerminateInstances&InstanceId.1={kept}&InstanceId.2={free}");
    assert_eq!(wire.refused(&both).await.1, "OperationNotPermitted");
    let up = Wire::done(wire.ec2("DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running").await);
    assert_eq!(all(&up, "instanceId").join(" "), kept);
    let unprotect = format!("ModifyInstanceAttribute&InstanceId={kept}&DisableApiTermination.Value=false");
    Wire::done(wire.ec2(&unprotect).await);
    Wire::done(wire.ec2(&format!("TerminateInstances&InstanceId.1={kept}")).await);
}

#[tokio::test]
async fn a_zone_that_is_out_fails_the_listings_that_do_not_leave_it_aside() {
    let wire = Wire::fast().await;
    let id = wire.instance("&Placement.AvailabilityZone=us-west-2a").await;
    wire.fault(json!({ "fault": "zone-outage", "rate": 1.0 })).await;
    assert_eq!(wire.refused("DescribeInstances").await, (503, "Unavailable".to_owned()));
    assert_eq!(wire.refused(&format!("DescribeInstances&InstanceId.1={id}")).await.1, "Unavailable");
    assert_eq!(wire.refused(&launch(&wire.image_named("other").await, "")).await.1, "InsufficientInstanceCapacity");
    wire.sim("DELETE", "faults", Value::Null).await;
    Wire::done(wire.ec2("DescribeInstances").await);
}
