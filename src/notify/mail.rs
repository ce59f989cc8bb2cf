//! Mail: to a server by SMTP, or to a command of the machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters, TlsParametersBuilder};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::courier::{Message, Ways};
use crate::plan::alarm::{Outcome, Who, clean};
use crate::policy::{MailWay, Smtp, SmtpTls};

/// How long a server may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest file of authorities, in bytes.
const CA_BYTES_MAX: u64 = 1 << 20;
/// The longest answer that is told, in characters.
const TOLD_MAX: usize = 200;

/// Exit codes of a sendmail command that no later attempt changes: wrong data, no such user, no such host, and
/// what it does not permit.
const FOR_GOOD: [i32; 4] = [65, 67, 68, 77];

pub(super) async fn send(ways: &Ways, way: &MailWay, to: &str, message: &Message) -> Outcome {
    let from = match way {
        MailWay::Smtp(smtp) => &smtp.from,
        MailWay::Sendmail { from, .. } => from,
    };
    let letter = match letter(from, to, message) {
        Ok(letter) => letter,
        Err(why) => return Outcome::Refused(why),
    };
    match way {
        MailWay::Smtp(smtp) => by_smtp(ways, smtp, letter).await,
        MailWay::Sendmail { command, from } => by_command(command, from, to, &letter.formatted()).await,
    }
}

/// The letter with its headers. Whoever answers automatically is asked not to.
fn letter(from: &str, to: &str, message: &Message) -> Result<lettre::Message, String> {
    let address = |text: &str| {
        text.parse::<Address>().map_err(|error| format!("{} is no address: {error}", clean(text, TOLD_MAX)))
    };
    let (from, to) = (address(from)?, address(to)?);
    let domain = from.domain().to_owned();
    let name = format!("latent {}", clean(&message.fleet, 40));
    let list = match &message.post.who {
        Who::Owner(owner) => format!("owner-{owner}"),
        Who::Admin => "admin".to_owned(),
    };
    let list = format!("<{list}.{}.latent.{domain}>", message.fleet);
    let classes: Vec<&str> = message.post.notices.iter().map(|notice| notice.class.name()).collect();
    let mut builder = lettre::Message::builder()
        .from(Mailbox::new(Some(name), from))
        .to(Mailbox::new(None, to))
        .subject(&message.subject)
        .date(message.post.at.into())
        .message_id(Some(format!("<{}@{domain}>", message.id)));
    for (header, value) in [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("List-Id", &clean(&list, TOLD_MAX)),
        ("X-Latent-Class", &clean(&classes.join(", "), TOLD_MAX)),
    ] {
        let header = HeaderName::new_from_ascii(header.to_owned()).map_err(|error| error.to_string())?;
        builder = builder.raw_header(HeaderValue::new(header, value.to_owned()));
    }
    let text = SinglePart::plain(message.text.clone());
    let built = match &message.attachment {
        None => builder.singlepart(text),
        Some(file) => {
            let media_type = ContentType::parse(&file.media_type).map_err(|error| error.to_string())?;
            let part = Part::new(clean(&file.name, TOLD_MAX)).body(file.content.clone(), media_type);
            builder.multipart(MultiPart::mixed().singlepart(text).singlepart(part))
        }
    };
    built.map_err(|error| format!("the message cannot be made: {error}"))
}

async fn by_smtp(ways: &Ways, smtp: &Smtp, letter: lettre::Message) -> Outcome {
    let place = format!("{}:{}", smtp.host, smtp.port);
    // What is wrong here, a person mends: the message waits for it.
    let later = |why: String| Outcome::Later(format!("{place}: {why}"), None);
    let tls = match protection(ways, smtp) {
        Ok(tls) => tls,
        Err(why) => return later(why),
    };
    let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(ANSWER));
    if let Some((user, password)) = &smtp.login {
        match (ways.resolve)(password) {
            Ok(password) => {
                server = server.credentials(Credentials::new(user.clone(), password.reveal().to_owned()));
            }
            Err(why) => return later(format!("the password cannot be had: {why}")),
        }
    }
    match server.build::<Tokio1Executor>().send(letter).await {
        Ok(answer) => {
            let said: Vec<&str> = answer.message().collect();
            Outcome::Taken(format!("{place} took it: {} {}", answer.code(), clean(&said.join(" "), TOLD_MAX)))
        }
        Err(error) => {
            let why = format!("{place}: {}", clean(&chain(&error), TOLD_MAX * 2));
            // A login that is refused is mended here, and the mail is none the worse for it.
            let login = error.status().is_some_and(|code| matches!(code.to_string().as_str(), "530" | "534" | "535"));
            if error.is_permanent() && !login { Outcome::Refused(why) } else { Outcome::Later(why, None) }
        }
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.to_string();
        // Some errors say what their cause says.
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn protection(ways: &Ways, smtp: &Smtp) -> Result<Tls, String> {
    if smtp.tls == SmtpTls::None {
        return Ok(Tls::None);
    }
    let mut builder = TlsParametersBuilder::new(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let pem = ca_file(&ways.folder.join(file))?;
        builder = builder.certificate_store(CertificateStore::None);
        let authority = Certificate::from_pem(&pem).map_err(|error| format!("{file}: {error}"))?;
        builder = builder.add_root_certificate(authority);
    }
    let parameters: TlsParameters = builder.build().map_err(|error| error.to_string())?;
    Ok(match smtp.tls {
        SmtpTls::Tls => Tls::Wrapper(parameters),
        SmtpTls::StartTls | SmtpTls::None => Tls::Required(parameters),
    })
}

/// A file of authorities, whole.
pub(super) fn ca_file(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("the authorities in {} cannot be read: {error}", path.display());
    let size = std::fs::metadata(path).map_err(told)?.len();
    if size > CA_BYTES_MAX {
        return Err(format!("{} has {size} bytes, and no such file has more than {CA_BYTES_MAX}", path.display()));
    }
    std::fs::read(path).map_err(told)
}

/// Hands the letter to a program: the addresses are arguments of their own, after which none is an option.
async fn by_command(command: &[String], from: &str, to: &str, letter: &[u8]) -> Outcome {
    let Some((program, arguments)) = command.split_first() else {
        return Outcome::Later("notify.sendmail.command is empty".to_owned(), None);
    };
    let later = |why: String| Outcome::Later(format!("{program}: {why}"), None);
    let mut process = Command::new(program);
    process.args(arguments).args(["-i", "-f", from, "--", to]).kill_on_drop(true);
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => return later(format!("cannot be run: {error}")),
    };
    if let Some(mut input) = child.stdin.take() {
        // Who does not read to the end says so with its exit code.
        let _ = input.write_all(letter).await;
        drop(input);
    }
    match child.wait_with_output().await {
        Ok(output) if output.status.success() => Outcome::Taken(format!("{program} took it")),
        Ok(output) => {
            let said = clean(&String::from_utf8_lossy(&output.stderr), TOLD_MAX);
            let why = format!("{program}: {}: {said}", output.status);
            let for_good = output.status.code().is_some_and(|code| FOR_GOOD.contains(&code));
            if for_good { Outcome::Refused(why) } else { Outcome::Later(why, None) }
        }
        Err(error) => later(error.to_string()),
    }
}
