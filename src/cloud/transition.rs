//! EC2's free text on an instance's last change of state (Amazon EC2 API: StateTransitionReason).

use chrono::{DateTime, NaiveDateTime, Utc};

/// The time in a text such as `User initiated (2026-03-01 10:11:12 GMT)`; `None` where there is none.
pub fn transition_time(text: &str) -> Option<DateTime<Utc>> {
    let inside = text.rsplit_once('(')?.1.strip_suffix(')')?;
    let plain = inside.strip_suffix(" GMT").or_else(|| inside.strip_suffix(" UTC"))?;
    NaiveDateTime::parse_from_str(plain, "%Y-%m-%d %H:%M:%S").ok().map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_where_there_is_one() {
        let told = |text| transition_time(text).map(|at| at.to_rfc3339());
        assert_eq!(told("User initiated (2026-03-01 10:11:12 GMT)").as_deref(), Some("2026-03-01T10:11:12+00:00"));
        assert_eq!([told(""), told("User initiated"), told("x (yesterday GMT)")], [None, None, None]);
    }
}
