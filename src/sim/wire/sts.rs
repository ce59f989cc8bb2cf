//! STS: who am I, and roles of other accounts.

use chrono::TimeDelta;

use super::auth::{Caller, Session, Sessions};
use super::call::Call;
use super::query::Node;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::site::Site;

/// How long a session lasts if nothing is said, and the bounds of what may be said.
const HOUR: i64 = 3600;
const SECONDS: std::ops::RangeInclusive<i64> = 900..=43_200;
/// The letters of an access key.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The actions that there are.
pub(super) fn action(name: &str) -> Option<&'static str> {
    ["AssumeRole", "GetCallerIdentity"].into_iter().find(|known| *known == name)
}

/// The account whose weather a call meets: that of the role, for it may be denied.
pub(super) fn account(query: &Node, caller: &Caller) -> String {
    let role = query.filled("RoleArn").and_then(role);
    role.map_or_else(|| caller.account.clone(), |(account, _)| account.to_owned())
}

/// Account and name of a role.
fn role(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let (prefix, _, service, _) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (account, path) = (parts.next()?, parts.next()?);
    let name = path.strip_prefix("role/")?.rsplit('/').next()?;
    let fits =
        prefix == "arn" && service == "iam" && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (fits && !name.is_empty()).then_some((account, name))
}

pub(super) fn handle(call: &Call<'_>, site: &mut Site, sessions: &mut Sessions) -> Result<Xml, ApiError> {
    match call.action {
        "AssumeRole" => assume_role(call, site, sessions),
        _ => Ok(identity(call.caller)),
    }
}

fn identity(caller: &Caller) -> Xml {
    let mut xml = Xml::default();
    xml.text("Arn", arn(caller));
    match &caller.role {
        Some((role, session)) => xml.text("UserId", format!("{}:{session}", role_id(&caller.account, role))),
        None => xml.text("UserId", format!("AIDA{}", caller.account)),
    };
    xml.text("Account", &caller.account);
    xml
}

fn arn(caller: &Caller) -> String {
    let account = &caller.account;
    match &caller.role {
        Some((role, session)) => format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
        None => format!("arn:aws:iam::{account}:user/emulated"),
    }
}

fn role_id(account: &str, role: &str) -> String {
    let number = crate::sim::site::hash(&(account, role));
    format!("AROA{}", letters(number))
}

/// Sixteen letters from a number.
fn letters(number: u64) -> String {
    let digit =
        |at: u32| LETTERS[usize::try_from(number >> (at * 4) & 15).unwrap_or_default() + usize::from(at % 2 == 1)];
    (0..16).map(|at| char::from(digit(at))).collect()
}

fn assume_role(call: &Call<'_>, site: &mut Site, sessions: &mut Sessions) -> Result<Xml, ApiError> {
    let query = call.query;
    let invalid = |message: String| ApiError::client("ValidationError", message);
    let needed = |name: &str| {
        let message = format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        );
        query.filled(name).ok_or_else(|| invalid(message))
    };
    let (arn_of_role, session) = (needed("RoleArn")?, needed("RoleSessionName")?);
    let (account, role) = role(arn_of_role).ok_or_else(|| invalid(format!("{arn_of_role} is invalid")))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(fits) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint"
        )));
    }
    let seconds = query.int("DurationSeconds")?.unwrap_or(HOUR);
    if !SECONDS.contains(&seconds) || (call.caller.role.is_some() && seconds > HOUR) {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.".to_owned(),
        ));
    }
    sessions.retain(|_, known| known.expires > call.now);
    let key = format!("ASIA{}", letters(site.random.u64(..)));
    let secret =
        super::base64(&[site.random.u64(..), site.random.u64(..), site.random.u64(..)].map(u64::to_be_bytes).concat());
    let token = super::base64(&[site.random.u64(..), site.random.u64(..)].map(u64::to_be_bytes).concat());
    let expires = call.now + TimeDelta::seconds(seconds);
    let caller = Caller {
        account: account.to_owned(),
        role: Some((role.to_owned(), session.to_owned())),
        ..call.caller.clone()
    };
    let mut xml = Xml::default();
    xml.within("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", format!("{}:{session}", role_id(account, role))).text("Arn", arn(&caller));
    });
    xml.within("Credentials", |xml| {
        xml.text("AccessKeyId", &key).text("SecretAccessKey", secret).text("SessionToken", &token);
        xml.time("Expiration", expires);
    });
    let name = session.to_owned();
    sessions.insert(key, Session { account: account.to_owned(), role: role.to_owned(), name, token, expires });
    Ok(xml)
}

/// A refusal of the model, in the words of STS.
pub(super) fn in_its_words(error: ApiError, caller: &Caller) -> ApiError {
    match &*error.code {
        "UnauthorizedOperation" => {
            let message = format!("User: {} is not authorized to perform: sts:AssumeRole", arn(caller));
            ApiError::denied("AccessDenied", message)
        }
        "RequestLimitExceeded" => ApiError::client("Throttling", "Rate exceeded"),
        "ExpiredToken" => ApiError { status: 403, ..error },
        "InternalError" => ApiError::server("InternalFailure", error.message),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_from_their_arns() {
        assert_eq!(role("arn:aws:iam::111122223333:role/ci/latent"), Some(("111122223333", "latent")));
        for bad in [
            "",
            "latent",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam::111122223333:user/x",
            "arn:aws:iam::111122223333:role/",
        ] {
            assert_eq!(role(bad), None, "{bad}");
        }
    }

    #[test]
    fn access_keys_have_twenty_letters_and_differ() {
        assert_eq!(letters(0).len(), 16);
        assert_ne!(letters(0x1234_5678_9abc_def0), letters(0x0234_5678_9abc_def0));
    }
}
