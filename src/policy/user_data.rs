//! User data: rendered from the owner's template, known elsewhere by its digest alone.

use minijinja::{Environment, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::secret::Secret;
use crate::model::{ImageName, OwnerName, WorkerName};

/// EC2's limit before base64, in bytes.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;

/// Rendered user data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserData {
    /// The text; it may hold the worker's password.
    pub text: Secret,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
}

/// What a template may name.
pub(super) struct Names<'a> {
    pub(super) fleet: &'a str,
    pub(super) owner: &'a OwnerName,
    pub(super) worker: &'a WorkerName,
    pub(super) image: &'a ImageName,
    pub(super) master: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
}

impl UserData {
    /// Renders a template. The error names the line, never a value.
    pub(super) fn render(template: &str, names: &Names<'_>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("sh", |text: String| {
            shlex::try_quote(&text).map(std::borrow::Cow::into_owned).map_err(|_| {
                minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "a value with a NUL cannot be quoted")
            })
        });
        let (host, port) = names.master.and_then(|m| m.rsplit_once(':')).unzip();
        let text = environment
            .render_str(
                template,
                context! {
                    fleet => names.fleet,
                    owner => names.owner.as_str(),
                    worker => names.worker.as_str(),
                    image => names.image.as_str(),
                    master => names.master,
                    master_host => host,
                    master_port => port,
                    password => names.password.map(Secret::reveal),
                },
            )
            .map_err(|error| match error.line() {
                Some(line) => format!("line {line}: {}", error.kind()),
                None => error.kind().to_string(),
            })?;
        if text.len() > USER_DATA_BYTES_MAX {
            return Err(format!("{} bytes, and EC2 takes {USER_DATA_BYTES_MAX}", text.len()));
        }
        let digest = crate::model::digest_hex(&Sha256::digest(text.as_bytes()));
        Ok(Self { text: Secret::new(text), digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, password: &str) -> Result<UserData, String> {
        let secret = Secret::new(password.to_owned());
        UserData::render(
            template,
            &Names {
                fleet: "f",
                owner: &"o".parse().expect("valid"),
                worker: &"w".parse().expect("valid"),
                image: &"i".parse().expect("valid"),
                master: Some("host:9989"),
                password: Some(&secret),
            },
        )
    }

    #[test]
    fn values_can_be_quoted_for_a_shell() {
        let data = render("P={{ password | sh }} H={{ master_host }}", "a'b $(c)").expect("renders");
        assert_eq!(shlex::split(data.text.reveal()).expect("a shell line"), ["P=a'b $(c)", "H=host"]);
        assert!(!format!("{data:?}").contains("$(c)"));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_holds_no_value() {
        let error = render("{{ password }}{{ nonsense }}", "hush").expect_err("unknown name");
        assert!(error.contains("line 1") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn what_ec2_would_refuse_for_its_length_is_refused_here() {
        assert!(render(&"x".repeat(USER_DATA_BYTES_MAX + 1), "").is_err());
    }
}
