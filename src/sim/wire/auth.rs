//! Who calls: the access key, the region and the service of a SigV4 signature. The signature itself
//! is not verified: the model holds no secret.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::query::Node;
use crate::sim::error::ApiError;

/// Whose credentials those are that name no account.
pub(super) const ACCOUNT: &str = "123456789012";
/// How far the caller's clock may be off.
const SKEW_MAX: TimeDelta = TimeDelta::minutes(15);
/// The user that an access key stands for.
const NAMELESS: &str = "user";
/// What begins the access key of a user, and that of a session.
const USER: &str = "AKIA";
const SESSION: &str = "ASIA";

/// A session that AssumeRole gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The account of the role.
    pub(super) account: String,
    /// The role's name.
    pub(super) role: String,
    /// The session's name.
    pub(super) name: String,
    /// The token that goes with the access key.
    pub(super) token: String,
    /// When it is over.
    pub(super) expires: DateTime<Utc>,
}

/// All sessions, by access key.
pub(super) type Sessions = BTreeMap<String, Session>;

/// Who calls, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The access key.
    pub(super) key: String,
    /// The account.
    pub(super) account: String,
    /// The region that the call was signed for.
    pub(super) region: String,
    /// `ec2` or `sts`.
    pub(super) service: String,
    /// The role and the session's name, for a session.
    pub(super) role: Option<(String, String)>,
}

impl Caller {
    /// A role and its session with a slash between, or the user.
    pub(super) fn name(&self) -> String {
        match &self.role {
            Some((role, session)) => format!("{role}/{session}"),
            None => NAMELESS.to_owned(),
        }
    }
}

/// What a signature says before anybody is asked whether it is good.
struct Claim<'a> {
    key: &'a str,
    region: &'a str,
    service: &'a str,
    token: Option<&'a str>,
    signed_at: Option<&'a str>,
}

/// The service that a call is signed for; EC2 if it cannot be read.
pub(super) fn service<'a>(headers: &'a HeaderMap, query: &'a Node) -> &'a str {
    claim(headers, query).map_or("ec2", |claim| claim.service)
}

/// Who calls. `wall` is the time that signatures are made by, `now` the model's.
pub(super) fn caller(
    headers: &HeaderMap,
    query: &Node,
    sessions: &Sessions,
    (wall, now): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Caller, ApiError> {
    let claim = claim(headers, query)?;
    if let Some(signed_at) = claim.signed_at {
        let at = NaiveDateTime::parse_from_str(signed_at, "%Y%m%dT%H%M%SZ").map_err(|_| incomplete(signed_at))?;
        if (at.and_utc() - wall).abs() > SKEW_MAX {
            let message = format!("Request has expired. Timestamp date is {}", at.and_utc().to_rfc3339());
            return Err(ApiError::client("RequestExpired", message));
        }
    }
    let session = if claim.key.starts_with(SESSION) { Some(session(&claim, sessions, now)?) } else { None };
    Ok(Caller {
        key: claim.key.to_owned(),
        account: session.map_or_else(|| account(claim.key), |session| session.account.clone()),
        region: claim.region.to_owned(),
        service: claim.service.to_owned(),
        role: session.map(|session| (session.role.clone(), session.name.clone())),
    })
}

fn session<'a>(claim: &Claim<'_>, sessions: &'a Sessions, now: DateTime<Utc>) -> Result<&'a Session, ApiError> {
    let known = sessions.get(claim.key).filter(|session| claim.token == Some(session.token.as_str()));
    let session = known.ok_or_else(|| {
        let message = "AWS was not able to validate the provided access credentials";
        ApiError { status: 401, ..ApiError::client("AuthFailure", message) }
    })?;
    if now >= session.expires {
        return Err(ApiError::client("ExpiredToken", "The security token included in the request is expired"));
    }
    Ok(session)
}

/// The account that an access key names: `AKIA`, its twelve digits, four letters.
fn account(key: &str) -> String {
    let named = key.strip_prefix(USER).and_then(|rest| rest.split_at_checked(12));
    let named = named.filter(|(digits, letters)| {
        digits.bytes().all(|b| b.is_ascii_digit())
            && letters.len() == 4
            && letters.bytes().all(|b| b.is_ascii_uppercase())
    });
    named.map_or(ACCOUNT, |(digits, _)| digits).to_owned()
}

fn claim<'a>(headers: &'a HeaderMap, query: &'a Node) -> Result<Claim<'a>, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (scope, token, signed_at) = if let Some(value) = headers.get(AUTHORIZATION) {
        let value = value.to_str().map_err(|_| incomplete("the Authorization header"))?;
        let scope = value.split([' ', ',']).find_map(|part| part.trim().strip_prefix("Credential="));
        (scope.ok_or_else(|| incomplete("Credential"))?, text("x-amz-security-token"), text("x-amz-date"))
    } else if let Some(scope) = query.filled("X-Amz-Credential") {
        (scope, query.filled("X-Amz-Security-Token"), query.filled("X-Amz-Date"))
    } else {
        return Err(ApiError::denied("MissingAuthenticationToken", "Request is missing Authentication Token"));
    };
    let parts: Vec<&str> = scope.split('/').collect();
    // A region without a cell of its own cannot be a key of anything.
    let [key, _, region, service, "aws4_request"] = parts[..] else { return Err(incomplete(scope)) };
    let plain = |part: &str| !part.is_empty() && part.len() <= 40 && part.bytes().all(|b| b.is_ascii_graphic());
    if ![region, service].into_iter().all(plain) || key.is_empty() || key.len() > 128 {
        return Err(incomplete(scope));
    }
    Ok(Claim { key, region, service, token, signed_at })
}

fn incomplete(what: &str) -> ApiError {
    let what: String = what.chars().take(80).collect();
    ApiError::client("IncompleteSignature", format!("The request signature does not conform to AWS standards: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn signed(key: &str, token: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={key}/19700101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=abc"
        );
        headers.insert(AUTHORIZATION, value.parse().expect("a value"));
        headers.insert("x-amz-date", "19700101T000000Z".parse().expect("a value"));
        if let Some(token) = token {
            headers.insert("x-amz-security-token", token.parse().expect("a value"));
        }
        headers
    }

    fn asked(headers: &HeaderMap, sessions: &Sessions, seconds: i64) -> Result<Caller, ApiError> {
        caller(headers, &Node::default(), sessions, (at(seconds), at(seconds)))
    }

    #[test]
    fn the_access_key_chooses_the_account() {
        let account = |key: &str| asked(&signed(key, None), &Sessions::new(), 0).expect("a caller").account;
        assert_eq!(account("AKIA111122223333ABCD"), "111122223333");
        for other in ["emulated", "AKIA111122223333ABCd", "AKIA11112222333", "AKIAIOSFODNN7EXAMPLE"] {
            assert_eq!(account(other), ACCOUNT, "{other}");
        }
        let caller = asked(&signed("x", None), &Sessions::new(), 0).expect("a caller");
        assert_eq!((caller.region.as_str(), caller.service.as_str()), ("us-west-2", "ec2"));
    }

    #[test]
    fn a_session_needs_its_token_and_ends() {
        let session = Session {
            account: "222233334444".to_owned(),
            role: "latent".to_owned(),
            name: "me".to_owned(),
            token: "t".to_owned(),
            expires: at(600),
        };
        let key = "ASIA0123456789ABCDEF";
        let sessions = Sessions::from([(key.to_owned(), session)]);
        let caller = asked(&signed(key, Some("t")), &sessions, 599).expect("good");
        assert_eq!(
            (caller.account.as_str(), caller.role.map(|(role, _)| role)),
            ("222233334444", Some("latent".to_owned()))
        );
        let code = |headers: &HeaderMap, seconds| asked(headers, &sessions, seconds).expect_err("refused").code;
        assert_eq!(code(&signed(key, Some("t")), 600), "ExpiredToken");
        assert_eq!(code(&signed(key, None), 0), "AuthFailure");
        assert_eq!(code(&signed("ASIA0123456789ABCDEX", Some("t")), 0), "AuthFailure");
    }

    #[test]
    fn a_call_without_a_signature_or_from_another_time_is_refused() {
        let code = |headers: &HeaderMap, seconds| asked(headers, &Sessions::new(), seconds).expect_err("refused").code;
        assert_eq!(code(&HeaderMap::new(), 0), "MissingAuthenticationToken");
        assert_eq!(code(&signed("x", None), 901), "RequestExpired");
        let mut odd = HeaderMap::new();
        odd.insert(AUTHORIZATION, "Bearer x".parse().expect("a value"));
        assert_eq!(code(&odd, 0), "IncompleteSignature");
        assert_eq!(code(&signed("x/y", None), 0), "IncompleteSignature");
    }
}
