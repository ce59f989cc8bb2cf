//! What the weather does to calls.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::site::Site;
use super::weather::Fault;
use super::world::Mishap;

/// The share of a bucket that the owner's other tools take at once.
const FOREIGN_SHARE: f64 = 0.5;

impl Site {
    /// What happens to this call instead of an answer, if the weather strikes it.
    pub(super) fn mishap(&mut self, action: &'static str, now: DateTime<Utc>) -> Option<Mishap> {
        if let Some(error) = self.not_allowed(action, now) {
            return Some(Mishap::Refuse(error));
        }
        if self.chance(Fault::ForeignLoad) {
            self.buckets.drain(action, FOREIGN_SHARE, now);
        }
        if self.chance(Fault::Throttle) {
            return Some(Mishap::Refuse(ApiError::throttled(&self.account, action)));
        }
        if self.chance(Fault::InternalError) {
            return Some(Mishap::Refuse(ApiError::server("InternalError", "An internal error has occurred")));
        }
        if self.chance(Fault::Hang) {
            return Some(Mishap::Hang);
        }
        (self.chance(Fault::ReplyLost)).then_some(Mishap::LoseReply)
    }

    /// The owner's credentials and permissions, as they are now.
    fn not_allowed(&self, action: &str, now: DateTime<Utc>) -> Option<ApiError> {
        if self.holds(Fault::CredentialsExpired, "", now) {
            return Some(ApiError::client("ExpiredToken", "The security token included in the request is expired"));
        }
        let writes = !["Describe", "Get", "List", "Lookup"].iter().any(|verb| action.starts_with(verb));
        (writes && self.holds(Fault::RoleDenied, "", now)).then(|| {
            ApiError::denied(
                "UnauthorizedOperation",
                "You are not authorized to perform this operation. Encoded authorization failure message: c2ltdWxhdGVk",
            )
        })
    }
}
