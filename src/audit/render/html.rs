//! The report for a browser: one file, no script, no network, from a mail as good as from a server.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use sha2::{Digest as _, Sha256};

use super::page::Page;

const TEMPLATE: &str = include_str!("report.html.j2");
const STYLE: &str = include_str!("style.css");

/// Everything that the page shows is escaped by the template's engine; only our own style is not.
pub(super) fn render(page: &Page) -> String {
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("the usual syntax"));
    let values = context! {
        page => Serde(page),
        style => Value::from_safe_string(STYLE.to_owned()),
        style_digest => BASE64_STANDARD.encode(Sha256::digest(STYLE)),
    };
    environment.render_str(TEMPLATE, values).expect("a template that the tests have rendered")
}
