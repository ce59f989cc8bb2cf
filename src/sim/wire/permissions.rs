//! What the credentials of an account may do: an allow list in the manner of IAM, for tests of refusals.
//! An account without a list may do everything, as one with full access.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::query::Node;
use crate::sim::error::ApiError;
use crate::sim::instance::Tags;
use crate::sim::site::Site;

/// Where a call names what it is about.
const RESOURCES: [&str; 5] = ["InstanceId", "ResourceId", "ImageId", "GroupId", "VolumeId"];

/// Something that is allowed. Everything that it says must hold of the call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    /// Names of actions; a `*` at the end stands for any ending.
    actions: Vec<String>,
    /// Parameters by their paths, and the values they may have; one that is not said fits none.
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    /// Tags that the call sets on everything it makes or tags.
    #[serde(default)]
    request_tags: BTreeMap<String, String>,
    /// Tags that everything it names has already.
    #[serde(default)]
    resource_tags: BTreeMap<String, String>,
}

/// The lists, by account.
#[derive(Debug, Default)]
pub(super) struct Permissions(BTreeMap<String, Vec<Statement>>);

impl Permissions {
    /// From now on the account may do this and nothing else; without a list, everything.
    pub(super) fn set(&mut self, account: &str, allow: Option<Vec<Statement>>) {
        match allow {
            Some(list) => drop(self.0.insert(account.to_owned(), list)),
            None => drop(self.0.remove(account)),
        }
    }

    /// Whether a call of EC2 is allowed.
    pub(super) fn check(
        &self,
        action: &str,
        query: &Node,
        site: &mut Site,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        let Some(list) = self.0.get(&*site.account) else { return Ok(()) };
        if list.iter().any(|statement| statement.allows(action, query, site, now)) {
            return Ok(());
        }
        let message =
            "You are not authorized to perform this operation. Encoded authorization failure message: c2ltdWxhdGVk";
        Err(ApiError::denied("UnauthorizedOperation", message))
    }

    /// Whether an action of another service is allowed on the resources that it names. What is bound to
    /// parameters or to tags of a request allows nothing there.
    pub(super) fn allows_on(&self, action: &str, ids: &[String], site: &mut Site, now: DateTime<Utc>) -> bool {
        let Some(list) = self.0.get(&*site.account) else { return true };
        let fits = |statement: &Statement, site: &mut Site| {
            let named: Vec<&str> = ids.iter().map(String::as_str).collect();
            statement.names(action)
                && statement.parameters.is_empty()
                && statement.request_tags.is_empty()
                && (statement.resource_tags.is_empty() || statement.tags_fit(&named, site, now))
        };
        list.iter().any(|statement| fits(statement, site))
    }

    /// Whether an action of another service is allowed.
    pub(super) fn allows_action(&self, account: &str, action: &str) -> bool {
        self.0.get(account).is_none_or(|list| list.iter().any(|statement| statement.names(action)))
    }
}

impl Statement {
    fn names(&self, action: &str) -> bool {
        self.actions.iter().any(|name| match name.strip_suffix('*') {
            Some(begin) => action.starts_with(begin),
            None => name == action,
        })
    }

    fn allows(&self, action: &str, query: &Node, site: &mut Site, now: DateTime<Utc>) -> bool {
        self.names(action)
            && self.parameters.iter().all(|(path, values)| {
                let (last, before) = path.rsplit_once('.').map_or((path.as_str(), ""), |(before, last)| (last, before));
                let part = before.split('.').filter(|step| !step.is_empty()).fold(query, Node::part);
                part.filled(last).is_some_and(|said| values.iter().any(|value| value == said))
            })
            && (self.request_tags.is_empty() || self.asks_for_its_tags(query))
            && (self.resource_tags.is_empty() || self.is_about_its_tags(query, site, now))
    }

    fn asks_for_its_tags(&self, query: &Node) -> bool {
        let specifications = query.list("TagSpecification");
        let parts = if specifications.is_empty() { vec![query] } else { specifications };
        parts.iter().all(|part| {
            let tags = part.list("Tag");
            let has = |key: &str, value: &str| {
                tags.iter().any(|tag| tag.filled("Key") == Some(key) && tag.filled("Value") == Some(value))
            };
            self.request_tags.iter().all(|(key, value)| has(key, value))
        })
    }

    fn is_about_its_tags(&self, query: &Node, site: &mut Site, now: DateTime<Utc>) -> bool {
        let named: Vec<&str> = RESOURCES.iter().flat_map(|name| query.texts(name)).collect();
        self.tags_fit(&named, site, now)
    }

    /// Whether everything that is named has the tags; not if nothing is named.
    fn tags_fit(&self, named: &[&str], site: &mut Site, now: DateTime<Utc>) -> bool {
        let tagged: BTreeMap<String, Tags> = site.tagged(now).into_iter().collect();
        let fits = |id: &&str| {
            let tags = tagged.get(*id);
            self.resource_tags.iter().all(|(key, value)| tags.and_then(|tags| tags.get(key)) == Some(value))
        };
        !named.is_empty() && named.iter().all(fits)
    }
}
