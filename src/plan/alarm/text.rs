//! How a message reads.

use std::fmt::Write as _;

use chrono::TimeDelta;

use super::mailbox::{Post, Who};
use super::notice::{Notice, NoticePhase};

/// The longest subject, in characters.
const SUBJECT_MAX: usize = 150;

/// Text from elsewhere in one line, without what a terminal, a mail header or a reader's eye would obey, and not
/// longer than `most` characters.
pub fn clean(text: &str, most: usize) -> String {
    let plain = text.chars().filter_map(|c| match c {
        c if c.is_control() || c.is_whitespace() => Some(' '),
        // What turns the direction of writing, and what cannot be seen.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{061c}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => None,
        c => Some(c),
    });
    let mut out = String::new();
    for (count, c) in plain.enumerate() {
        if count + 1 >= most.max(1) {
            out.push('…');
            break;
        }
        if !(c == ' ' && out.ends_with(' ')) {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

/// A length of time in words, in its two largest units.
pub(super) fn span(span: TimeDelta) -> String {
    let minutes = span.num_minutes().max(0);
    let (days, hours) = (minutes / 1_440, minutes / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) if minutes % 60 == 0 => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (1, _, _) => format!("1 day {} h", hours % 24),
        (days, _, _) => format!("{days} days"),
    }
}

/// The subject: what the most important notice says, and how many more there are.
pub fn subject(post: &Post, fleet: &str) -> String {
    let first = post.notices.first();
    let others = post.notices.len().saturating_sub(1) + usize::try_from(post.more).unwrap_or(usize::MAX);
    let others = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    let title = first.map_or("nothing", |notice| notice.title.as_str());
    let head = format!("[latent {}] ", clean(fleet, 40));
    let room = SUBJECT_MAX.saturating_sub(head.chars().count() + others.chars().count());
    format!("{head}{}{others}", clean(title, room))
}

/// The text of a message, in lines of their natural length.
pub fn body(post: &Post, fleet: &str, controller: &str) -> String {
    let mut text = String::new();
    let several = post.notices.len() > 1;
    for (number, notice) in (1..).zip(&post.notices) {
        if several {
            let _ = write!(text, "{number}. ");
        }
        one(&mut text, notice);
        text.push('\n');
    }
    if post.more > 0 {
        let _ = writeln!(text, "And {} more that found no room here: latent status tells them all.\n", post.more);
    }
    let why = match &post.who {
        Who::Owner(owner) => format!(
            "You get this as the owner {owner} of workers of the fleet {fleet}. What you are told, where and when is in \
             [owner.{owner}.notify] of the controller's latent.toml."
        ),
        Who::Admin => format!(
            "You get this as the admin of the fleet {fleet}. What you are told, where and when is in [notify] of the \
             controller's latent.toml."
        ),
    };
    let _ = writeln!(text, "-- \nlatent, controller {controller}. {why}");
    text
}

fn one(text: &mut String, notice: &Notice) {
    let _ = writeln!(text, "{}\n", clean(&notice.title, 300));
    // A summary has lines that stand below each other.
    let lines = notice.text.iter().map(|line| clean(line, 600));
    for line in lines {
        let _ = writeln!(text, "   {line}");
    }
    if notice.phase != NoticePhase::Ends {
        let _ = writeln!(text, "   Since: {}", notice.since.format("%Y-%m-%d %H:%M:%SZ"));
    }
    if let Some(cost) = &notice.cost {
        let _ = writeln!(text, "   Cost: {}", clean(cost, 200));
    }
    for (number, todo) in notice.todo.iter().enumerate() {
        let head = if number == 0 { "   What to do: " } else { "               " };
        let _ = writeln!(text, "{head}{}", clean(todo, 400));
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::model::AlarmClass;
    use crate::plan::alarm::Channel;

    pub(super) fn post(titles: &[&str], more: u32) -> Post {
        let at = DateTime::UNIX_EPOCH;
        let notice = |title: &&str| Notice {
            key: "worker-down/w".to_owned(),
            class: AlarmClass::WorkerDown,
            phase: NoticePhase::Begins,
            owner: Some("alice".to_owned()),
            title: (*title).to_owned(),
            since: at,
            at,
            urgent: false,
            text: vec!["It is gone.".to_owned()],
            cost: Some("$1.20 so far".to_owned()),
            todo: vec!["latent explain w".to_owned(), "latent doctor --worker w".to_owned()],
        };
        let channel = Channel::Mail("alice@example.org".to_owned());
        let notices = titles.iter().map(notice).collect();
        Post { id: "1.1".to_owned(), who: Who::Owner("alice".parse().expect("a name")), channel, at, notices, more }
    }

    #[test]
    fn a_subject_says_the_first_and_counts_the_others() {
        let text = subject(&post(&["worker w is down for 40 min", "b", "c"], 4), "cpython");
        assert_eq!(text, "[latent cpython] worker w is down for 40 min (and 6 more)");
        assert_eq!(subject(&post(&["one"], 0), "f"), "[latent f] one");
    }

    #[test]
    fn a_body_says_what_since_when_what_it_costs_and_what_to_do() {
        insta::assert_snapshot!(body(&post(&["worker w is down for 40 min"], 2), "cpython", "main"), @r"
        worker w is down for 40 min

           It is gone.
           Since: 1970-01-01 00:00:00Z
           Cost: $1.20 so far
           What to do: latent explain w
                       latent doctor --worker w

        And 2 more that found no room here: latent status tells them all.

        -- 
        latent, controller main. You get this as the owner alice of workers of the fleet cpython. What you are told, where and when is in [owner.alice.notify] of the controller's latent.toml.
        ");
    }

    #[test]
    fn times_are_told_in_words() {
        let told: Vec<String> = [0, 40, 60, 61, 1_500, 4_400].iter().map(|m| span(TimeDelta::minutes(*m))).collect();
        assert_eq!(told, ["less than a minute", "40 min", "1 h", "1 h 1 min", "1 day 1 h", "3 days"]);
    }

    #[test]
    fn a_title_from_elsewhere_adds_no_header() {
        let text = subject(&post(&["w\r\nBcc: everybody@example.org\u{202e}\u{1b}[31m"], 0), "f");
        assert_eq!(text, "[latent f] w Bcc: everybody@example.org [31m");
    }

    proptest! {
        #[test]
        fn what_is_cleaned_is_one_plain_line_of_the_length(text in any::<String>(), most in 1_usize..80) {
            let cleaned = clean(&text, most);
            prop_assert!(cleaned.chars().count() <= most);
            let harmful = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            prop_assert!(!cleaned.chars().any(harmful), "{cleaned:?}");
            prop_assert_eq!(clean(&cleaned, most.max(2)), cleaned);
        }
    }
}
