//! EC2's query parameters as a tree: `Filter.1.Value.2` is the second `Value` of the first `Filter`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::sim::error::ApiError;

/// More parameters than any call needs; EC2 has its own bound.
const PARAMETERS_MAX: usize = 20_000;
/// Deeper than any parameter of EC2 goes.
const DEPTH_MAX: usize = 12;

/// A parameter, or a group of parameters with a common beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    path: String,
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

static NOTHING: Node = Node { path: String::new(), value: None, children: BTreeMap::new() };

/// The refusal of a parameter that must be there.
pub(super) fn missing(name: &str) -> ApiError {
    ApiError::client("MissingParameter", format!("The request must contain the parameter {name}"))
}

/// The refusal of parameters that do not go together.
pub(super) fn combination(message: impl Into<String>) -> ApiError {
    ApiError::client("InvalidParameterCombination", message)
}

impl Node {
    /// The tree of a form-encoded text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ApiError> {
        let mut root = Node::default();
        let malformed = |message: &str| ApiError::client("MalformedQueryString", message);
        for (count, (name, value)) in form_urlencoded::parse(text).enumerate() {
            if count >= PARAMETERS_MAX {
                return Err(malformed("The query string has too many parameters."));
            }
            if name.split('.').count() > DEPTH_MAX {
                return Err(malformed("The query string contains a syntax error."));
            }
            root.insert(&name, value.into_owned());
        }
        Ok(root)
    }

    /// Everything below, by its path from here.
    pub(super) fn flat(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        self.flatten(self.path.len(), &mut all);
        all
    }

    fn flatten(&self, skip: usize, all: &mut BTreeMap<String, String>) {
        if let Some(value) = &self.value {
            all.insert(self.path[skip..].trim_start_matches('.').to_owned(), value.clone());
        }
        self.children.values().for_each(|child| child.flatten(skip, all));
    }

    /// The tree of parameters by their paths.
    pub(super) fn from_flat(all: &BTreeMap<String, String>) -> Self {
        let mut root = Node::default();
        for (name, value) in all {
            root.insert(name, value.clone());
        }
        root
    }

    /// This, with everything of `other` instead of what it has of the same name.
    pub(super) fn overlaid(&self, other: &Node) -> Self {
        let mut whole = self.clone();
        whole.children.extend(other.children.iter().map(|(name, node)| (name.clone(), node.clone())));
        whole
    }

    fn insert(&mut self, name: &str, value: String) {
        let mut node = self;
        for step in name.split('.') {
            let path = if node.path.is_empty() { step.to_owned() } else { format!("{}.{step}", node.path) };
            node = node.children.entry(step.to_owned()).or_default();
            node.path = path;
        }
        node.value = Some(value);
    }

    /// Whether nothing was said here.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none() && self.children.is_empty()
    }

    /// The names of the parameters right below.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.children.keys().map(String::as_str)
    }

    /// The part below a name; an empty one if there is none.
    pub(super) fn part(&self, name: &str) -> &Node {
        self.children.get(name).unwrap_or(&NOTHING)
    }

    /// The numbered parts of a list, in the order of their numbers.
    pub(super) fn list(&self, name: &str) -> Vec<&Node> {
        let mut parts: Vec<(u32, &Node)> =
            self.part(name).children.iter().filter_map(|(number, node)| Some((number.parse().ok()?, node))).collect();
        parts.sort_by_key(|(number, _)| *number);
        parts.into_iter().map(|(_, node)| node).collect()
    }

    /// The texts of a list; a bare value counts as a list of one.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        let bare = self.part(name).value.as_deref();
        bare.into_iter().chain(self.list(name).into_iter().filter_map(|node| node.value.as_deref())).collect()
    }

    /// The text of a parameter, if it was said.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.part(name).value.as_deref()
    }

    /// The text of a parameter that says something.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The text of a parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.filled(name).ok_or_else(|| missing(&self.path_of(name)))
    }

    /// The texts of a list that must not be empty.
    pub(super) fn required_texts(&self, name: &str) -> Result<Vec<&str>, ApiError> {
        let texts = self.texts(name);
        if texts.is_empty() { Err(missing(&self.path_of(name))) } else { Ok(texts) }
    }

    /// A truth value.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.text(name)
            .map(|text| match text {
                "true" | "True" | "TRUE" | "1" => Ok(true),
                "false" | "False" | "FALSE" | "0" => Ok(false),
                other => Err(self.invalid(name, other, "Must be a boolean.")),
            })
            .transpose()
    }

    /// A number.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| self.invalid(name, text, "Expected an integer.")))
            .transpose()
    }

    /// A number that fits, such as a size or a count.
    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.int(name)?
            .map(|n| u32::try_from(n).map_err(|_| self.invalid(name, &n.to_string(), "It is out of range.")))
            .transpose()
    }

    /// A time.
    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
        self.text(name)
            .map(|text| {
                let date = || format!("{text}T00:00:00Z").parse();
                text.parse::<DateTime<Utc>>().or_else(|_| date()).map_err(|_| {
                    let message = format!("Invalid date format: {text}. Expected ISO 8601.");
                    ApiError::client("InvalidParameterValue", message)
                })
            })
            .transpose()
    }

    /// The refusal of a parameter's value.
    pub(super) fn invalid(&self, name: &str, value: &str, why: &str) -> ApiError {
        ApiError::invalid_value(format!("Value ({value}) for parameter {} is invalid. {why}", self.path_of(name)))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        Node::parse(text.as_bytes()).expect("parses")
    }

    #[test]
    fn lists_are_in_the_order_of_their_numbers_and_structures_nest() {
        let root = tree(
            "Filter.10.Name=c&Filter.2.Name=b&Filter.2.Value.2=y&Filter.2.Value.1=x%20x&Placement.AvailabilityZone=z",
        );
        let filters = root.list("Filter");
        assert_eq!(filters.iter().map(|f| f.text("Name")).collect::<Vec<_>>(), [Some("b"), Some("c")]);
        assert_eq!(filters[0].texts("Value"), ["x x", "y"]);
        assert_eq!(root.part("Placement").text("AvailabilityZone"), Some("z"));
        assert!(root.part("Nothing").part("Here").is_empty());
    }

    #[test]
    fn refusals_name_the_parameter_as_it_was_written() {
        let root = tree("BlockDeviceMapping.1.Ebs.VolumeSize=ten&DryRun=maybe&When=soon");
        let ebs = root.list("BlockDeviceMapping")[0].part("Ebs");
        assert_eq!(
            ebs.int("VolumeSize").expect_err("no number").message,
            "Value (ten) for parameter BlockDeviceMapping.1.Ebs.VolumeSize is invalid. Expected an integer."
        );
        assert_eq!(root.flag("DryRun").expect_err("no boolean").code, "InvalidParameterValue");
        assert_eq!(root.time("When").expect_err("no time").code, "InvalidParameterValue");
        let error = root.required("ImageId").expect_err("absent");
        assert_eq!(error.message, "The request must contain the parameter ImageId");
    }

    #[test]
    fn a_hostile_text_is_bounded() {
        assert!(Node::parse("a.".repeat(100).as_bytes()).is_err());
        assert!(Node::parse("a=1&".repeat(PARAMETERS_MAX + 1).as_bytes()).is_err());
        assert!(Node::parse(b"%ff%00=%zz&&=").is_ok());
    }
}
