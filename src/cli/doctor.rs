//! `latent doctor`: looks at the master, the accounts and the images before a worker is trusted.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use comfy_table::{Cell as TableCell, Color, ColumnConstraint};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};

use super::args::{Args, DoctorOptions};
use super::connect;
use super::exit::{CommandError, DoctorExit, Exit};
use super::output::{colour, headless_table, plain};
use crate::control::{Clock, check_up};
use crate::ec2::Ec2Checkup;
use crate::link::{Client, ClientError, StatusAnswer};
use crate::model::{Cell, FailureKind, Seen, Unseen};
use crate::plan::doctor::{
    CellFacts, FleetFacts, Row, Scope, Subject, Verdict, cell_rows, fleet_rows, questions, worst,
};
use crate::policy::{Intent, Sources};

/// How long the master may take to accept a connection, and its name to be found.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a controller may take to tell its state.
const ANSWER: Duration = Duration::from_secs(5);

/// What the worst verdict says to a script. The only place where doctor's exit codes are chosen.
fn exit_of(worst: Verdict) -> Exit {
    match worst {
        Verdict::Ok => Exit::Done,
        Verdict::Warning => Exit::Doctor(DoctorExit::Warned),
        Verdict::Unknown | Verdict::Problem => Exit::Doctor(DoctorExit::Unfit),
    }
}

pub(super) async fn run(args: &Args, options: &DoctorOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, intent) = connect::whole_intent(args)?;
    let scope = Scope { owner: options.owner.clone(), worker: options.worker.clone() };
    known(&intent, &scope)?;
    let clock = Clock::system();
    let cells = scope.cells(&intent);
    // Side by side: an account that is slow holds up its own rows and no others.
    let mut looking: FuturesUnordered<_> = cells.iter().map(|cell| look(&clock, &intent, &scope, cell)).collect();
    let mut fleet = pin!(fleet(args, &clock, &sources, &intent));
    let (mut here, mut done) = (None, BTreeMap::new());
    let mut all = Vec::new();
    loop {
        tokio::select! {
            facts = &mut fleet, if here.is_none() => here = Some(facts),
            Some((cell, facts)) = looking.next() => drop(done.insert(cell, facts)),
            else => break,
        }
        let Some(fleet) = &here else { continue };
        let mut rows = if all.is_empty() { fleet_rows(&intent, &scope, fleet) } else { Vec::new() };
        for (cell, facts) in std::mem::take(&mut done) {
            rows.extend(cell_rows(clock.now(), &intent, &scope, fleet, &cell, &facts));
        }
        if !options.json {
            print(&rows, out)?;
        }
        all.extend(rows);
    }
    if options.json {
        // Whoever compares two reports finds their rows in one order.
        all.sort_by(|one, other| one.subject.cmp(&other.subject));
        let report = serde_json::json!({ "at": clock.now(), "worst": worst(&all), "rows": all });
        writeln!(out, "{}", connect::pretty(&report)?)?;
    } else {
        summary(&all, out)?;
    }
    Ok(exit_of(worst(&all)))
}

async fn look(clock: &Clock, intent: &Intent, scope: &Scope, cell: &Cell) -> (Cell, CellFacts) {
    let (cloud, asked) = (Ec2Checkup::new(cell, intent), questions(intent, scope, cell));
    (cell.clone(), Box::pin(check_up(clock, &cloud, intent, cell, &asked)).await)
}

/// A name that is not in the configuration is refused with those that are.
fn known(intent: &Intent, scope: &Scope) -> Result<(), CommandError> {
    let refused = |what: &str, name: &str, known: Vec<String>| {
        let message = format!("{what} {name} is not in the configuration; known: {}", known.join(", "));
        Err(CommandError::new(Exit::Refused, anyhow::anyhow!(message)))
    };
    if let Some(owner) = scope.owner.as_ref().filter(|owner| !intent.owners.contains_key(*owner)) {
        return refused("owner", owner.as_str(), intent.owners.keys().map(ToString::to_string).collect());
    }
    let fits = |worker: &&crate::policy::WorkerIntent| scope.owner.as_ref().is_none_or(|own| *own == worker.cell.owner);
    match &scope.worker {
        Some(name) if !intent.workers.get(name).as_ref().is_some_and(fits) => {
            let known = intent.workers.iter().filter(|(_, worker)| fits(worker)).map(|(name, _)| name.to_string());
            refused("worker", name.as_str(), known.collect())
        }
        _ => Ok(()),
    }
}

/// What is seen from this machine: the master and the controller.
async fn fleet(args: &Args, clock: &Clock, sources: &Sources, intent: &Intent) -> FleetFacts {
    let socket = args.socket.clone().unwrap_or_else(|| sources.path(&intent.link.socket));
    let (controller, (master, addresses)) = tokio::join!(controller(clock, &socket), master(clock, intent));
    FleetFacts { master, addresses, controller }
}

fn unreachable(message: &impl ToString) -> Unseen {
    Unseen { kind: FailureKind::Unreachable, code: "Unreachable".to_owned(), message: message.to_string() }
}

async fn controller(clock: &Clock, socket: &std::path::Path) -> Seen<Vec<String>> {
    let client = Client::new(socket);
    match clock.within(ANSWER, client.get::<StatusAnswer>("/v1/status")).await {
        Some(Ok(status)) => Ok(status.warnings),
        Some(Err(ClientError::NotRunning { path, .. })) => {
            Err(unreachable(&format!("no controller answers on {}", path.display())))
        }
        Some(Err(error)) => Err(unreachable(&error)),
        None => Err(unreachable(&format!("the controller did not answer within {} s", ANSWER.as_secs()))),
    }
}

/// Whether the master accepts a connection, and the addresses that its name leads to.
async fn master(clock: &Clock, intent: &Intent) -> (Option<Seen<()>>, Vec<IpAddr>) {
    let Some(master) = &intent.fleet.master else { return (None, Vec::new()) };
    let late = || unreachable(&format!("no answer within {} s", CONNECT.as_secs()));
    let found = match clock.within(CONNECT, lookup_host(master.as_str())).await {
        Some(Ok(found)) => found.collect::<Vec<_>>(),
        Some(Err(error)) => return (Some(Err(unreachable(&error))), Vec::new()),
        None => return (Some(Err(late())), Vec::new()),
    };
    let connected = match clock.within(CONNECT, TcpStream::connect(found.as_slice())).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(unreachable(&error)),
        None => Err(late()),
    };
    (Some(connected), found.iter().map(std::net::SocketAddr::ip).collect())
}

/// How many rows there are of each verdict.
fn summary(rows: &[Row], out: &mut dyn Write) -> Result<(), CommandError> {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let (ok, warning) = (count(Verdict::Ok), count(Verdict::Warning));
    let (problem, unknown) = (count(Verdict::Problem), count(Verdict::Unknown));
    writeln!(out, "{ok} ok, {warning} warning, {problem} problem, {unknown} unknown")?;
    Ok(())
}

/// The rows as tables, one for each subject, each cure beneath what it cures.
fn print(rows: &[Row], out: &mut dyn Write) -> Result<(), CommandError> {
    for group in rows.chunk_by(|one, next| one.subject == next.subject) {
        let Some(first) = group.first() else { continue };
        writeln!(out, "{}", plain(&title(&first.subject)))?;
        let mut lines = headless_table();
        for (at, row) in group.iter().enumerate() {
            lines.add_row([verdict(row.verdict), TableCell::new(plain(&row.check)), TableCell::new(plain(&row.seen))]);
            // One cure for several rows is told once, after the last of them.
            let told_below = group.get(at + 1).is_some_and(|next| next.cure == row.cure);
            if let Some(cure) = row.cure.as_ref().filter(|_| !told_below) {
                lines.add_row([String::new(), String::new(), format!("-> {}", plain(cure))]);
            }
        }
        // Verdict and check stay whole; what was seen gives way.
        for column in lines.column_iter_mut().take(2) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        writeln!(out, "{}\n", lines.trim_fmt())?;
    }
    out.flush()?;
    Ok(())
}

fn title(subject: &Subject) -> String {
    let workers: Vec<&str> = subject.workers.iter().map(crate::model::WorkerName::as_str).collect();
    match (&subject.owner, &subject.region, &subject.image) {
        (Some(owner), Some(_), Some(image)) => {
            let of = if workers.len() == 1 { "worker" } else { "workers" };
            format!("{of} {} (image {image} of {owner})", workers.join(", "))
        }
        (Some(owner), Some(region), None) => format!("owner {owner} in {region}"),
        (Some(owner), None, _) => format!("owner {owner}"),
        _ => "fleet".to_owned(),
    }
}

fn verdict(verdict: Verdict) -> TableCell {
    let cell = TableCell::new(verdict.to_string());
    if !colour() {
        return cell;
    }
    cell.fg(match verdict {
        Verdict::Ok => Color::Green,
        Verdict::Warning => Color::Yellow,
        Verdict::Unknown => Color::Magenta,
        Verdict::Problem => Color::Red,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(check: &str, verdict: Verdict, seen: &str, cure: Option<&str>) -> Row {
        let subject = Subject::owner(&"alice".parse().expect("a name"));
        let cure = cure.map(ToOwned::to_owned);
        Row { subject, check: check.to_owned(), verdict, seen: seen.to_owned(), cure }
    }

    fn printed(rows: &[Row]) -> String {
        let mut out = Vec::new();
        print(rows, &mut out).expect("prints");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn one_cure_of_several_rows_is_told_once() {
        let rows = [
            row("excess", Verdict::Warning, "may a", Some("narrow it")),
            row("excess", Verdict::Warning, "may b", Some("narrow it")),
            row("clock", Verdict::Ok, "agrees", None),
        ];
        let expected = "owner alice\n warning  excess  may a\n warning  excess  may b\n                  -> narrow it\n \
                        ok       clock   agrees\n\n";
        assert_eq!(printed(&rows), expected);
    }

    #[test]
    fn texts_of_others_move_nothing_on_a_terminal_and_lines_fit_it() {
        let hostile = format!("name \u{1b}[2J\u{202e}\r\n{}", "long ".repeat(60));
        let shown = printed(&[row("AMI", Verdict::Problem, &hostile, Some(&hostile))]);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    #[test]
    fn each_verdict_has_its_exit_code() {
        let codes =
            [Verdict::Ok, Verdict::Warning, Verdict::Unknown, Verdict::Problem].map(|worst| exit_of(worst).code());
        assert_eq!(codes, [0, 9, 10, 10]);
    }
}
