//! The owner's own hard stop: an AWS budget whose action takes from the roles what buys instances.
//!
//! It needs neither the controller nor its word, and it is late: AWS counts what was spent hours afterwards.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::document::{indented, quoted};
use super::{IamError, IamRole, named_for, role_name, values};
use crate::model::OwnerName;
use crate::policy::{Credentials, Intent};

/// What of AWS's services instances are billed as: themselves, their disks, their addresses.
const SERVICES: [&str; 3] = ["Amazon Elastic Compute Cloud - Compute", "EC2 - Other", "Amazon Virtual Private Cloud"];
/// What the deny policy takes from the roles. What ends instances stays.
const DENIED: [&str; 2] = ["ec2:RunInstances", "ec2:StartInstances"];
/// In micro-dollars: the template has no smaller amount, and one of nothing would stop everything at once.
const CENT: u64 = 10_000;
/// Who carries the action out.
const SERVICE: &str = "budgets.amazonaws.com";

/// An AWS budget of an owner, and its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetAction {
    fleet: String,
    owner: OwnerName,
    account: String,
    /// Its name, and that of everything that belongs to it.
    name: String,
    /// Dollars each month.
    amount: String,
    /// Whom AWS tells.
    address: String,
    /// The names of the roles that lose the right to launch.
    roles: Vec<String>,
    /// Their ARNs.
    arns: Vec<String>,
}

impl BudgetAction {
    /// For an owner of the configuration; `amount` in micro-dollars goes before the hard amount of the budget.
    ///
    /// # Errors
    /// [`IamError`]: what is missing, and where it is written.
    pub fn of(intent: &Intent, owner: &OwnerName, amount: Option<u64>) -> Result<Self, IamError> {
        let Some(configured) = intent.owners.get(owner) else {
            let known: Vec<&str> = intent.owners.keys().map(OwnerName::as_str).collect();
            return Err(IamError::UnknownOwner { owner: owner.clone(), known: known.join(", ") });
        };
        let amount = amount.or_else(|| configured.budget.and_then(|budget| budget.hard));
        let amount = amount.filter(|amount| *amount >= CENT);
        let amount = amount.ok_or_else(|| {
            let cure = "write the dollars of a month there, such as \"25.00\", or give --amount";
            IamError::key(format!("owner.{owner}.budget.hard"), "is missing or less than a cent", cure)
        })?;
        let address = configured.contact.clone().filter(|contact| is_address(contact)).ok_or_else(|| {
            let cure = "write the mail address of the owner there: AWS tells somebody when the action runs";
            IamError::key(format!("owner.{owner}.contact"), "is missing, or no mail address", cure)
        })?;
        let account = values::account_of(owner, configured)?;
        let key = format!("owner.{owner}.credentials.assume_role");
        let Credentials::AssumeRole { arn, .. } = &configured.credentials else {
            let message = "is missing: the action takes rights from a role alone, and none is named";
            let cure = "let it assume a role of the account, which `latent iam` makes";
            return Err(IamError::key(key, message, cure));
        };
        let (path, worker) = role_name(arn, account).ok_or_else(|| {
            let message = format!("{arn:?} is not a role of account {account}");
            IamError::key(key, message, "name a role of the owner's account")
        })?;
        let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
        let roles = [IamRole::Worker, IamRole::Rebake].map(|role| named_for(&worker, role)).to_vec();
        let arns = roles.iter().map(|role| format!("arn:{partition}:iam::{account}:role{path}{role}")).collect();
        Ok(Self {
            fleet: intent.fleet.name.clone(),
            owner: owner.clone(),
            account: account.to_owned(),
            name: format!("latent-{}", intent.fleet.name),
            amount: format!("{}.{:02}", amount / 1_000_000, amount % 1_000_000 / 10_000),
            address,
            roles,
            arns,
        })
    }

    fn partition(&self) -> &str {
        self.arns.first().and_then(|arn| arn.split(':').nth(1)).unwrap_or("aws")
    }

    fn policy_arn(&self) -> String {
        format!("arn:{}:iam::{}:policy/{}-over-budget", self.partition(), self.account, self.name)
    }

    /// What the roles lose.
    fn deny() -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{ "Sid": "OverBudget", "Effect": "Deny", "Action": DENIED, "Resource": "*" }],
        })
    }

    /// Who may carry the action out: AWS Budgets, for this account alone.
    fn trust(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": SERVICE },
                "Action": "sts:AssumeRole",
                "Condition": { "StringEquals": { "aws:SourceAccount": self.account } },
            }],
        })
    }

    /// What it may do: attach this one policy to these roles, and take it off again.
    fn execution(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
                "Resource": self.arns,
                "Condition": { "ArnEquals": { "iam:PolicyARN": self.policy_arn() } },
            }],
        })
    }

    fn about(&self, how: &str) -> Vec<String> {
        let Self { fleet, owner, account, amount, .. } = self;
        vec![
            format!("The hard stop of AWS account {account} for fleet {fleet} of latent (owner {owner}): ${amount} a month."),
            "When EC2 has cost that much in a calendar month, AWS attaches a policy to the roles that denies launches and starts.".to_owned(),
            "It works without latent. AWS counts some hours late, so that more than the amount may be spent; latent's own budget does not wait.".to_owned(),
            "The amount counts all EC2 of the account, latent's or not. What runs is not ended by it.".to_owned(),
            "To launch again: raise the amount, or detach the policy from the roles (Budgets > the budget > Actions > reverse); look there when a new month begins, too.".to_owned(),
            "The roles must be there before: latent iam. A role that was not made is to be taken out of the list.".to_owned(),
            how.to_owned(),
        ]
    }

    /// Each part, to read and to paste.
    pub fn json(&self) -> Value {
        json!({
            "about": self.about("By hand: make the policy, the execution role and the budget; then Budgets > the budget > Configure actions."),
            "account": self.account,
            "fleet": self.fleet,
            "owner": self.owner.as_str(),
            "budget": { "name": self.name, "amount": self.amount, "unit": "USD", "time_unit": "MONTHLY", "services": SERVICES },
            "deny_policy": { "name": format!("{}-over-budget", self.name), "policy": Self::deny() },
            "execution_role": { "name": format!("{}-budget", self.name), "trust": self.trust(), "policy": self.execution() },
            "action": {
                "type": "APPLY_IAM_POLICY", "approval": "AUTOMATIC", "threshold_percent": 100,
                "policy": self.policy_arn(), "roles": self.roles, "subscriber": self.address,
            },
        })
    }

    /// A template that makes all of it; deleting its stack takes it away.
    pub fn cloudformation(&self) -> Value {
        let subscriber = |kind: &str| json!([{ kind: "EMAIL", "Address": self.address }]);
        json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": format!("Hard stop for latent, fleet {}, owner {}", self.fleet, self.owner),
            "Metadata": { "latent": { "about": self.about(
                "aws cloudformation deploy --region us-east-1 --stack-name latent-budget --template-file THIS_FILE --capabilities CAPABILITY_NAMED_IAM (AWS Budgets has its stacks in us-east-1 alone; it counts all regions)",
            ) } },
            "Resources": {
                "Budget": { "Type": "AWS::Budgets::Budget", "Properties": {
                    "Budget": {
                        "BudgetName": self.name,
                        "BudgetType": "COST",
                        "TimeUnit": "MONTHLY",
                        "BudgetLimit": { "Amount": self.amount, "Unit": "USD" },
                        "CostFilters": { "Service": SERVICES },
                    },
                    "NotificationsWithSubscribers": [{
                        "Notification": { "NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80, "ThresholdType": "PERCENTAGE" },
                        "Subscribers": subscriber("SubscriptionType"),
                    }],
                } },
                "OverBudget": { "Type": "AWS::IAM::ManagedPolicy", "Properties": {
                    "ManagedPolicyName": format!("{}-over-budget", self.name),
                    "Description": format!("latent fleet {}, owner {}: nothing is launched over budget", self.fleet, self.owner),
                    "PolicyDocument": Self::deny(),
                } },
                "BudgetRole": { "Type": "AWS::IAM::Role", "Properties": {
                    "RoleName": format!("{}-budget", self.name),
                    "AssumeRolePolicyDocument": self.trust(),
                    "Policies": [{ "PolicyName": format!("{}-budget", self.name), "PolicyDocument": self.execution() }],
                } },
                "HardStop": { "Type": "AWS::Budgets::BudgetsAction", "Properties": {
                    "BudgetName": { "Ref": "Budget" },
                    "ActionType": "APPLY_IAM_POLICY",
                    "ApprovalModel": "AUTOMATIC",
                    "NotificationType": "ACTUAL",
                    "ActionThreshold": { "Type": "PERCENTAGE", "Value": 100 },
                    "Definition": { "IamActionDefinition": { "PolicyArn": { "Ref": "OverBudget" }, "Roles": self.roles } },
                    "ExecutionRoleArn": { "Fn::GetAtt": ["BudgetRole", "Arn"] },
                    "Subscribers": subscriber("Type"),
                } },
            },
        })
    }

    /// The same as HCL.
    pub fn terraform(&self) -> String {
        let mut text = String::new();
        for line in self.about("terraform init && terraform apply, with a provider for this account.") {
            let _ = writeln!(text, "# {line}");
        }
        let list = |items: &[String]| Value::from(items.to_vec()).to_string();
        let services = SERVICES.map(ToOwned::to_owned);
        let (over, role) = (format!("{}-over-budget", self.name), format!("{}-budget", self.name));
        let address = list(std::slice::from_ref(&self.address));
        let _ = write!(
            text,
            "\nresource \"aws_budgets_budget\" \"latent\" {{\n  \
               name         = {name}\n  budget_type  = \"COST\"\n  time_unit    = \"MONTHLY\"\n  \
               limit_amount = {amount}\n  limit_unit   = \"USD\"\n\n  \
               cost_filter {{\n    name   = \"Service\"\n    values = {services}\n  }}\n\n  \
               notification {{\n    comparison_operator        = \"GREATER_THAN\"\n    threshold                  = 80\n    \
               threshold_type             = \"PERCENTAGE\"\n    notification_type          = \"ACTUAL\"\n    \
               subscriber_email_addresses = {address}\n  }}\n}}\n\n\
             resource \"aws_iam_policy\" \"latent_over_budget\" {{\n  \
               name   = {over}\n  policy = jsonencode({deny})\n}}\n\n\
             resource \"aws_iam_role\" \"latent_budget\" {{\n  \
               name               = {role}\n  assume_role_policy = jsonencode({trust})\n}}\n\n\
             resource \"aws_iam_role_policy\" \"latent_budget\" {{\n  \
               name   = {role}\n  role   = aws_iam_role.latent_budget.id\n  policy = jsonencode({execution})\n}}\n\n\
             resource \"aws_budgets_budget_action\" \"latent\" {{\n  \
               budget_name        = aws_budgets_budget.latent.name\n  action_type        = \"APPLY_IAM_POLICY\"\n  \
               approval_model     = \"AUTOMATIC\"\n  notification_type  = \"ACTUAL\"\n  \
               execution_role_arn = aws_iam_role.latent_budget.arn\n\n  \
               action_threshold {{\n    action_threshold_type  = \"PERCENTAGE\"\n    action_threshold_value = 100\n  }}\n\n  \
               definition {{\n    iam_action_definition {{\n      policy_arn = aws_iam_policy.latent_over_budget.arn\n      \
               roles      = {roles}\n    }}\n  }}\n\n  \
               subscriber {{\n    address           = {subscriber}\n    subscription_type = \"EMAIL\"\n  }}\n}}\n",
            name = quoted(&self.name),
            amount = quoted(&self.amount),
            services = list(&services),
            over = quoted(&over),
            deny = indented(&Self::deny()),
            role = quoted(&role),
            trust = indented(&self.trust()),
            execution = indented(&self.execution()),
            roles = list(&self.roles),
            subscriber = quoted(&self.address),
        );
        text
    }
}

/// Whether a text is one mail address that no template language reads as something else.
fn is_address(text: &str) -> bool {
    let plain = |part: &str, more: &[u8]| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(name, host)| plain(name, b"._%+-") && plain(host, b".-") && host.contains('.'))
        && !text.contains("%{")
}
