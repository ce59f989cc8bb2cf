//! A message as chats take it, within their limits, and without a word that calls anybody.

use serde_json::{Value, json};

use super::courier::Message;

/// Slack shows so many characters of a text without folding it away.
const SLACK_MAX: usize = 3_000;
/// Discord refuses more characters.
const DISCORD_MAX: usize = 1_900;
/// What stands between an `@` and a name, so that nobody is called.
const APART: char = '\u{2060}';

/// For an incoming webhook of Slack, or of who speaks its form.
pub(super) fn slack(message: &Message) -> Value {
    // By < begins whatever calls somebody or leads elsewhere.
    let escaped = calm(&message.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let subject = calm(&message.subject).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = short(&format!("{subject}\n\n{escaped}"), SLACK_MAX);
    json!({ "text": text, "mrkdwn": false, "link_names": 0, "unfurl_links": false, "unfurl_media": false })
}

/// For a webhook of Discord.
pub(super) fn discord(message: &Message) -> Value {
    let text = format!("{}\n\n{}", calm(&message.subject), calm(&message.text));
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that make a text look other than it is, or a link of it.
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']') {
            plain.push('\\');
        }
        plain.push(c);
    }
    json!({ "content": short(&plain, DISCORD_MAX), "allowed_mentions": { "parse": [] }, "flags": 4 })
}

fn calm(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(c);
        if c == '@' {
            out.push(APART);
        }
    }
    out
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most - 1).collect();
    // Half of an escape would take the next character with it.
    while cut.ends_with('\\') {
        cut.pop();
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::notify::trial_post;
    use crate::plan::alarm::{Channel, Who};

    fn message(text: &str) -> Message {
        let mut post = trial_post(&Who::Admin, &Channel::Webhook("chat".to_owned()), DateTime::UNIX_EPOCH);
        post.notices[0].title = text.to_owned();
        Message::of(post, None, "f", "c")
    }

    #[test]
    fn nobody_is_called_by_a_name_that_somebody_chose() {
        let hostile = message("@everyone @here <!channel> <@U123> <https://evil.example|click>");
        let slack = slack(&hostile)["text"].as_str().expect("a text").to_owned();
        assert!(!slack.contains('<') && !slack.contains("@everyone") && !slack.contains("@here"), "{slack}");
        let discord = discord(&hostile);
        let content = discord["content"].as_str().expect("a text");
        assert!(!content.contains("@everyone") && !content.contains("@here") && !content.contains(" <"), "{content}");
        assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    }

    #[test]
    fn texts_fit_the_limits_of_the_chats() {
        let mut long = message("long");
        long.text = "ä_".repeat(20_000);
        let count = |value: &Value| value.as_str().expect("a text").chars().count();
        assert!(count(&slack(&long)["text"]) <= SLACK_MAX);
        assert!(count(&discord(&long)["content"]) <= DISCORD_MAX);
        assert!(!short(&"\\_".repeat(2_000), 101).contains("\\…"));
    }
}
