//! Webhooks: one POST, no redirects, and nothing told of an address but its scheme and host; so nothing of what the
//! other end writes either, for it may repeat the address in a form that nobody foresees.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};

use super::chat;
use super::courier::{Message, Ways};
use super::mail::{ca_file, chain};
use super::payload::Payload;
use crate::plan::alarm::{Outcome, clean};
use crate::policy::{Webhook, WebhookFormat, WebhookUrl};

/// How long the other end may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// So much is told of why nothing was answered, in characters.
const TOLD_MAX: usize = 400;

pub(super) async fn send(ways: &Ways, hook: &Webhook, message: &Message) -> Outcome {
    let url = match address(ways, hook) {
        Ok(url) => url,
        Err(why) => return Outcome::Later(why, None),
    };
    let place = shown(&url);
    let later = |why: String| Outcome::Later(format!("{place}: {why}"), None);
    let (client, headers) = match (client(ways, hook), headers(ways, hook)) {
        (Ok(client), Ok(headers)) => (client, headers),
        (Err(why), _) | (_, Err(why)) => return later(why),
    };
    let body = match hook.format {
        WebhookFormat::Json => serde_json::to_value(Payload::of(message)).unwrap_or_default(),
        WebhookFormat::Slack => chat::slack(message),
        WebhookFormat::Discord => chat::discord(message),
    };
    // The id is the same when it is sent again: who has seen it need not take it twice.
    let request = client.post(url.clone()).headers(headers).header("Idempotency-Key", &message.id).json(&body);
    match request.send().await {
        Ok(answer) => outcome(&place, message.post.at, &answer, &url),
        Err(error) => later(hidden(&chain(&error.without_url()), &url)),
    }
}

fn address(ways: &Ways, hook: &Webhook) -> Result<Url, String> {
    let text = match &hook.url {
        WebhookUrl::Text(text) => text.clone(),
        WebhookUrl::Secret(secret) => {
            let text = (ways.resolve)(secret).map_err(|why| format!("the address cannot be had: {why}"))?;
            text.reveal().trim().to_owned()
        }
    };
    WebhookUrl::check(&text).map_err(|why| format!("the address in {} {why}", hook.url))?;
    Url::parse(&text).map_err(|error| format!("the address in {} cannot be read: {error}", hook.url))
}

/// Scheme, host and port.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// What this machine says of a failed call, in which the rest of the address does not stand.
fn hidden(text: &str, url: &Url) -> String {
    let mut text = text.to_owned();
    for secret in [Some(url.as_str()), Some(url.path()), url.query()].into_iter().flatten() {
        if secret.len() > 1 {
            text = text.replace(secret, "…");
        }
    }
    // Cut at last: half of a secret would not be found.
    clean(&text, TOLD_MAX)
}

fn client(ways: &Ways, hook: &Webhook) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .user_agent(concat!("latent/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = &hook.ca_file {
        let pem = ca_file(&ways.folder.join(file))?;
        let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{file}: {error}"))?;
        builder = builder.tls_certs_merge(authorities);
    }
    builder.build().map_err(|error| chain(&error))
}

/// The headers of a secret. Of one that is wrong only its line is told.
fn headers(ways: &Ways, hook: &Webhook) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    let Some(secret) = &hook.headers else { return Ok(map) };
    let text = (ways.resolve)(secret).map_err(|why| format!("the headers cannot be had: {why}"))?;
    for (number, line) in (1..).zip(text.reveal().lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {number} of the headers in {secret} is not Name: value");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_str(name.trim()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

fn outcome(place: &str, now: DateTime<Utc>, answer: &reqwest::Response, url: &Url) -> Outcome {
    let status = answer.status();
    let header = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let asked = header(RETRY_AFTER).and_then(|text| retry_after(text, now));
    let why = format!("{place}: {status}");
    if status.is_success() {
        return Outcome::Taken(why);
    }
    if status.is_redirection() {
        let there =
            header(LOCATION).and_then(|to| url.join(to).ok()).map_or_else(|| "elsewhere".to_owned(), |to| shown(&to));
        return Outcome::Refused(format!("{place}: {status}: it wants to be called at {there}; write its new address"));
    }
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_client_error() && !passes.contains(&status) {
        return Outcome::Refused(why);
    }
    Outcome::Later(why, asked)
}

/// A number of seconds, or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<TimeDelta> {
    let text = text.trim();
    // Discord says fractions of seconds.
    if let Ok(seconds) = text.parse::<f64>() {
        let seconds = seconds.is_finite().then(|| seconds.ceil().clamp(0.0, 1e7))?;
        return Duration::try_from_secs_f64(seconds).ok().and_then(|span| TimeDelta::from_std(span).ok());
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - now).max(TimeDelta::zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_asks_for_is_a_number_or_a_date() {
        let now: DateTime<Utc> = "2015-10-21T07:27:00Z".parse().expect("a time");
        let seconds = |text| retry_after(text, now).map(|span| span.num_seconds());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("0.3"), Some(1));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:20:00 GMT"), Some(0));
        for bad in ["", "soon", "NaN", "inf", "-"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_of_an_address_is_told_but_its_scheme_and_host() {
        let url = Url::parse("https://hooks.example.org:8443/services/T0/B0/secret?token=abc").expect("an address");
        assert_eq!(shown(&url), "https://hooks.example.org:8443");
        let told = hidden("no route to https://hooks.example.org:8443/services/T0/B0/secret?token=abc", &url);
        assert!(!told.contains("secret") && !told.contains("abc"), "{told}");
        assert!(!hidden("/services/T0/B0/secret not found, token=abc", &url).contains("secret"));
        let cut =
            format!("{}https://hooks.example.org:8443/services/T0/B0/secret?token=abc", "x".repeat(TOLD_MAX - 50));
        assert!(!hidden(&cut, &url).contains("services"), "replaced before it is cut");
    }

    #[test]
    fn nothing_of_what_is_answered_is_told_but_the_status() {
        let url = Url::parse("https://hooks.example.org/services/T0/B0/sec%20ret?token=abc").expect("an address");
        let now = DateTime::UNIX_EPOCH;
        for (status, location) in [(200, None), (403, None), (429, None), (500, None), (302, Some("/services/new"))] {
            let mut answer = axum::http::Response::builder().status(status);
            if let Some(to) = location {
                answer = answer.header(LOCATION, to);
            }
            let body = r#"{"path":"\/services\/T0\/B0\/sec ret"}, no route to B0/sec ret"#;
            let answer = reqwest::Response::from(answer.body(body).expect("an answer"));
            let (Outcome::Taken(told) | Outcome::Refused(told) | Outcome::Later(told, _)) =
                outcome(&shown(&url), now, &answer, &url);
            assert!(told.starts_with(&format!("https://hooks.example.org: {status}")), "{told}");
            assert!(!told.contains("T0") && !told.contains("ret") && !told.contains("services"), "{told}");
        }
    }
}
