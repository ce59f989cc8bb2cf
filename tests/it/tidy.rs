//! The house rules that no lint knows: floors, seams, sizes, and a documented key for every key.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::source::{Source, rust_files};

/// Which modules a module may import, beside itself; `cli` may import all.
const FLOORS: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("policy", &["model"]),
    ("plan", &["model", "policy"]),
    ("cloud", &["model", "policy"]),
    ("ledger", &["model", "policy"]),
    ("control", &["model", "policy", "plan", "cloud", "ledger"]),
    ("ec2", &["model", "policy", "plan", "cloud", "ledger", "control"]),
    ("sim", &["model", "policy", "plan", "cloud", "ledger", "control"]),
    ("link", &["model", "policy", "plan", "cloud", "ledger", "control"]),
    ("audit", &["model", "policy", "plan", "cloud", "ledger", "control"]),
    ("notify", &["model", "policy", "plan", "cloud", "ledger", "control"]),
    ("cli", &["model", "policy", "plan", "cloud", "ledger", "control", "ec2", "sim", "link", "audit", "notify"]),
];

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

fn src() -> Vec<Source> {
    rust_files("src")
}

/// Fails with one line per finding.
#[track_caller]
fn nothing(found: &[String], rule: &str) {
    let mut text = String::new();
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    assert!(found.is_empty(), "{rule}:\n{text}");
}

/// Findings of `words` in the code (not in comments or texts) of files that `may` does not excuse.
fn words_outside(files: &[Source], words: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !may(&file.path)) {
        for (number, line) in file.code_lines() {
            found.extend(words.iter().filter(|word| contains_word(line, word)).map(|word| {
                let path = &file.path;
                format!("{path}:{number}: {word}")
            }));
        }
    }
    found
}

/// Whether `word` stands in the line and is not the tail of a longer identifier.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let starts_identifier = word.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        !starts_identifier || before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    })
}

/// The modules of ours that the code names after `crate::`, or in a list there.
fn imported(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, text) in code.match_indices("crate::") {
        let rest = &code[at + text.len()..];
        let names = rest.strip_prefix('{').map_or_else(|| vec![rest], outer_items);
        modules.extend(names.iter().map(|name| {
            let name = name.trim_start();
            name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        }));
    }
    modules
}

/// The items of a list up to its closing brace; a list within an item does not end it.
fn outer_items(list: &str) -> Vec<&str> {
    let (mut items, mut from, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(&list[from..at]);
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

#[test]
fn imports_go_downward_only() {
    let mut found = Vec::new();
    for file in src().iter().filter(|file| !matches!(module_of(&file.path), "lib" | "main")) {
        let module = module_of(&file.path);
        let floor = FLOORS.iter().find(|(name, _)| *name == module);
        let Some((_, below)) = floor else {
            found.push(format!("{}: module {module} has no floor", file.path));
            continue;
        };
        for name in imported(&file.code) {
            let known = FLOORS.iter().any(|(floor, _)| *floor == name);
            if known && name != module && !below.contains(&name.as_str()) {
                found.push(format!("{}: {module} imports {name}", file.path));
            }
        }
    }
    found.extend(words_outside(&src(), &["super::super::"], |_| false));
    nothing(&found, "imports that go upward");
}

#[test]
fn only_ec2_names_the_sdk() {
    let found =
        words_outside(&src(), &["aws_config", "aws_credential", "aws_runtime", "aws_sdk", "aws_smithy"], |path| {
            path.starts_with("src/ec2/")
        });
    nothing(&found, "the AWS SDK outside src/ec2");
}

#[test]
fn only_perform_changes_a_cloud() {
    let calls = [
        ".launch(",
        ".launch_all(",
        ".terminate(",
        ".terminate_all(",
        ".stop(",
        ".start(",
        ".renew(",
        ".create_image(",
        ".retire_image(",
        ".associate_address(",
        ".attach_volume(",
        ".send_script(",
        ".fence(",
        ".unfence(",
        ".deprecate(",
        ".put_away(",
        ".tag_image(",
        ".mark_leftovers(",
        "cloud.remove(",
    ];
    let found = words_outside(&src(), &calls, |path| {
        // Of the cloud's own words some are said by others of them.
        let doors = ["src/control/perform", "src/ec2/", "src/sim/", "src/cloud/"];
        doors.iter().any(|door| path.starts_with(door))
    });
    nothing(&found, "mutating calls of a cloud outside control/perform");
}

#[test]
fn only_the_driver_reads_a_clock_or_sleeps() {
    let calls = ["Utc::now", "Local::now", "Instant::now", "SystemTime::now", "time::sleep", "thread::sleep", "sleep("];
    let found = words_outside(&src(), &calls, |path| path == "src/control/driver.rs");
    nothing(&found, "clocks and sleeps outside control/driver.rs");
}

#[test]
fn words_intent_and_decisions_hold_no_async_and_no_log() {
    let pure: Vec<Source> =
        src().into_iter().filter(|file| matches!(module_of(&file.path), "model" | "policy" | "plan")).collect();
    let words = ["async ", ".await", "tokio", "tracing", "Mutex", "fastrand"];
    let found = words_outside(&pure, &words, |_| false);
    nothing(&found, "effects in model, policy or plan");
}

#[test]
fn only_the_command_line_prints_or_ends_the_process() {
    let words = ["println!", "eprintln!", "print!", "eprint!", "process::exit", "anyhow", "dbg!"];
    let found = words_outside(&src(), &words, |path| path.starts_with("src/cli/") || path == "src/main.rs");
    nothing(&found, "printing, exit or anyhow outside cli");
}

#[test]
fn functions_and_files_fit_their_limits() {
    let mut found = Vec::new();
    for file in ["src", "tests", "examples"].into_iter().flat_map(rust_files) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines in one file", file.path));
        }
        for function in file.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                found.push(format!("{}:{}: fn {} has {} lines", file.path, function.at, function.name, function.lines));
            }
        }
    }
    nothing(&found, "too long");
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("un", "implemented!")];
    let macros = concat!("to", "do!");
    let mut found = Vec::new();
    for file in ["src", "tests", "examples"].into_iter().flat_map(rust_files) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if words.iter().any(|word| line.contains(word)) || contains_word(line, macros) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    nothing(&found, "left for later");
}

#[test]
fn tests_are_named_as_facts() {
    let prefix = concat!("fn test", "_");
    let mut found = Vec::new();
    for file in ["src", "tests"].into_iter().flat_map(rust_files) {
        let lines = file.code_lines().filter(|(_, line)| line.contains(prefix));
        found.extend(lines.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())));
    }
    nothing(&found, "test names that say they are tests");
}

/// A key of `default.toml`: its section, its name, and whether the line above explains it.
fn documented_keys() -> Vec<(String, String, bool)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    let mut above = "";
    for line in latent::policy::DEFAULT_TOML.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let header = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let key = bare.split_once(" = ").map(|(key, _)| key).filter(|key| is_key(key));
        if let Some(header) = header {
            let (outer, table) = header.split_once('.').unwrap_or((header, ""));
            section = outer.to_owned();
            // A table that has defaults of its own stands for the key that holds it.
            if line == bare && is_key(table) {
                keys.push((section.clone(), table.to_owned(), above.starts_with("# ")));
            }
        } else if let Some(key) = key {
            let explained = above.starts_with("# ") && !above.contains(" = [\"") && !above.starts_with("# [");
            keys.push((section.clone(), key.to_owned(), explained));
        }
        above = line;
    }
    keys
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '-'))
}

#[test]
fn every_key_is_documented_in_the_default_and_no_other_is() {
    let documented = documented_keys();
    let mut wanted = BTreeSet::new();
    for (section, keys) in latent::policy::all_sections() {
        let section = section.split('.').next().unwrap_or(section);
        wanted.extend(keys.iter().map(|key| (section.to_owned(), key.name.to_owned())));
    }
    let shown: BTreeSet<(String, String)> = documented.iter().map(|(s, k, _)| (s.clone(), k.clone())).collect();
    let mut found: Vec<String> = Vec::new();
    found.extend(wanted.difference(&shown).map(|(section, key)| format!("[{section}] {key} is not in default.toml")));
    found.extend(shown.difference(&wanted).map(|(section, key)| format!("[{section}] {key} is in no list of keys")));
    found.extend(
        documented.iter().filter(|(_, _, explained)| !explained).map(|(s, k, _)| format!("[{s}] {k} is unexplained")),
    );
    nothing(&found, "policy/default.toml and policy/key.rs differ");
}

#[test]
fn a_planted_mistake_is_found() {
    let planted = "use crate::{cli::{A, plan}, model}; // println!\nfn f() {\n let t = \"aws_ Utc::now\";\n}\n";
    let source = Source::new("src/plan/planted.rs", planted.to_owned());
    assert_eq!(imported(&source.code), BTreeSet::from(["cli".to_owned(), "model".to_owned()]));
    let files = [source];
    assert!(words_outside(&files, &["println!", "aws_", "Utc::now"], |_| false).is_empty(), "comments and texts");
    assert_eq!(words_outside(&files, &["let"], |_| false).len(), 1);
    assert_eq!(files[0].functions()[0].lines, 1);
    assert!(!contains_word("relaunch(", "launch("));
}
