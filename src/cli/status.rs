//! `latent status`.

use std::io::{IsTerminal as _, Write};

use chrono::{DateTime, Utc};
use comfy_table::{Cell, Color, ColumnConstraint};

use super::args::{Args, StatusOptions};
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::{ago, colour, left, plain, table};
use crate::control::{BudgetView, WorkerView};
use crate::link::words::why;
use crate::link::{Client, Events, StatusAnswer};
use crate::model::counted;

/// How long one wait for a change lasts, in seconds; ages are shown anew after it.
const WATCH_SECONDS: u64 = 5;

pub(super) async fn run(args: &Args, options: &StatusOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if options.day {
        return super::day::run(args, options, out).await;
    }
    let client = connect::client(args)?;
    loop {
        let status: StatusAnswer = client.get("/v1/status").await?;
        if options.watch && std::io::stdout().is_terminal() {
            write!(out, "\x1b[2J\x1b[H")?;
        }
        if options.json {
            writeln!(out, "{}", connect::pretty(&status)?)?;
        } else {
            print(&status, out)?;
        }
        out.flush()?;
        if !options.watch {
            return Ok(Exit::Done);
        }
        wait_for_change(&client).await?;
    }
}

/// Waits until the ledger moves, or a little while.
async fn wait_for_change(client: &Client) -> Result<(), CommandError> {
    let last = last_event(client).await?;
    let _: Events = client.get(&format!("/v1/events?after={last}&wait={WATCH_SECONDS}")).await?;
    Ok(())
}

async fn last_event(client: &Client) -> Result<u64, CommandError> {
    let mut after = 0;
    loop {
        let page: Events = client.get(&format!("/v1/events?after={after}")).await?;
        if page.events.is_empty() {
            return Ok(after);
        }
        after = page.last;
    }
}

fn print(status: &StatusAnswer, out: &mut dyn Write) -> Result<(), CommandError> {
    if status.workers.is_empty() {
        writeln!(out, "no workers are configured")?;
    } else {
        let mut rows = table(&["WORKER", "STATE", "INSTANCE / AMI", "AGE\nLEASE", "IDLE", "WHY"]);
        // An id that is broken cannot be copied; the reason gives way.
        for column in rows.column_iter_mut().skip(1).take(4) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        for worker in &status.workers {
            rows.add_row(row(status.now, worker));
        }
        writeln!(out, "{}", rows.trim_fmt())?;
    }
    for budget in &status.budgets {
        writeln!(out, "{}", plain(&of_budget(budget)))?;
    }
    for warning in &status.warnings {
        writeln!(out, "warning: {}", plain(warning))?;
    }
    Ok(())
}

/// How an owner's month stands, in a line.
fn of_budget(budget: &BudgetView) -> String {
    let amounts = [("soft", budget.soft), ("hard", budget.hard)];
    let limits: Vec<String> =
        amounts.iter().filter_map(|(name, amount)| amount.map(|amount| format!("{name} {amount}"))).collect();
    let state = match budget.state.as_str() {
        "hard" => format!(", HARD reached: nothing is launched before {}", budget.until.format("%Y-%m-%d")),
        "soft" => ", soft reached".to_owned(),
        _ => String::new(),
    };
    let blind = if budget.is_blind() { ", NOTHING IS LAUNCHED: not all prices are known" } else { "" };
    let unpriced = match budget.unpriced {
        0 => String::new(),
        number => {
            format!("; in it as plain software at the most: {} without a known price", counted(number, "instance"))
        }
    };
    let disks = match budget.unsized_disks {
        0 => String::new(),
        number => format!("; the disks of {} are not in it", counted(number, "instance")),
    };
    format!(
        "budget of {} for {}: {} spent ({}), {} if it goes on so{state}{blind}{unpriced}{disks}",
        budget.owner,
        budget.month,
        budget.spent,
        limits.join(", "),
        budget.projected
    )
}

fn row(now: DateTime<Utc>, worker: &WorkerView) -> Vec<Cell> {
    let instance = worker.instance.as_deref().unwrap_or("-");
    let ami = worker.ami.as_deref().unwrap_or("-");
    let mut state = Cell::new(&worker.state);
    if colour() {
        state = state.fg(match worker.state.as_str() {
            "ready" | "busy" => Color::Green,
            "gone" | "stopped" => Color::DarkGrey,
            _ => Color::Yellow,
        });
    }
    vec![
        Cell::new(&worker.worker),
        state,
        Cell::new(format!("{instance}\n{ami}")),
        Cell::new(format!("{}\n{}", ago(now, worker.created), left(now, worker.lease))),
        Cell::new(ago(now, worker.idle_since)),
        Cell::new(plain(&why(worker))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::price::{Money, Range};

    #[test]
    fn the_line_of_a_budget_says_what_is_not_in_it() {
        let whole = BudgetView {
            owner: "alice".to_owned(),
            month: "2026-11".to_owned(),
            state: "open".to_owned(),
            soft: None,
            hard: Some(Money::micro_dollars(25_000_000)),
            at_hard: "finish".to_owned(),
            allow_unpriced: true,
            spent: Range::exactly(Money::micro_dollars(1_000_000)),
            projected: Range::exactly(Money::micro_dollars(2_000_000)),
            rate: Range::ZERO,
            unpriced: 0,
            unsized_disks: 0,
            until: DateTime::UNIX_EPOCH,
            why: None,
        };
        let start = "budget of alice for 2026-11: $1.00 spent (hard $25.00), $2.00 if it goes on so";
        assert_eq!(of_budget(&whole), start);
        let disks = BudgetView { unsized_disks: 2, ..whole.clone() };
        assert_eq!(of_budget(&disks), format!("{start}; the disks of 2 instances are not in it"));
        let unpriced = "; in it as plain software at the most: 1 instance without a known price";
        let allowed = BudgetView { unpriced: 1, ..whole };
        assert_eq!(of_budget(&allowed), format!("{start}{unpriced}"));
        let blind = BudgetView { why: Some("it is".to_owned()), ..allowed };
        let told = format!("{start}, NOTHING IS LAUNCHED: not all prices are known{unpriced}");
        assert_eq!(of_budget(&blind), told);
    }
}
