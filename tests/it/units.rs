//! The units of docs/systemd: what they promise, and what systemd itself says of them where it is installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What keeps the service to itself. Each of these keys has this value.
const HARDENED: [(&str, &str); 22] = [
    ("AmbientCapabilities", ""),
    ("CapabilityBoundingSet", ""),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateUsers", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectSystem", "strict"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("StateDirectoryMode", "0700"),
    ("UMask", "0077"),
];

type Unit = BTreeMap<(String, String), Vec<String>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd")
}

/// The values of each section and key, in order.
fn unit(name: &str) -> Unit {
    let text = std::fs::read_to_string(folder().join(name)).expect("a unit");
    let (mut section, mut unit) = (String::new(), Unit::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(named) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            named.clone_into(&mut section);
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
        unit.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
    }
    unit
}

fn values<'a>(unit: &'a Unit, section: &str, key: &str) -> Vec<&'a str> {
    let found = unit.get(&(section.to_owned(), key.to_owned()));
    found.into_iter().flatten().map(String::as_str).collect()
}

#[test]
fn the_service_is_kept_to_what_it_needs() {
    let service = unit("latent.service");
    for (key, value) in HARDENED {
        assert_eq!(values(&service, "Service", key), [value], "{key}");
    }
    assert_eq!(values(&service, "Service", "User"), ["latent"]);
    assert_eq!(values(&service, "Service", "Group"), ["buildbot"]);
    assert_eq!(values(&service, "Service", "SystemCallFilter"), ["@system-service", "~@privileged @resources"]);
    assert!(!values(&service, "Service", "LoadCredential").is_empty(), "secrets are handed over, not opened");
    assert!(values(&service, "Service", "Environment").iter().all(|value| !value.contains("SECRET")));
}

#[test]
fn the_service_outlives_every_master_and_says_when_it_is_ready() {
    let service = unit("latent.service");
    assert_eq!(values(&service, "Service", "Type"), ["notify"]);
    assert_eq!(values(&service, "Service", "Restart"), ["always"]);
    assert_eq!(values(&service, "Unit", "Requires"), ["latent.socket"]);
    assert_eq!(values(&service, "Unit", "StartLimitIntervalSec"), ["0"], "it never gives up");
    for tie in ["BindsTo", "PartOf"] {
        assert!(values(&service, "Unit", tie).is_empty(), "nothing takes it along");
    }
}

#[test]
fn whoever_is_not_in_the_masters_group_cannot_connect() {
    let socket = unit("latent.socket");
    assert_eq!(values(&socket, "Socket", "SocketMode"), ["0660"]);
    assert_eq!(values(&socket, "Socket", "SocketGroup"), ["buildbot"]);
    let listens = values(&socket, "Socket", "ListenStream");
    assert!(listens.len() == 1 && listens[0].starts_with("/run/"), "one, of a file: {listens:?}");
}

/// The units with a program that is there, in a folder of their own.
fn installed() -> tempfile::TempDir {
    let there = tempfile::tempdir().expect("a folder");
    for name in ["latent.service", "latent.socket"] {
        let text = std::fs::read_to_string(folder().join(name)).expect("a unit");
        let text = text.replace("/usr/local/bin/latent", env!("CARGO_BIN_EXE_latent"));
        std::fs::write(there.path().join(name), text).expect("a file");
    }
    there
}

/// What systemd says, or nothing where it is not installed.
fn systemd_analyze(args: &[&str], folder: &Path) -> Option<(bool, String)> {
    let done = Command::new("systemd-analyze").args(args).current_dir(folder).env("SYSTEMD_COLORS", "0").output();
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            println!("skipped: systemd-analyze cannot be run: {error}");
            return None;
        }
    };
    let text = [done.stdout, done.stderr].concat();
    Some((done.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_takes_the_units_as_they_are() {
    let there = installed();
    for unit in ["latent.service", "latent.socket"] {
        let path = there.path().join(unit);
        let Some((ok, said)) = systemd_analyze(&["verify", &path.display().to_string()], there.path()) else { return };
        // The machine's own units may be at fault too: of ours nothing may be said.
        assert!(!said.contains(unit), "{said}");
        assert!(ok || !said.contains("latent"), "{said}");
    }
}

#[test]
fn systemd_counts_the_service_among_the_well_kept() {
    let there = installed();
    let path = there.path().join("latent.service").display().to_string();
    // At 20 of 100 systemd itself says OK.
    let args = ["security", "--no-pager", "--offline=yes", "--threshold=20", &path];
    let Some((ok, said)) = systemd_analyze(&args, there.path()) else { return };
    let known = !said.contains("offline");
    assert!(ok || !known, "{said}");
}
