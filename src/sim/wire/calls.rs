//! The log of calls: when each arrived at the door and when it was answered, by the machine's clock.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::control::{Result, wrong};
use super::door::{Answer, Shared};
use crate::sim::error::ApiError;
use crate::sim::world::SiteId;

/// So many are kept; the oldest go first.
const KEPT_MAX: usize = 500_000;
/// So many are told at once.
const TOLD_MAX: usize = 20_000;

/// One call that was answered.
#[derive(Debug, Clone)]
struct Entry {
    arrived: DateTime<Utc>,
    answered: DateTime<Utc>,
    noted: Noted,
}

/// What a call was, and how it ended; it goes with the answer until that leaves.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    place: SiteId,
    action: &'static str,
    /// Whom it concerned: some ids, or its token.
    subject: String,
    /// EC2's code, where it was refused.
    code: Option<String>,
}

/// All of them, in the order of their answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    kept: VecDeque<Entry>,
    /// How many there were ever.
    count: u64,
}

impl Noted {
    /// A call of this action, and what became of it.
    pub(super) fn of<T>(place: &SiteId, action: &'static str, done: &std::result::Result<T, ApiError>) -> Self {
        let code = done.as_ref().err().map(|error| error.code.to_string());
        Self { place: place.clone(), action, subject: String::new(), code }
    }

    /// Whom it concerned, too.
    pub(super) fn about(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    /// The answer, which says for the log what it answers.
    pub(super) fn on(self, mut answer: Answer) -> Answer {
        answer.extensions_mut().insert(self);
        answer
    }
}

impl Calls {
    /// An answer leaves; one that says nothing of itself is no call.
    pub(super) fn answered(&mut self, arrived: DateTime<Utc>, answered: DateTime<Utc>, answer: &mut Answer) {
        let Some(noted) = answer.extensions_mut().remove::<Noted>() else { return };
        self.count += 1;
        self.kept.push_back(Entry { arrived, answered, noted });
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    fn after(&self, after: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let first = self.count - self.kept.len() as u64;
        let skipped = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        let number = first.max(after);
        self.kept.iter().skip(skipped).zip(1..).map(move |(entry, n)| (number + n, entry))
    }
}

/// `GET /_sim/calls?after=N`: the calls after the Nth, each a line of JSON's arrays to be small.
pub(super) fn told(shared: &Shared, query: &str) -> Result<Value> {
    let mut after = 0;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "after" => after = value.parse().map_err(|_| wrong(format!("after={value} must be a number")))?,
            other => return Err(wrong(format!("{other} is not a parameter of the calls: they take after"))),
        }
    }
    let model = shared.model();
    let calls: Vec<Value> =
        model.calls.after(after).take(TOLD_MAX).map(|(number, entry)| shown(number, entry)).collect();
    Ok(json!({ "calls": calls, "count": model.calls.count }))
}

fn shown(number: u64, entry: &Entry) -> Value {
    let Noted { place, action, subject, code } = &entry.noted;
    json!({
        "number": number,
        "arrived_us": entry.arrived.timestamp_micros(),
        "answered_us": entry.answered.timestamp_micros(),
        "account": place.account,
        "region": place.region,
        "action": action,
        "subject": subject,
        "code": code,
    })
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::sim::wire::door::plain;

    fn at(microseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(microseconds).expect("a time")
    }

    fn call(calls: &mut Calls, number: i64, done: &std::result::Result<(), ApiError>) {
        let place = SiteId::new("123456789012", "us-west-2");
        let mut answer =
            Noted::of(&place, "RunInstances", done).about(format!("token-{number}")).on(plain(StatusCode::OK, ""));
        calls.answered(at(number), at(number + 5), &mut answer);
    }

    #[test]
    fn each_call_is_told_once_with_its_times_and_its_end() {
        let mut calls = Calls::default();
        call(&mut calls, 1_000_001, &Ok(()));
        call(&mut calls, 2_000_002, &Err(ApiError::throttled("123456789012", "RunInstances")));
        calls.answered(at(0), at(0), &mut plain(StatusCode::OK, "no call"));
        let told: Vec<Value> = calls.after(0).map(|(number, entry)| shown(number, entry)).collect();
        let numbers: Vec<_> = told.iter().map(|one| one["number"].as_u64()).collect();
        assert_eq!(numbers, [Some(1), Some(2)]);
        assert_eq!((&told[0]["arrived_us"], &told[0]["answered_us"]), (&json!(1_000_001), &json!(1_000_006)));
        assert_eq!((&told[0]["code"], &told[1]["code"]), (&Value::Null, &json!("RequestLimitExceeded")));
        assert_eq!(told[0]["subject"], json!("token-1000001"));
        assert_eq!(calls.after(1).map(|(number, _)| number).collect::<Vec<_>>(), [2]);
        assert_eq!(calls.after(2).count(), 0);
    }

    #[test]
    fn the_oldest_go_and_the_numbers_stay() {
        let mut calls = Calls::default();
        for number in 0..i64::try_from(KEPT_MAX).expect("small") + 3 {
            call(&mut calls, number, &Ok(()));
        }
        assert_eq!(calls.kept.len(), KEPT_MAX);
        assert_eq!(calls.after(0).next().map(|(number, _)| number), Some(4));
        assert_eq!(calls.after(KEPT_MAX as u64 + 1).count(), 2);
    }
}
