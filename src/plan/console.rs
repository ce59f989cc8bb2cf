//! The console of an instance whose worker never connected: when it is read, and what is kept of it.

use chrono::TimeDelta;

use super::{View, canary, lifecycle};
use crate::model::{InstanceId, WorkerName, WorkerState, is_invisible};

/// So many lines of its end are kept …
const LINES_MAX: usize = 20;
/// … and so many bytes.
const BYTES_MAX: usize = 2048;
/// What stands in the place of a secret.
const CUT: &str = "[cut]";
/// Words after which, and a `=` or `:`, something stands that is nobody's business.
const SECRET_WORDS: [&str; 4] = ["password", "passwd", "secret", "token"];

/// What is known of an instance's console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// It is being read.
    Asked,
    /// It was read; nothing if there is none or it could not be had.
    Read(Option<String>),
}

/// The instances whose requests are about to be answered with a failure for which the console may say
/// the reason, each with its worker, and whose console nobody has asked for.
pub fn consoles_due(view: &View<'_>) -> Vec<(WorkerName, InstanceId)> {
    let mut due = Vec::new();
    for name in view.workers() {
        let Some(worker) = view.fleet.workers.get(name) else { continue };
        let WorkerState::Registering { instance } = &worker.state else { continue };
        let wanted = worker.wanted() && !worker.is_canary();
        let limit = canary::connect_deadline(view, name, worker);
        let Some(limit) = limit.or_else(|| wanted.then_some(view.policy(name).connect_deadline)) else { continue };
        let shown = view.inventory.and_then(|inventory| inventory.instances.get(instance));
        let ended = shown.is_some_and(|shown| shown.state.is_ending());
        let late = view.now >= worker.since + limit && !lifecycle::unheard_after_adoption(view, name, worker);
        if (ended || late) && view.watch.console(instance).is_none() {
            due.push((name.clone(), instance.clone()));
        }
    }
    due
}

/// Whether the console is being read, so that the failure waits the few seconds that this may take.
pub(super) fn is_being_read(view: &View<'_>, id: &InstanceId) -> bool {
    view.watch.console(id) == Some(&Console::Asked)
}

/// What was read of it.
pub(super) fn of(view: &View<'_>, id: &InstanceId) -> Option<String> {
    match view.watch.console(id)? {
        Console::Read(text) => text.clone(),
        Console::Asked => None,
    }
}

/// How long the reading of a console may take: the answer to a request waits for no longer than this.
pub const CONSOLE_LIMIT: TimeDelta = TimeDelta::seconds(5);

/// The last lines of a console, as they may be shown: without escape sequences and other control
/// characters, without these secrets and what looks like one. `None` if nothing is left.
pub fn console_tail(text: &str, secrets: &[&str]) -> Option<String> {
    // Cleaned first: a colour in the middle of a password would hide it.
    let mut clean = plain(text);
    for secret in secrets.iter().filter(|secret| !secret.trim().is_empty()) {
        clean = clean.replace(secret.trim(), CUT);
    }
    // A shell that shows what it runs (`set -x`) shows the password of a worker that it creates; where that is
    // not known, it cannot be cut out of the line.
    let traced = |line: &str| line.trim_start().starts_with('+') && line.contains("create-worker");
    let shown = clean.lines().filter(|line| !(secrets.is_empty() && traced(line)));
    let lines: Vec<String> = shown.map(|line| without_secret(line.trim_end())).collect();
    let told: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    let last = told.iter().skip(told.len().saturating_sub(LINES_MAX)).copied().collect::<Vec<_>>().join("\n");
    let surplus = last.len().saturating_sub(BYTES_MAX);
    let from = (surplus..=last.len()).find(|at| last.is_char_boundary(*at)).unwrap_or_default();
    let tail = last.get(from..).unwrap_or_default();
    (!tail.is_empty()).then(|| tail.to_owned())
}

/// The text as a terminal would show it, without what only moves or colours.
fn plain(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' | '\u{9b}' => skip_sequence(c, &mut rest),
            '\n' => clean.push('\n'),
            // What is written over itself, such as progress, is lines of its own.
            '\r' => clean.push_str(if rest.peek() == Some(&'\n') { "" } else { "\n" }),
            '\t' => clean.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Skips an escape sequence of ECMA-48 after its first character.
fn skip_sequence(first: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let kind = if first == '\u{9b}' { Some('[') } else { rest.next_if(|c| !c.is_control()) };
    match kind {
        // Parameters up to the letter that ends them.
        Some('[') => {
            while rest.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
            rest.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
        }
        // A text for the terminal itself, such as its title, up to its end or the end of the line.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while rest.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
            if rest.next_if_eq(&'\u{1b}').is_some() {
                rest.next_if_eq(&'\\');
            }
        }
        // A character set: one more character.
        Some('(' | ')' | '*' | '+' | '#' | '%') => drop(rest.next_if(|c| !c.is_control())),
        Some(_) | None => {}
    }
}

/// The line without what follows a word such as `password=`.
fn without_secret(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let ends = SECRET_WORDS.iter().filter_map(|word| {
        let after = lower.find(word)? + word.len();
        let sign = lower.get(after..)?.find(['=', ':'])?;
        Some(after + sign + 1)
    });
    match ends.min().filter(|end| lower.get(*end..).is_some_and(|rest| !rest.trim().is_empty())) {
        Some(end) => format!("{} {CUT}", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_console_its_last_lines_are_kept_and_not_more_than_a_little() {
        let text = (1..=100).fold(String::new(), |text, number| text + &format!("line {number}\n\n"));
        let tail = console_tail(&text, &[]).expect("something");
        assert_eq!((tail.lines().count(), tail.lines().next()), (20, Some("line 81")));
        let long = console_tail(&"ä".repeat(5000), &[]).expect("something");
        assert!(long.len() <= BYTES_MAX && long.len() > BYTES_MAX - 2, "{}", long.len());
        assert_eq!(console_tail(" \n\r\n\u{1b}[2J", &[]), None);
    }

    #[test]
    fn a_console_cannot_move_a_terminal() {
        let text = "\u{1b}[32m[  OK  ]\u{1b}[0m up\r\n\u{1b}]0;title\u{7}go\u{8}ne \u{1b}(Bx\u{9b}1my\u{202e}\0\n50%\r60%\n\u{1b}";
        assert_eq!(console_tail(text, &[]).as_deref(), Some("[  OK  ] up\ngone xy\n50%\n60%"));
    }

    #[test]
    fn a_console_gives_no_password_away() {
        let told = |text: &str| console_tail(text, &["hush hush"]).unwrap_or_default();
        assert_eq!(told("starts with hush hush here"), "starts with [cut] here");
        assert_eq!(told("hush\u{1b}[0m hush"), "[cut]", "whatever colours it has");
        assert_eq!(told("PASSWORD = geheim"), "PASSWORD = [cut]");
        assert_eq!(told("--worker-password: geheim x"), "--worker-password: [cut]");
        assert_eq!(told("Failed password check\nbad token:"), "Failed password check\nbad token:");
        // A secret at the edge of what is kept is cut out before anything else is.
        let edge = format!("{}hush hush{}", "a".repeat(10), "b".repeat(BYTES_MAX - 4));
        assert!(!told(&edge).contains("hush"));
    }
}
