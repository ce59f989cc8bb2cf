//! The report that goes with the summary of a week.

use std::path::PathBuf;
use std::sync::Arc;

use super::audit::journals;
use crate::audit::render::{Format, brief, render};
use crate::audit::{Beside, week};
use crate::control::Controller;
use crate::ledger::{JournalFolder, Ledger};
use crate::notify::{Attachment, WeekReport, Weekly};

/// Makes reports of what a controller knows, with the prices beside its configuration and the journals of its
/// rebakes.
pub(super) fn feed<L: Ledger + 'static>(controller: Controller<L>, config: PathBuf, rebakes: JournalFolder) -> Weekly {
    Arc::new(move |owner| {
        let now = controller.now();
        let beside = Beside { rebakes: journals(&rebakes), prices: super::prices::of_an_audit(&config, now) };
        let report = week(&controller, owner, beside)?;
        let file = Attachment {
            name: format!("latent-{owner}-{}.html", now.format("%Y-%m-%d")),
            media_type: "text/html; charset=utf-8".to_owned(),
            content: render(&report, Format::Html).into_bytes(),
        };
        Some(WeekReport { lines: brief(&report), file })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::control::Clock;
    use crate::ledger::MemoryLedger;
    use crate::model::Cell;
    use crate::policy::{Intent, Sources};
    use crate::sim::{SimCloud, SiteId, World};

    const MAIN: &str = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.alice]\naccount = \"111111111111\"\n\
                        credentials = { environment = true }\n";

    #[tokio::test(start_paused = true)]
    async fn an_owner_s_report_comes_with_the_journals_and_the_prices() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("prices.json"), "{").expect("a file");
        let sources = Sources { main: ("latent.toml".to_owned(), MAIN.to_owned()), ..Sources::default() };
        let intent = Intent::parse(&sources).expect("a configuration");
        let clock = Clock::starting_at("2026-03-02T08:00:00Z".parse().expect("a time"));
        let world = Arc::new(Mutex::new(World::steady()));
        let (place, time) = (SiteId { account: "111111111111".to_owned(), region: "r".to_owned() }, clock.clone());
        let connect = move |_: &Cell, _: &Intent| SimCloud::new(Arc::clone(&world), place.clone(), None, time.clone());
        let controller =
            Controller::start(intent, MemoryLedger::default(), clock, 1, connect).expect("a controller starts");
        let journals = JournalFolder::new(folder.path().join("rebakes"));
        let weekly = feed(controller, folder.path().join("latent.toml"), journals);
        let report = weekly(&"alice".parse().expect("a name")).expect("a report");
        assert_eq!(report.file.name, "latent-alice-2026-03-02.html");
        let html = String::from_utf8(report.file.content).expect("text");
        assert!(html.contains("without prices.json, which is no file of prices"), "what is wrong with them is said");
        assert!(report.lines[0].starts_with("No machine of alice was seen"), "{:?}", report.lines);
        assert!(weekly(&"nobody".parse().expect("a name")).is_none());
    }
}
