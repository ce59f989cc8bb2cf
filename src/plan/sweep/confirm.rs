//! A plan that was written earlier, held against what is so now.

use serde::Serialize;

use super::{Finding, SweepPlan};

/// A finding of the earlier plan that is not acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Skipped {
    /// Its id.
    pub id: String,
    /// What is different now.
    pub why: String,
}

/// What of the earlier plan still holds, and what does not. Nothing is added; what the earlier plan only
/// marks is only marked, though it could be ended now.
pub fn confirm(earlier: &SweepPlan, now: &SweepPlan) -> (Vec<Finding>, Vec<Skipped>) {
    let (mut holds, mut skipped) = (Vec::new(), Vec::new());
    for finding in earlier.acts() {
        match still(finding, now) {
            Ok(fresh) => holds.push(Finding { act: finding.act, ..fresh.clone() }),
            Err(why) => skipped.push(Skipped { id: finding.id.clone(), why }),
        }
    }
    (holds, skipped)
}

fn still<'a>(finding: &Finding, now: &'a SweepPlan) -> Result<&'a Finding, String> {
    let same = |other: &&Finding| other.id == finding.id && other.region == finding.region;
    let Some(fresh) = now.findings.iter().find(same) else {
        let kept = now.kept.iter().find(|kept| kept.id.as_str() == finding.id && kept.region == finding.region);
        return Err(match kept {
            Some(kept) => format!("it is not left over any more: {}", kept.why),
            None => "it is gone".to_owned(),
        });
    };
    if fresh.kind != finding.kind {
        return Err(format!("it was {}, and is {} now", finding.kind, fresh.kind));
    }
    if fresh.act < finding.act {
        let why = fresh.note.as_deref().unwrap_or("what is known of it has changed");
        return Err(format!("it may not be ended now: {why}"));
    }
    Ok(fresh)
}
