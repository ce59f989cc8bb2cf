//! Launch templates, and CreateFleet of type `instant`: what there is is launched, the rest is said.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::instance::{RunInstances, SpotOptions, Tags};
use super::site::Site;
use crate::model::InstanceId;

/// One version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// What it says: parameters of RunInstances, by their names.
    pub data: BTreeMap<String, String>,
    /// When it was made.
    pub created: DateTime<Utc>,
}

/// A launch template. Its first version is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: String,
    /// Its name, unique in the account and region.
    pub name: String,
    /// Its versions; the first one is number 1.
    pub versions: Vec<TemplateVersion>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Its tags.
    pub tags: Tags,
}

/// One of the launches that a fleet may choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The template's id.
    pub template: String,
    /// What is launched.
    pub params: RunInstances,
    /// The type, subnet and zone that override the template's.
    pub overrides: [Option<String>; 3],
}

/// What is asked of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetRequest {
    /// What to choose from, in the order of preference.
    pub choices: Vec<Choice>,
    /// How many from the spot market.
    pub spot: u32,
    /// How many at the list price.
    pub on_demand: u32,
    /// Fewer than so many of a market are none.
    pub least: u32,
}

/// What came of one choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which choice.
    pub choice: usize,
    /// Whether from the spot market.
    pub spot: bool,
    /// The instances, or why there are none.
    pub result: Result<Vec<InstanceId>, ApiError>,
}

/// A fleet that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Its id.
    pub id: String,
    /// What was asked.
    pub request: FleetRequest,
    /// What came of it.
    pub tried: Vec<Tried>,
}

fn unknown_template(named: &str) -> ApiError {
    let message = format!("The specified launch template, with template {named}, does not exist.");
    let code = if named.starts_with("lt-") {
        "InvalidLaunchTemplateId.NotFound"
    } else {
        "InvalidLaunchTemplateName.NotFoundException"
    };
    ApiError::client(code, message)
}

impl Site {
    /// A launch template by its id or name.
    ///
    /// # Errors
    /// `InvalidLaunchTemplateId.NotFound`, `InvalidLaunchTemplateName.NotFoundException`.
    pub fn template(&self, named: &str) -> Result<&Template, ApiError> {
        let by_name = || self.templates.values().find(|template| template.name == named);
        self.templates.get(named).or_else(by_name).ok_or_else(|| unknown_template(named))
    }

    /// CreateLaunchTemplate.
    ///
    /// # Errors
    /// `InvalidLaunchTemplateName.AlreadyExistsException`.
    pub fn create_template(
        &mut self,
        name: &str,
        data: BTreeMap<String, String>,
        tags: Tags,
        now: DateTime<Utc>,
    ) -> Result<&Template, ApiError> {
        if self.templates.values().any(|template| template.name == name) {
            let message = "Launch template name already in use.";
            return Err(ApiError::client("InvalidLaunchTemplateName.AlreadyExistsException", message));
        }
        let id = self.new_id("lt");
        let versions = vec![TemplateVersion { data, created: now }];
        let template = Template { id: id.clone(), name: name.to_owned(), versions, created: now, tags };
        Ok(self.templates.entry(id).or_insert(template))
    }

    /// CreateLaunchTemplateVersion: the template, and the number of its new version.
    ///
    /// # Errors
    /// Those of an unknown template.
    pub fn add_template_version(
        &mut self,
        named: &str,
        data: BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Result<(&Template, usize), ApiError> {
        let id = self.template(named)?.id.clone();
        let template = self.templates.get_mut(&id).ok_or_else(|| unknown_template(named))?;
        template.versions.push(TemplateVersion { data, created: now });
        let number = template.versions.len();
        Ok((template, number))
    }

    /// What refers to an image, as DescribeImageReferences tells it: its kind and its ARN. Here that is what
    /// the listings of instances and of launch templates show as well.
    pub fn references_to(&self, image: &str) -> Vec<(&'static str, String)> {
        let arn = |what: &str, id: &str| format!("arn:aws:ec2:{}:{}:{what}/{id}", self.region, self.account);
        let runs = self.instances.values().filter(|i| i.params.image == image && !i.is_over());
        let named = |template: &&Template| {
            template.versions.iter().any(|version| version.data.get("ImageId").is_some_and(|own| own == image))
        };
        let instances = runs.map(|instance| ("ec2:Instance", arn("instance", instance.id.as_str())));
        let templates = self.templates.values().filter(named);
        instances.chain(templates.map(|t| ("ec2:LaunchTemplate", arn("launch-template", &t.id)))).collect()
    }

    /// DeleteLaunchTemplate.
    ///
    /// # Errors
    /// Those of an unknown template.
    pub fn delete_template(&mut self, named: &str) -> Result<Template, ApiError> {
        let template = self.template(named)?.clone();
        self.templates.remove(&template.id);
        Ok(template)
    }

    /// CreateFleet, instant: each choice in turn, until there is enough. Never refused for want of capacity.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch`.
    pub fn create_fleet(
        &mut self,
        request: FleetRequest,
        token: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Fleet, ApiError> {
        if let Some(known) = token.and_then(|token| self.fleets.get(token)) {
            if known.request == request {
                return Ok(known.clone());
            }
            let message = "The request uses the same client token as a previous, but non-identical request.";
            return Err(ApiError::client("IdempotentParameterMismatch", message));
        }
        let mut fleet = Fleet { id: self.new_id("fleet"), request, tried: Vec::new() };
        let markets = [(false, fleet.request.on_demand), (true, fleet.request.spot)];
        for (spot, wanted) in markets {
            let tried = self.try_choices(&fleet.request, spot, wanted, now);
            fleet.tried.extend(tried);
        }
        if let Some(token) = token {
            self.fleets.insert(token.to_owned(), fleet.clone());
        }
        Ok(fleet)
    }

    fn try_choices(&mut self, request: &FleetRequest, spot: bool, wanted: u32, now: DateTime<Utc>) -> Vec<Tried> {
        let (mut tried, mut missing) = (Vec::new(), wanted);
        for (choice, one) in request.choices.iter().enumerate() {
            if missing == 0 {
                break;
            }
            let options = SpotOptions { max_price: None, persistent: false, interruption: "terminate".to_owned() };
            let market = spot.then(|| one.params.spot.clone().unwrap_or(options));
            let params = RunInstances { min: 1, max: missing, spot: market, ..one.params.clone() };
            let result = self.launch_of_fleet(&params, now);
            if let Ok(instances) = &result {
                missing = missing.saturating_sub(u32::try_from(instances.len()).unwrap_or(u32::MAX));
            }
            tried.push(Tried { choice, spot, result });
        }
        if wanted.saturating_sub(missing) < request.least.min(wanted) {
            self.take_back(&mut tried, now);
        }
        tried
    }

    /// The instances of a fleet are counted by the bucket of RunInstances.
    fn launch_of_fleet(&mut self, params: &RunInstances, now: DateTime<Utc>) -> Result<Vec<InstanceId>, ApiError> {
        if !self.pace.unthrottled && !self.buckets.take_resources("RunInstances", params.max, now) {
            return Err(ApiError::throttled(&self.account, "RunInstances"));
        }
        self.run_instances(params, None, now)
    }

    /// Fewer than the least: what was launched ends again.
    fn take_back(&mut self, tried: &mut [Tried], now: DateTime<Utc>) {
        for one in tried {
            let message = "The minimum target capacity could not be fulfilled.";
            let short = Err(ApiError::client("UnfulfillableCapacity", message));
            if let Ok(instances) = std::mem::replace(&mut one.result, short.clone()) {
                for id in instances {
                    self.end_from_outside(&id, now, "Server.InsufficientInstanceCapacity");
                }
            }
        }
    }
}
