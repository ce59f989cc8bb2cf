//! The user data of a builder, unpacked by a real shell: what arrives is what was meant.
//!
//! Nothing of it runs but the first moments of a boot, in a folder, with a systemd that does nothing; whole
//! rebakes are played by `tests/recipes`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use latent::policy::{Platform, RebakeScript, Recipe, builder_user_data, ssm_script};

const OWN: &str = "#!/usr/bin/env python3\nif True:\n    print('it''s \u{fc} $HOME `x`')  # kept\n";

fn script() -> RebakeScript {
    RebakeScript {
        nonce: "0123456789abcdef0123456789abcdef".to_owned(),
        recipe: Recipe::Auto,
        rounds_max: 5,
        services: vec!["my-worker".to_owned()],
        worker_version: Some("4.1".to_owned()),
        clean: vec!["/srv/it's $HOME here".to_owned()],
        sysprep: false,
        deadline: TimeDelta::hours(6),
        owner_script: Some(OWN.to_owned()),
        setup: true,
    }
}

/// A machine with systemd in a folder; nothing that a boot starts goes on.
fn machine(root: &Path) {
    for folder in ["bin", "run/systemd/system", "etc/systemd/system", "var/lib", "proc"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    // `go` would be the agent's own call: it must not begin anything here.
    for name in ["systemctl", "apt-get", "dpkg", "dpkg-query", "curl", "shutdown", "reboot", "poweroff", "sync"] {
        let shim = root.join("bin").join(name);
        fs::write(&shim, format!("#!/bin/sh\necho \"{name} $*\" >> {}\n", root.join("calls").display()))
            .expect("a file");
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
}

fn boot(root: &Path, text: &str) {
    let file = root.join("user-data");
    fs::write(&file, text.strip_prefix("#cloud-boothook\n").unwrap_or(text)).expect("a file");
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("sh")
        .arg(&file)
        .env("LATENT_ROOT", root)
        .env("LATENT_CONSOLE", root.join("console"))
        .env("PATH", format!("{}:{path}", root.join("bin").display()))
        .output()
        .expect("a shell");
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.is_empty(), "{done:?}");
}

#[test]
fn a_boot_hook_unpacks_itself_holds_the_worker_and_goes_on_beside_the_boot() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    machine(root);
    let text = builder_user_data(Platform::Linux, &script()).expect("there is one");
    for _ in 0..2 {
        boot(root, &text);
        let state = root.join("var/lib/latent-rebake");
        let driver = fs::read_to_string(state.join("rebake")).expect("the driver");
        assert!(driver.starts_with("LATENT_NONCE=0123456789abcdef0123456789abcdef\n"));
        assert_eq!(fs::read_to_string(state.join("script")).expect("the owner's"), OWN);
        assert!(fs::read_to_string(state.join("identity.sh")).expect("identity.sh").contains("latent-identity"));
        let mode = fs::metadata(&state).expect("the folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "nobody else writes what runs as root");
        let hold = root.join("etc/systemd/system/my-worker.service.d/zz-latent-rebake.conf");
        assert_eq!(fs::metadata(&hold).expect("the drop-in").permissions().mode() & 0o777, 0o644);
        assert!(fs::read_to_string(hold).expect("the drop-in").contains("ConditionPathExists=!"));
        let unit = fs::read_to_string(root.join("run/systemd/system/latent-rebake-go.service")).expect("the unit");
        assert!(unit.contains(&format!("ExecStart=/bin/sh {} go\n", state.join("rebake").display())), "{unit}");
        let calls = fs::read_to_string(root.join("calls")).expect("calls");
        let order =
            ["systemctl stop my-worker.service", "start latent-rebake-deadline.service", "start latent-rebake-go"];
        let at: Vec<_> = order.iter().map(|call| calls.find(call).expect("it was called")).collect();
        assert!(at.is_sorted(), "{calls}");
        assert!(!calls.contains("apt-get"), "nothing else at once");
    }
}

#[test]
fn settings_arrive_as_they_were_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    machine(root);
    boot(root, &builder_user_data(Platform::Linux, &script()).expect("there is one"));
    let driver = fs::read_to_string(root.join("var/lib/latent-rebake/rebake")).expect("the driver");
    let head: String =
        driver.lines().take_while(|line| line.starts_with("LATENT_")).fold(String::new(), |a, l| a + l + "\n");
    let done = Command::new("sh")
        .args([
            "-c",
            &(head + "printf '%s|' \"$LATENT_CLEAN\" \"$LATENT_RECIPE\" \"$LATENT_DEADLINE_S\" \"$LATENT_SETUP\""),
        ])
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "/srv/it's $HOME here|auto|21600|1|");
}

#[test]
fn a_command_is_one_script_of_the_same_parts() {
    let text = ssm_script(Platform::Linux, &script()).expect("there is one");
    let done = Command::new("sh").args(["-n", "-c", &text]).output().expect("a shell");
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}
