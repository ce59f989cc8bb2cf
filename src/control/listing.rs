//! One look at a cell: whose account it is, and every instance of the fleet in it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::driver::Clock;
use crate::cloud::{Cloud, CloudError};
use crate::model::{FailureKind, InstanceId, Inventory};

/// A listing may take this long.
const LISTING_LIMIT: Duration = Duration::from_mins(1);

/// A listing, and the account that it is of where that was asked.
pub(super) struct Listed {
    pub(super) inventory: Inventory,
    pub(super) account: Option<String>,
}

/// Whose account a cell must be.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    /// The configuration names it.
    Named(String),
    /// The owner's credentials acted in it before.
    Learnt(String),
    /// Whichever the owner's credentials lead to.
    Any,
    /// The configuration does not know the owner.
    Nobodys,
}

/// A look that has an end. The account is checked if `check` says whose it must be.
pub(super) async fn in_time<C: Cloud>(
    cloud: &C,
    clock: &Clock,
    check: Option<Whose>,
    now: DateTime<Utc>,
    also: &[InstanceId],
) -> Result<Listed, CloudError> {
    let looked = clock.within(LISTING_LIMIT, look(cloud, check, now, also)).await;
    looked.unwrap_or_else(|| {
        let message = format!("no complete listing within {} s", LISTING_LIMIT.as_secs());
        Err(CloudError { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message })
    })
}

/// The account is checked before anything else is believed or done in it.
async fn look<C: Cloud>(
    cloud: &C,
    check: Option<Whose>,
    now: DateTime<Utc>,
    also: &[InstanceId],
) -> Result<Listed, CloudError> {
    let mut account = None;
    if let Some(whose) = check {
        let found = cloud.account().await?;
        let other = match &whose {
            Whose::Named(named) if *named != found => format!("the configuration says {named}"),
            Whose::Learnt(first) if *first != found => {
                format!("and those before them in {first}, where instances of the owner live")
            }
            Whose::Nobodys => "the configuration says none".to_owned(),
            Whose::Named(_) | Whose::Learnt(_) | Whose::Any => String::new(),
        };
        if !other.is_empty() {
            return Err(CloudError {
                kind: FailureKind::Credentials,
                code: "AccountMismatch".to_owned(),
                message: format!("the credentials act in account {found}, {other}"),
            });
        }
        account = Some(found);
    }
    Ok(Listed { inventory: cloud.inventory(now, also).await?, account })
}
