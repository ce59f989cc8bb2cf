//! The configuration: every mistake has its place and its cure, all of them are told at once, and
//! layers hold in their order.

use std::path::Path;

use chrono::TimeDelta;
use insta::assert_snapshot;
use latent::model::WorkerName;
use latent::policy::{Channel, Declaration, IdleTimeout, Intent, JoinKey, RebakePolicy, Recipe, Sources, load, place};
use proptest::prelude::*;
use serde_json::json;

use crate::config_user_data::of_user_data;

const FLEET: &str = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n";
const OWNER: &str = "[owner.o]\naccount = \"012345678901\"\ncredentials = { profile = \"p\" }\n";
pub(crate) const IMAGE: &str =
    "owner = \"o\"\nregion = \"us-west-2\"\nami = \"ami-1\"\ninstance_types = [\"m7i.large\"]\n";

/// A configuration of one owner; `more` goes to latent.toml, images and policies have files.
pub(crate) fn sources(more: &str, images: &[(&str, &str)], policies: &[(&str, &str)]) -> Sources {
    let files = |folder: &str, files: &[(&str, &str)]| {
        let one =
            |(stem, text): &(&str, &str)| ((*stem).to_owned(), format!("{folder}/{stem}.toml"), (*text).to_owned());
        files.iter().map(one).collect()
    };
    Sources {
        main: ("latent.toml".to_owned(), format!("{FLEET}{OWNER}{more}")),
        images: files("amis", images),
        policies: files("policies", policies),
        ..Sources::default()
    }
}

fn problems(sources: &Sources) -> String {
    match Intent::parse(sources) {
        Ok(_) => "none".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// What is wrong with `[policy]` lines.
fn of_policy(lines: &str) -> String {
    problems(&sources(&format!("[policy]\n{lines}\n"), &[], &[]))
}

/// What is wrong with a manifest that is right but for these lines.
pub(crate) fn of_image(lines: &str) -> String {
    problems(&sources("", &[("i", &format!("{IMAGE}{lines}\n"))], &[]))
}

/// What is wrong with more of latent.toml, beside one right image.
fn of_main(lines: &str) -> String {
    problems(&sources(lines, &[("i", IMAGE)], &[]))
}

#[test]
fn a_misspelt_key_is_recognised() {
    assert_snapshot!(of_policy("idle_timout = \"10m\""), @r#"latent.toml:8:1: policy.idle_timout = "10m": is not a known key; did you mean idle_timeout?"#);
    assert_snapshot!(of_main("[fleat]\nx = 1"), @"latent.toml:7:2: fleat: is not a known section; known sections: fleet, link, page, polling, requirements, defaults, owner, worker, policy, sweep, rebake, notify");
    assert_snapshot!(of_image("colour = \"red\""), @r#"amis/i.toml:5:1: colour = "red": is not a known key; known keys: owner, region, ami, previous, generation, ami_owners, ami_location, platform, architecture, instance_types, subnets, zones, security_groups, security_group_names, key_pair, instance_profile, block_devices, identity, user_data, batch_max, lease_watch, market, spot_price_max, elastic_ip, volumes, tags, rebake"#);
}

#[test]
fn a_time_needs_its_unit_and_never_must_be_spelt() {
    assert_snapshot!(of_policy("idle_timeout = 0"), @r#"latent.toml:8:16: policy.idle_timeout = 0: has no unit; write a time such as "10m", or "auto", or "never" if that is meant"#);
    assert_snapshot!(of_policy("idle_timeout = 600"), @r#"latent.toml:8:16: policy.idle_timeout = 600: has no unit; write "600s" or "600m", or "auto", or "never" if that is meant"#);
    assert_snapshot!(of_policy("idle_timeout = \"0s\""), @r#"latent.toml:8:16: policy.idle_timeout = "0s": says nothing aloud; write a time such as "10m", or "auto", or "never" if that is meant"#);
    assert_snapshot!(of_policy("lease = \"soon\""), @r#"latent.toml:8:9: policy.lease = "soon": is not a time; write a number with s, m, h or d, such as "10m""#);
    assert_snapshot!(of_policy("lease = \"never\""), @r#"latent.toml:8:9: policy.lease = "never": is not a time; write a number with s, m, h or d, such as "10m""#);
    assert_snapshot!(of_policy("max_lifetime = \"2years\""), @r#"latent.toml:8:16: policy.max_lifetime = "2years": is longer than a year; write a shorter time"#);
    assert_snapshot!(of_policy("lease = true"), @r#"latent.toml:8:9: policy.lease = true: is a boolean, not a time; write a time such as "10m""#);
    assert_eq!(of_policy("idle_timeout = \"never\""), "none");
    assert_eq!(of_policy("max_age = \"never\"\nmax_builds = 7"), "none");
    assert_snapshot!(of_policy("max_age = \"13h\"\nmax_lifetime = \"12h\""), @"latent.toml:8:11: policy.max_age: is longer than max_lifetime (latent.toml:9:16); make it at most max_lifetime, or raise max_lifetime");
    assert_eq!(of_policy("warm = [\"Mon-Fri 07:00-18:00\", \"Sat 22:00-02:00\"]"), "none");
    assert_snapshot!(of_policy("warm = [\"Mon-Fry 07:00-18:00\"]"), @r#"latent.toml:8:9: policy.warm = "Mon-Fry 07:00-18:00": is not a window; write "Mon-Fri 07:00-18:00", "Sat 02:00-06:00", or "07:00-18:00" for every day, in UTC; the end of a day is 24:00"#);
    assert_snapshot!(of_policy("idle_timeout = \"soon\""), @r#"latent.toml:8:16: policy.idle_timeout = "soon": is not a time; write a number with s, m, h or d, such as "10m", or "auto", or "never" if that is meant"#);
    assert_eq!(of_policy("idle_timeout = \"auto\"\nidle_timeout_min = \"1m\"\nwait_price = 2"), "none");
    assert_snapshot!(of_policy("idle_timeout_min = \"2h\"\nidle_timeout_max = \"1h\""), @"latent.toml:8:20: policy.idle_timeout_min: is longer than idle_timeout_max (latent.toml:9:20); make it at most idle_timeout_max, or raise idle_timeout_max");
    assert_snapshot!(of_policy("max_builds = 0"), @"latent.toml:8:14: policy.max_builds = 0: is out of range; write a number from 1 to 1000000");
}

#[test]
fn limits_that_contradict_each_other_are_told_with_both_places() {
    assert_snapshot!(of_policy("drain_deadline = \"2h\"\nmax_lifetime = \"1h\""), @"latent.toml:8:18: policy.drain_deadline: is longer than max_lifetime (latent.toml:9:16); make it at most max_lifetime, or raise max_lifetime");
}

#[test]
fn an_account_is_twelve_digits_in_quotes() {
    let number = sources("", &[], &[]).main.1.replace("\"012345678901\"", "12345678901");
    let with = |main: String| Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
    assert_snapshot!(problems(&with(number)), @r#"latent.toml:5:11: owner.o.account = 12345678901: is an integer, not a text; write it in quotes: account = "12345678901""#);
    let short = sources("", &[], &[]).main.1.replace("012345678901", "12345");
    assert_snapshot!(problems(&with(short)), @r#"latent.toml:5:11: owner.o.account = "12345": is not an account number; write its 12 digits in quotes, leading zeros included"#);
    let keys = sources("", &[], &[]).main.1.replace("profile = \"p\"", "access_key = \"AKIA\"");
    assert_snapshot!(problems(&with(keys)), @r#"
    latent.toml:6:15: owner.o.credentials.assume_role: exactly one way to act must be given; write assume_role (with external_id), profile, key_file, or environment = true
    latent.toml:6:17: owner.o.credentials.access_key = "AKIA": is not a known key; known keys: assume_role, external_id, profile, environment, key_file
    "#);
    let both = sources("", &[], &[]).main.1.replace("profile = \"p\"", "external_id = \"x\"");
    assert_snapshot!(problems(&with(both)), @"latent.toml:6:31: owner.o.credentials.external_id: is of no use without assume_role; add assume_role, or remove it");
}

#[test]
fn what_is_missing_is_named_with_its_meaning() {
    assert_snapshot!(problems(&sources("[worker.w]", &[], &[])), @"latent.toml:7:9: worker.w.image: is missing; add it: The image manifest: the stem of a file in amis/.");
    let nothing = Sources { main: ("latent.toml".to_owned(), String::new()), ..Sources::default() };
    assert_snapshot!(problems(&nothing), @"
    latent.toml:1:1: fleet.controller: is missing; add it: This controller's id: it changes only what carries it.
    latent.toml:1:1: fleet.name: is missing; add it: The fleet's name: every instance carries it, every listing filters on it.
    ");
}

#[test]
fn a_worker_names_things_that_are_there() {
    assert_snapshot!(of_main("[worker.w]\nimage = \"j\""), @r#"latent.toml:8:9: worker.w.image = "j": there is no such image; add amis/j.toml, or name one of: i"#);
    assert_snapshot!(of_main("[worker.w]\nimage = \"i\"\npolicy = \"p\""), @r#"latent.toml:9:10: worker.w.policy = "p": there is no such policy; add policies/p.toml"#);
    assert_snapshot!(of_main("[worker.w]\nimage = \"i\"\nowner = \"p\""), @r#"latent.toml:9:9: worker.w.owner = "p": image i belongs to o (amis/i.toml:1:9); name the image's owner, or another image"#);
    assert_snapshot!(of_main("[worker.w]\nimage = \"i\"\n[worker.w]\nimage = \"i\""), @"
    latent.toml:9:9: syntax = w: duplicate key; a name may stand once: rename one, or merge the two
    latent.toml:10:1: syntax = image: duplicate key; a name may stand once: rename one, or merge the two
    ");
    assert_snapshot!(of_main("[worker.\"a b\"]\nimage = \"i\""), @r#"latent.toml:7:9: worker = "a b": "a b" is not a worker name: 1 to 50 letters, digits, '-', '_' or '.'; choose another name"#);
}

#[test]
fn a_baked_identity_belongs_to_one_worker() {
    assert_snapshot!(of_main("[worker.a]\nimage = \"i\"\n[worker.b]\nimage = \"i\""), @r#"latent.toml:10:9: worker.b.image = "i": the image has one baked identity, and worker a uses it; give each worker its own image, or write identity = "injected" in the manifest"#);
}

#[test]
fn an_injected_identity_needs_a_password_and_a_template() {
    let injected = format!("{IMAGE}identity = \"injected\"\n");
    assert_snapshot!(problems(&sources("[worker.w]\nimage = \"i\"", &[("i", &injected)], &[])), @r#"
    amis/i.toml:1:1: user_data: is missing, and the identity is injected; name a user data template, or write identity = "baked"
    latent.toml:7:9: worker.w.password: is missing, and image i injects the identity; add password = { env = "NAME" } or { file = "PATH" }
    "#);
    let injected = format!("{injected}user_data = \"x.sh\"\n");
    assert_snapshot!(problems(&sources("[worker.w]\nimage = \"i\"", &[("i", &injected)], &[])), @r#"
    amis/i.toml:6:13: worker.w.user_data = "x.sh": there is no such file in amis/; create it, or correct the name
    latent.toml:7:9: worker.w.password: is missing, and image i injects the identity; add password = { env = "NAME" } or { file = "PATH" }
    "#);
}

#[test]
fn a_manifest_stays_in_its_region_and_uses_ids() {
    assert_snapshot!(of_image("subnets = [{ id = \"subnet-1\", zone = \"eu-west-1a\" }]"), @r#"amis/i.toml:5:38: subnets.zone = "eu-west-1a": is not in the image's region us-west-2 (amis/i.toml:2:10); an AMI can be launched in its own region only: copy it, or name a zone of that region"#);
    assert_snapshot!(of_image("zones = [\"us-east-1a\"]"), @r#"amis/i.toml:5:10: zones = "us-east-1a": is not in the image's region us-west-2 (amis/i.toml:2:10); an AMI can be launched in its own region only: copy it, or name a zone of that region"#);
    assert_snapshot!(of_image("security_groups = [\"default\"]"), @r#"amis/i.toml:5:20: security_groups = "default": is not an id; write the id, sg-…, not the name"#);
    assert_snapshot!(of_image("market = [\"spot\", \"cheap\"]"), @r#"amis/i.toml:5:19: market = "cheap": is not a known word; write one of "on-demand", "spot""#);
    assert_snapshot!(of_image("tags = [\"latent:worker=x\", \"no pair\"]"), @r#"
    amis/i.toml:5:9: tags = "latent:worker=x": uses a reserved key; choose a key that begins with neither latent: nor aws:
    amis/i.toml:5:28: tags = "no pair": is not a tag; write "key=value"; a key holds no space and no '/'
    "#);
    assert_snapshot!(of_image("subnets = [{ id = \"subnet-1\", zone = \"us-west-2a\" }]\nzones = [\"us-west-2a\"]"), @"amis/i.toml:6:10: zones: is given beside subnets; keep one of the two: a subnet lies in one zone");
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_their_order() {
    let bad_image = IMAGE.replace("ami-1", "xmi-1").replace("us-west-2", "US WEST");
    let all = sources(
        "[policy]\nlease = 45\n[polling]\nfast = \"2m\"\n[link]\nlisten = \"127.0.0.1:80\"\n[worker.w]\nimage = \"nowhere\"\n",
        &[("bad", &bad_image)],
        &[("p", "idle_timeout = 5\non_idle = \"explode\"\n")],
    );
    assert_snapshot!(problems(&all), @r#"
    amis/bad.toml:2:10: region = "US WEST": "US WEST" is not a region: lower-case letters, digits and '-', such as us-west-2; correct the value
    amis/bad.toml:3:7: ami = "xmi-1": "xmi-1" is not an AMI id: ami- and letters or digits; correct the value
    latent.toml:8:9: policy.lease = 45: has no unit; write "45s" or "45m"
    latent.toml:10:8: polling.fast: is longer than slow; make fast the shorter of the two
    latent.toml:12:10: link.listen = "127.0.0.1:80": needs a token; add token = { file = "PATH" } or { env = "NAME" }
    latent.toml:14:9: worker.w.image = "nowhere": there is no such image; add amis/nowhere.toml, or name one of: bad
    policies/p.toml:1:16: idle_timeout = 5: has no unit; write "5s" or "5m", or "auto", or "never" if that is meant
    policies/p.toml:2:11: on_idle = "explode": is not a known word; write one of "terminate", "stop", "hibernate"
    "#);
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_place() {
    assert_snapshot!(of_main("[worker.w\nimage = "), @"
    latent.toml:7:10: syntax: unclosed table, expected `]`; see https://toml.io for the form of a TOML file
    latent.toml:8:1: image: is not a known section; known sections: fleet, link, page, polling, requirements, defaults, owner, worker, policy, sweep, rebake, notify
    ");
}

#[test]
fn the_layers_of_a_policy_hold_in_their_order() {
    let more = "[policy]\nidle_timeout = \"20m\"\nlease = \"30m\"\n[worker.w]\nimage = \"i\"\npolicy = \"p\"\n[defaults]\nowner = \"o\"\n";
    let all = sources(more, &[("i", IMAGE)], &[("p", "idle_timeout = \"5m\"\n")]);
    let intent = Intent::parse(&all).expect("is right");
    let name: WorkerName = "w".parse().expect("a name");
    let worker = &intent.workers[&name];
    assert_eq!(worker.policy.idle_timeout, IdleTimeout::After(TimeDelta::minutes(5)), "the policy's file");
    assert_eq!(worker.policy.lease, TimeDelta::minutes(30), "[policy] of latent.toml");
    assert_eq!(worker.policy.max_lifetime, TimeDelta::hours(12), "the built-in default");
    let from = |key: &str| worker.shown.iter().find(|s| s.key == key).map(|s| s.at.to_string()).expect("is shown");
    assert_eq!(from("policy.idle_timeout"), "policies/p.toml:1:16");
    assert_eq!(from("policy.lease"), "latent.toml:9:9");
    assert!(from("policy.max_lifetime").starts_with("built-in default:"));
}

#[test]
fn offerings_exhaust_the_first_market_before_the_second() {
    let image = format!("{IMAGE}zones = [\"us-west-2a\", \"us-west-2b\"]\nmarket = [\"spot\", \"on-demand\"]\n");
    let image = image.replace("[\"m7i.large\"]", "[\"m7i.large\", \"m6i.large\"]");
    let intent = Intent::parse(&sources("", &[("i", &image)], &[])).expect("is right");
    let offerings = &intent.images[&"i".parse().expect("a name")].offerings;
    let shown: Vec<String> = offerings.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 8);
    assert_eq!(shown[0], "spot m7i.large in us-west-2a");
    assert_eq!(shown[3], "spot m6i.large in us-west-2b");
    assert_eq!(shown[4], "on-demand m7i.large in us-west-2a");
}

#[test]
fn the_example_fleet_and_every_file_of_the_repository_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = load(&root.join("latent.example.toml")).expect("reads");
    let intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let count = |folder: &str| {
        let files = std::fs::read_dir(root.join(folder)).expect("a folder");
        files.filter(|file| file.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "toml"))).count()
    };
    assert_eq!(intent.images.len(), count("amis"));
    assert_eq!(sources.policies.len(), count("policies"));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reading(main in "\\PC{0,200}", key in "[a-z_]{1,20}", value in "[0-9a-z\"\\[\\]{}=. -]{0,30}") {
        let texts = [main, format!("{FLEET}{OWNER}[policy]\n{key} = {value}\n"), format!("{FLEET}[worker.{key}]\nimage = {value}\n")];
        for text in texts {
            let with = Sources { main: ("latent.toml".to_owned(), text.clone()), ..Sources::default() };
            let _ = Intent::parse(&with);
            let mut all = sources("[worker.w]\nimage = \"i\"\n", &[("i", &text)], &[("p", &text)]);
            all.templates.insert("x".to_owned(), text);
            let _ = Intent::parse(&all);
        }
    }
}

#[test]
fn a_port_without_its_protocol_and_a_machine_without_cpus_are_mistakes() {
    assert_snapshot!(of_main("[requirements]\noutbound = [\"443\", \"tcp/443\"]\nmin_vcpus = 0"), @r#"
    latent.toml:8:13: requirements.outbound = "443": is not a protocol and a port; write it as "tcp/443" or "udp/123"
    latent.toml:9:13: requirements.min_vcpus = 0: is out of range; write a number from 1 to 1024
    "#);
}

#[test]
fn a_proxy_is_an_address() {
    assert_snapshot!(of_fleet("proxies = [\"10.0.0.5\", \"balancer\"]"), @r#"latent.toml:4:24: fleet.proxies = "balancer": is not an IP address; write it as "10.0.0.5""#);
    assert_eq!(of_fleet("proxies = [\"10.0.0.5\", \"fd00::5\"]"), "none");
}

/// What is wrong with more lines of `[fleet]`.
fn of_fleet(lines: &str) -> String {
    let main = ("latent.toml".to_owned(), format!("{FLEET}{lines}\n{OWNER}"));
    problems(&Sources { main, ..Sources::default() })
}

/// A worker whose policy asks for a proof, and its manifest's and template's lines.
fn that_proves(proof: &str, image: &str, template: &str) -> Sources {
    let more = format!("[worker.w]\nimage = \"i\"\n[policy]\nproof = \"{proof}\"\n");
    let mut all = sources(&more, &[("i", &format!("{IMAGE}{image}\n"))], &[]);
    all.templates.insert("x".to_owned(), template.to_owned());
    all
}

#[test]
fn a_proof_that_no_worker_could_give_is_refused() {
    assert_snapshot!(problems(&that_proves("password", "", "")), @r#"latent.toml:10:9: policy.proof = "password": is not a known word; write one of "none", "address", "instance-id", "join-secret", "identity-document""#);
    assert_snapshot!(problems(&that_proves("join-secret", "user_data = \"x\"", "#!/bin/sh\n")), @r#"latent.toml:10:9: policy.proof = "join-secret": the user data of image i does not tell {{ join_secret }} to worker w; write it into the worker's info/latent-join-secret there, or ask for another proof"#);
    assert_snapshot!(problems(&that_proves("join-secret", "", "{{ join_secret }}")), @r#"latent.toml:10:9: policy.proof = "join-secret": the user data of image i does not tell {{ join_secret }} to worker w; write it into the worker's info/latent-join-secret there, or ask for another proof"#);
    assert_snapshot!(problems(&that_proves("identity-document", "", "")), @r#"latent.toml:10:9: policy.proof = "identity-document": there is no certificate to check the document of worker w with; set fleet.identity_certificates to the folder of AWS's certificates, or ask for another proof"#);
    assert_eq!(
        problems(&that_proves("join-secret", "user_data = \"x\"", "#!/bin/sh\n: {{ join_secret | sh }}\n")),
        "none"
    );
    assert_eq!(problems(&that_proves("instance-id", "", "")), "none");
}

#[test]
fn a_certificate_must_be_there_where_its_proof_is_demanded() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = folder.path().join("certificates");
    std::fs::create_dir(&certificates).expect("a folder");
    let told = |proof: &str| {
        let mut all = that_proves(proof, "", "");
        all.main.1 = all.main.1.replacen("[owner", "identity_certificates = \"certificates\"\n[owner", 1);
        all.folder = folder.path().to_path_buf();
        let mut intent = Intent::parse(&all).unwrap_or_else(|problems| panic!("{problems}"));
        let read = intent.read_certificates(&all);
        (intent.identity_keys.len(), read.map_or_else(|problems| problems.to_string(), |()| "none".to_owned()))
    };
    assert_eq!(told("address"), (0, "none".to_owned()), "nobody asks for it");
    assert_snapshot!(told("identity-document").1, @r#"latent.toml:11:9: fleet.identity_certificates = "certificates": certificates/us-west-2.pem is not there, and policy.proof = "identity-document" holds in us-west-2; put AWS's RSA certificate of the region there: "AWS public certificates" in the EC2 User Guide"#);
    std::fs::write(certificates.join("us-west-2.pem"), "no certificate").expect("a file");
    assert_snapshot!(told("address").1, @r#"latent.toml:1:1: fleet.identity_certificates = "certificates": certificates/us-west-2.pem holds no certificate in PEM form (-----BEGIN CERTIFICATE-----); put AWS's RSA certificate of the region there: "AWS public certificates" in the EC2 User Guide"#);
    std::fs::write(certificates.join("us-west-2.pem"), include_str!("../../src/sim/wire/identity.pem"))
        .expect("a file");
    assert_eq!(told("identity-document"), (1, "none".to_owned()));
}

#[test]
fn each_attempt_has_user_data_of_its_own_with_its_join_secret() {
    let all = that_proves("join-secret", "user_data = \"x\"", "#!/bin/sh\nS={{ join_secret | sh }}\n");
    let mut intent = Intent::parse(&all).expect("is right");
    intent.render_user_data(&all, |secret| Err(format!("{secret}"))).expect("renders");
    let worker: WorkerName = "w".parse().expect("a name");
    let data = intent.workers[&worker].user_data.clone().expect("is rendered");
    let key = JoinKey::new([1; 32]);
    let of = |attempt: &str| data.of_attempt(Some(&key), &worker, &attempt.parse().expect("an id"));
    let secret = key.secret(&worker, &"1-1".parse().expect("an id"));
    assert!(of("1-1").text().reveal().contains(&format!("S={}\n", secret.reveal())), "beside the lease watch");
    assert_eq!(of("1-1"), of("1-1"), "it is sent again as it was");
    assert_ne!(of("1-1").digest, of("1-2").digest);
    assert_eq!(of("1-1").text().reveal().len(), data.text().reveal().len(), "so its length was judged already");
    assert!(!format!("{:?}", of("1-1")).contains(secret.reveal()));
    assert_snapshot!(of_user_data("", "#!/bin/sh\n{{ join_secret[:8] }}"), @r#"amis/i.toml:5:13: user_data of worker w = "x": speaks of join_secret, and it does not come out as it is; write it as it is, or as {{ join_secret | sh }}"#);
    assert_snapshot!(of_user_data("", "#!/bin/sh\n# é\n{{ join_secret }}"), @r#"amis/i.toml:5:13: user_data of worker w = "x": {{ join_secret }} stands in a text that is not plain ASCII, which is encoded whole; write the template in ASCII, with the line ends of Unix"#);
}

#[test]
fn the_key_of_the_join_secrets_is_made_once_and_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let sources = Sources { folder: folder.path().to_path_buf(), ..Sources::default() };
    assert_eq!(sources.join_key("state/ledger.sqlite", false), Ok(None), "not before it is needed");
    let key = sources.join_key("state/ledger.sqlite", true).expect("is made").expect("a key");
    assert_eq!(sources.join_key("state/ledger.sqlite", true), Ok(Some(key.clone())));
    assert_eq!(sources.join_key("state/ledger.sqlite", false), Ok(Some(key)));
    let path = folder.path().join("state/join.key");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(folder.path().join("state")).expect("a folder").count(),
        1,
        "nothing is left beside it"
    );
    std::fs::write(&path, "half").expect("writes");
    let error = sources.join_key("state/ledger.sqlite", true).expect_err("damaged");
    assert!(error.contains("join.key holds no key of 32 bytes") && error.contains("remove it"), "{error}");
}

/// What is wrong with a manifest that has these lines instead of an AMI.
fn without_ami(lines: &str) -> String {
    let image = format!("{}{lines}\n", IMAGE.replace("ami = \"ami-1\"\n", ""));
    problems(&sources("", &[("i", &image)], &[]))
}

#[test]
fn an_ami_is_named_or_chosen_and_not_both() {
    assert_snapshot!(without_ami(""), @"amis/i.toml:1:1: ami: is missing; add it: the AMI's id; or say with ami_owners and ami_location what it is chosen by");
    assert_snapshot!(of_image("ami_owners = [\"self\"]"), @"amis/i.toml:3:7: ami: is given beside ami_owners or ami_location; keep one of the two: the AMI's id, or what it is chosen by");
    for right in [
        "ami_owners = [\"self\", \"012345678901\"]",
        "ami_location = 'amazon/a.*-([0-9]+)'",
        "ami_owners = [\"amazon\"]\nami_location = \"x\"",
    ] {
        assert_eq!(without_ami(right), "none", "{right}");
    }
    assert_snapshot!(without_ami("ami_owners = [12345678901]"), @r#"amis/i.toml:4:15: ami_owners = 12345678901: is an integer, not a text; write every item in quotes"#);
    assert_snapshot!(without_ami("ami_owners = [\"12345678901\"]"), @r#"amis/i.toml:4:15: ami_owners = "12345678901": is not an owner of AMIs; write all 12 digits of the account number, leading zeros included: "012345678901""#);
    assert_snapshot!(without_ami("ami_owners = [\"debian\"]"), @r#"amis/i.toml:4:15: ami_owners = "debian": is not an owner of AMIs; write a quoted account number of 12 digits, or one of: self, amazon, aws-marketplace, microsoft"#);
    let looks = without_ami("ami_location = \"a(?=b)\"");
    assert!(looks.contains("is not a regular expression: ") && looks.contains("there is no look-around"), "{looks}");
}

#[test]
fn what_else_a_launch_may_say_is_checked() {
    for (lines, said) in [
        ("security_group_names = [\"sg-1\"]", "is not a name; write the group's name"),
        ("security_group_names = [\"a\"]\nsecurity_groups = [\"sg-1\"]", "is given beside security_groups"),
        (
            "security_group_names = [\"a\"]\nsubnets = [{ id = \"subnet-1\", zone = \"us-west-2a\" }]",
            "is given beside subnets; write security_groups with ids",
        ),
        ("spot_price_max = \"1.6\"", "market has no \"spot\"; add \"spot\""),
        ("market = \"spot\"\nspot_price_max = \"cheap\"", "is not a price; write dollars per hour"),
        ("market = \"spot\"\nspot_price_max = \"0.00\"", "is not a price"),
        (
            "market = \"spot\"\nspot_price_max = 1.6",
            "is a float, not a text; write it in quotes: spot_price_max = \"1.6\"",
        ),
        ("elastic_ip = \"2001:db8::1\"", "is not an elastic IP address: an IPv4 address"),
        (
            "volumes = [{ id = \"vol-1\", device = \"/dev/sdf\" }, { id = \"vol-1\", device = \"/dev/sdf\" }]",
            "volumes.device: is given twice",
        ),
        ("volumes = [{ id = \"snap-1\", device = \"/dev/sdf\" }]", "is not a volume id"),
        ("block_devices = [{ device = \"x\", type = \"io2\" }]", "is given without iops; add iops"),
        ("block_devices = [{ device = \"x\", type = \"gp2\", iops = 3000 }]", "use gp3, io1 or io2"),
        ("block_devices = [{ device = \"x\", type = \"io1\", iops = 3000, throughput = 200 }]", "use gp3"),
        ("block_devices = [{ device = \"x\", kms_key = \"alias/k\" }]", "add encrypted = true"),
        ("block_devices = [{ device = \"x\", no_device = true, size_gib = 8 }]", "is given beside no_device"),
        (
            "block_devices = [{ device = \"x\", virtual_name = \"ephemeral0\", delete_on_termination = false }]",
            "is given beside virtual_name",
        ),
        ("block_devices = [{ device = \"x\", virtual_name = \"disk0\" }]", "write \"ephemeral0\""),
        ("block_devices = [{ device = \"x\", no_device = false }]", "write true, or remove the key"),
        ("block_devices = [{ device = \"x\" }, { device = \"x\" }]", "is given twice"),
    ] {
        let found = of_image(lines);
        assert!(found.contains(said) && found.starts_with("amis/i.toml:"), "{lines}: {found}");
    }
    let all = "market = [\"spot\", \"on-demand\"]\nspot_price_max = \"1.6\"\nelastic_ip = \"eipalloc-0a\"\n\
        security_group_names = [\"default\"]\nvolumes = [{ id = \"vol-1\", device = \"/dev/sdf\" }]\n\
        block_devices = [{ device = \"/dev/sda1\", type = \"gp3\", iops = 4000, throughput = 250, encrypted = true, \
        kms_key = \"alias/k\", snapshot = \"snap-1\", delete_on_termination = false }, { device = \"b\", no_device = true }]";
    assert_eq!(of_image(all), "none");
}

#[test]
fn an_address_or_a_volume_is_for_one_worker() {
    let image = format!("{IMAGE}identity = \"injected\"\nuser_data = \"u.sh\"\nelastic_ip = \"203.0.113.9\"\n");
    let workers = "[worker.a]\nimage = \"i\"\npassword = { env = \"A\" }\n[worker.b]\nimage = \"i\"\npassword = { env = \"B\" }\n";
    let mut sources = sources(workers, &[("i", &image)], &[]);
    sources.templates.insert("u.sh".to_owned(), "#!/bin/sh".to_owned());
    let found = problems(&sources);
    assert!(found.contains("the image gives its instance elastic IP 203.0.113.9, which one alone can have"), "{found}");
    assert!(
        found.ends_with("give each worker its own image\n") || found.ends_with("give each worker its own image"),
        "{found}"
    );
}

#[test]
fn the_schema_asks_for_one_way_to_an_ami() {
    let image = latent::policy::json_schema()["$defs"]["image"].clone();
    assert_eq!(image["oneOf"][0]["required"], serde_json::json!(["ami"]));
    assert_eq!(image["required"], serde_json::json!(["owner", "region", "instance_types"]));
    assert!(image["properties"]["volumes"]["items"]["properties"]["device"].is_object());
}

/// The policy of rebakes of the image `i`, from `[rebake]` of latent.toml and the manifest's table.
fn rebake_policy(main: &str, manifest: &str) -> RebakePolicy {
    let manifest = format!("{IMAGE}[rebake]\n{manifest}\n");
    let intent = Intent::parse(&sources(&format!("[rebake]\n{main}\n"), &[("i", &manifest)], &[]));
    intent.expect("a right configuration").images[&"i".parse().expect("a name")].rebake.clone()
}

#[test]
fn the_layers_of_a_rebake_hold_in_their_order() {
    let built_in = RebakePolicy::built_in().expect("a right default");
    assert_eq!(rebake_policy("", ""), built_in);
    assert_eq!((built_in.channel, built_in.recipe, built_in.rounds_max), (Channel::Auto, Recipe::Auto, 5));
    assert_eq!((built_in.deadline, built_in.soak_for), (TimeDelta::hours(6), TimeDelta::days(7)));
    assert_eq!((built_in.soak_starts, built_in.retire, built_in.sysprep), (20, true, false));
    assert!(built_in.window.is_empty() && built_in.clean.is_empty() && built_in.services.is_empty());
    let main = "rounds_max = 3\nchannel = \"ssm\"\nwindow = [\"Sat 02:00-06:00\"]\nsmoke_builder = \"smoke\"";
    let image = rebake_policy(main, "rounds_max = 7\nwindow = []\nclean = [\"/srv/ccache\"]\nservice = [\"bb\"]");
    assert_eq!((image.rounds_max, image.channel), (7, Channel::Ssm));
    assert_eq!((image.window.len(), image.smoke_builder.as_deref()), (0, Some("smoke")), "taken back, and kept");
    assert_eq!((image.clean, image.services), (vec!["/srv/ccache".to_owned()], vec!["bb".to_owned()]));
    let night = rebake_policy(main, "");
    assert!(night.may_begin("2026-11-21T02:30:00Z".parse().expect("a time")));
    assert!(!night.may_begin("2026-11-20T02:30:00Z".parse().expect("a time")));
    assert!(!built_in.may_begin("2026-11-21T02:30:00Z".parse().expect("a time")));
    let whole = Intent::parse(&sources("[rebake]\nretire = false", &[], &[])).expect("a right configuration");
    assert!(!whole.rebake.retire && RebakePolicy { retire: true, ..whole.rebake } == built_in);
}

/// What is wrong with lines of a manifest's `[rebake]`.
fn of_rebake(lines: &str) -> String {
    of_image(&format!("[rebake]\n{lines}"))
}

#[test]
fn what_a_rebake_is_told_is_checked() {
    assert_snapshot!(of_rebake("worker_version = 4.0"), @r#"amis/i.toml:6:18: rebake.worker_version = 4.0: is a float, not a text; write it in quotes: worker_version = "4.0""#);
    assert_snapshot!(of_rebake("worker_version = \"latest\""), @r#"amis/i.toml:6:18: rebake.worker_version = "latest": is not a version; write numbers with dots between them, such as "4.0" or "4.0.4""#);
    assert_snapshot!(of_rebake("window = [\"Sat 2-6\"]"), @r#"amis/i.toml:6:11: rebake.window = "Sat 2-6": is not a window; write "Sat 02:00-06:00" for one day of the week or "02:00-06:00" for every day, in UTC; the end of a day is 24:00"#);
    assert_snapshot!(of_rebake("window = [\"02:00-02:00\"]"), @r#"amis/i.toml:6:11: rebake.window = "02:00-02:00": is empty: it ends when it begins; write "Sat 02:00-06:00" for one day of the week or "02:00-06:00" for every day, in UTC; the end of a day is 24:00"#);
    assert_snapshot!(of_rebake("window = \"Sat 02:00-06:00\""), @r#"amis/i.toml:6:10: rebake.window = "Sat 02:00-06:00": is a string, not a list; write window = ["…", "…"]"#);
    assert_snapshot!(of_rebake("clean = [\"/\"]"), @r#"amis/i.toml:6:10: rebake.clean = "/": is not a folder that can be emptied; write the whole path of a folder, such as "/srv/ccache" or "C:\\cache": no '..', no pattern, and not a whole disk"#);
    assert_snapshot!(of_rebake("clean = [\"C:\\\\cache\"]"), @r#"amis/i.toml:6:10: rebake.clean = "C:\\cache": is no path of linux, the image's platform; correct it; what not every image can have belongs into the manifests"#);
    assert_snapshot!(of_rebake("service = [\"x; reboot\"]"), @r#"amis/i.toml:6:12: rebake.service = "x; reboot": is not the name of a service; write the name that systemctl, service or Get-Service takes: letters, digits, '-', '_', '.', '@' or ':', not the name that is shown"#);
    assert_snapshot!(of_rebake("recipe = \"windows\""), @r#"amis/i.toml:6:10: rebake.recipe = "windows": does not fit an image whose platform is linux; write "auto", or correct one of the two; what not every image can have belongs into the manifests"#);
    assert_snapshot!(of_rebake("recipe = \"pacman\""), @r#"amis/i.toml:6:10: rebake.recipe = "pacman": is not a known word; write one of "auto", "apt", "dnf", "freebsd", "windows""#);
    assert_snapshot!(of_rebake("sysprep = true"), @"amis/i.toml:6:11: rebake.sysprep = true: is for Windows alone, and the image's platform is linux; remove it; what not every image can have belongs into the manifests");
    assert_snapshot!(of_rebake("security_groups = [\"default\"]"), @r#"amis/i.toml:6:20: rebake.security_groups = "default": is not an id; write the id, sg-…, not the name"#);
    assert_snapshot!(of_rebake("script = \"after.sh\""), @r#"amis/i.toml:6:10: rebake.script = "after.sh": there is no such file in amis/; create it, or correct the name"#);
    assert_snapshot!(of_rebake("rounds_max = 0\nsoak_starts = 20\nsoak_for = 7"), @r#"
    amis/i.toml:6:14: rebake.rounds_max = 0: is out of range; write a number from 1 to 50
    amis/i.toml:8:12: rebake.soak_for = 7: has no unit; write "7s" or "7m"
    "#);
    assert_snapshot!(of_rebake("smoke = \"x\""), @r#"amis/i.toml:6:1: rebake.smoke = "x": is not a known key; known keys: channel, recipe, rounds_max, deadline, instance_type, instance_profile, security_groups, service, worker_version, clean, script, sysprep, smoke_builder, window, soak_starts, soak_for, retire"#);
    assert_snapshot!(of_main("[rebake]\nrecipe = \"windows\"\ndeadline = \"soon\""), @r#"
    latent.toml:8:10: rebake.recipe = "windows": does not fit an image whose platform is linux; write "auto", or correct one of the two; what not every image can have belongs into the manifests
    latent.toml:9:12: rebake.deadline = "soon": is not a time; write a number with s, m, h or d, such as "10m"
    "#);
}

#[test]
fn what_promotion_writes_belongs_to_an_ami_that_a_file_names() {
    assert_eq!(of_image("previous = \"ami-0\"\ngeneration = 3"), "none");
    assert_snapshot!(of_image("previous = \"ami-1\""), @r#"amis/i.toml:5:12: previous = "ami-1": is the same AMI as ami; name the AMI before it, or remove the key"#);
    assert_snapshot!(of_image("previous = \"none\"\ngeneration = 0"), @r#"
    amis/i.toml:5:12: previous = "none": "none" is not an AMI id: ami- and letters or digits; correct the value
    amis/i.toml:6:14: generation = 0: is out of range; write a number from 1 to 1000000
    "#);
    assert_snapshot!(without_ami("ami_owners = [\"self\"]\nprevious = \"ami-0\"\ngeneration = 3"), @"
    amis/i.toml:5:12: previous: cannot be given: a filter chooses the AMI, so there is none that promotion could replace; remove it
    amis/i.toml:6:14: generation: cannot be given: a filter chooses the AMI, so there is none that promotion could replace; remove it
    ");
}

#[test]
fn a_master_that_declares_an_image_has_no_file_for_what_promotion_writes() {
    let intent = Intent::parse(&sources("[rebake]\nrounds_max = 3", &[], &[])).expect("a right configuration");
    let of = |more: serde_json::Value| {
        let mut image = json!({ "region": "us-west-2", "ami": "ami-1", "instance_types": ["m7i.large"] });
        image.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = json!({ "owner": "o", "image": image });
        let (master, worker) = ("m".parse().expect("a master"), "w".parse().expect("a worker"));
        let declaration = Declaration::read(&place("m", "w"), &body).expect("a declaration");
        intent.read_declared([(&master, &worker, &declaration)]).remove(0)
    };
    assert_eq!(
        of(json!({})).expect("a right declaration").image.rebake.rounds_max,
        3,
        "what holds for all holds for it"
    );
    let wrong = of(json!({ "previous": "ami-0", "generation": 3, "rebake": { "rounds_max": 1 } }));
    assert_snapshot!(wrong.expect_err("three mistakes"), @"
    master m, worker w: image.generation: cannot be given: a master declares the image, so there is no file that promotion could write; remove it
    master m, worker w: image.previous: cannot be given: a master declares the image, so there is no file that promotion could write; remove it
    master m, worker w: image.rebake: cannot be given: a master declares the image, so there is no file that promotion could write; write the image into amis/ to have it rebaked, or remove the key
    ");
}
