//! Security groups: made, changed, taken away.

use super::error::ApiError;
use super::instance::Tags;
use super::network::{Group, Rule};
use super::site::Site;

impl Site {
    fn group(&mut self, id: &str) -> Result<&mut Group, ApiError> {
        let message = || format!("The security group '{id}' does not exist");
        self.network.groups.get_mut(id).ok_or_else(|| ApiError::client("InvalidGroup.NotFound", message()))
    }

    /// CreateSecurityGroup: it lets everything out.
    ///
    /// # Errors
    /// `InvalidGroup.Duplicate`.
    pub fn create_group(&mut self, name: &str, description: &str, tags: Tags) -> Result<&Group, ApiError> {
        if self.network.groups.values().any(|group| group.name == name) {
            let message = format!("The security group '{name}' already exists for VPC '{}'", self.network.vpc);
            return Err(ApiError::client("InvalidGroup.Duplicate", message));
        }
        let (id, rule) = (self.new_id("sg"), self.new_id("sgr"));
        let group = Group {
            id: id.clone(),
            name: name.to_owned(),
            description: description.to_owned(),
            rules: vec![Rule::all(rule, true, "0.0.0.0/0".to_owned())],
            tags,
        };
        Ok(self.network.groups.entry(id).or_insert(group))
    }

    /// DeleteSecurityGroup.
    ///
    /// # Errors
    /// `DependencyViolation` while an interface is in it; `CannotDelete` for the default one.
    pub fn delete_group(&mut self, id: &str) -> Result<(), ApiError> {
        if self.network.default_group() == Some(id) {
            return Err(ApiError::client(
                "CannotDelete",
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
            ));
        }
        self.group(id)?;
        if self.interfaces.values().any(|interface| interface.groups.iter().any(|group| group == id)) {
            return Err(ApiError::client("DependencyViolation", format!("resource {id} has a dependent object")));
        }
        self.network.groups.remove(id);
        Ok(())
    }

    /// AuthorizeSecurityGroupIngress and -Egress: the new rules, or none of them.
    ///
    /// # Errors
    /// `InvalidPermission.Duplicate`, `InvalidGroup.NotFound`.
    pub fn authorize_group(&mut self, id: &str, mut rules: Vec<Rule>) -> Result<Vec<Rule>, ApiError> {
        for rule in &mut rules {
            rule.id = self.new_id("sgr");
        }
        let group = self.group(id)?;
        if let Some(rule) = rules.iter().find(|rule| group.rules.iter().any(|own| own.same(rule))) {
            let message =
                format!("the specified rule \"peer: {}, {}, ALLOW\" already exists", rule.peer, rule.protocol);
            return Err(ApiError::client("InvalidPermission.Duplicate", message));
        }
        group.rules.extend(rules.iter().cloned());
        Ok(rules)
    }

    /// RevokeSecurityGroupIngress and -Egress, by what rules say or by their ids.
    ///
    /// # Errors
    /// `InvalidPermission.NotFound`, `InvalidGroup.NotFound`; nothing is revoked then.
    pub fn revoke_group(&mut self, id: &str, rules: &[Rule], ids: &[String]) -> Result<(), ApiError> {
        let group = self.group(id)?;
        let missing = rules.iter().any(|rule| !group.rules.iter().any(|own| own.same(rule)))
            || ids.iter().any(|id| !group.rules.iter().any(|own| own.id == *id));
        if missing {
            let message = "The specified rule does not exist in this security group.";
            return Err(ApiError::client("InvalidPermission.NotFound", message));
        }
        group.rules.retain(|own| !ids.contains(&own.id) && !rules.iter().any(|rule| rule.same(own)));
        Ok(())
    }
}
