//! Programs that read what we serve and ship: where one is missing, what rests on it is skipped by name.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a program with an argument list. `None` if it is not here; with `LATENT_SKIP_NOTHING=1` that is a failure.
pub(super) fn run(program: &str, arguments: &[&Path]) -> Option<Output> {
    let called = Command::new(program).args(arguments).output();
    match called {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped(&format!("{program} is not installed"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Says that something is not tested here.
pub(super) fn skipped(why: &str) {
    assert!(std::env::var_os("LATENT_SKIP_NOTHING").is_none_or(|value| value != "1"), "nothing may be skipped: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test}: {why}");
}

pub(super) fn promtool(arguments: &[&str]) -> Option<Output> {
    let arguments: Vec<&Path> = arguments.iter().map(Path::new).collect();
    run("promtool", &arguments)
}

/// What a program said, on either channel.
pub(super) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A file of the repository.
pub(super) fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
