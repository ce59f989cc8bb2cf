//! Makes HTML of what is to be shown. Every text is escaped, and freed of what would change its direction.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, Value, context};

use crate::model::plain;

/// The templates, read once.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

const TEMPLATES: [(&str, &str); 5] = [
    ("layout", include_str!("layout.html")),
    ("fleet", include_str!("fleet.html")),
    ("worker", include_str!("worker.html")),
    ("login", include_str!("login.html")),
    ("notice", include_str!("notice.html")),
];

impl Templates {
    /// # Errors
    /// A template with a mistake, which a test rules out.
    pub(super) fn new() -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(Self(environment))
    }

    /// A whole page.
    pub(super) fn page(&self, title: &str, template: &str, content: &serde_json::Value) -> Result<String, Error> {
        let mut content = content.clone();
        harmless(&mut content);
        let body = self.0.get_template(template)?.render(Value::from(Serde(&content)))?;
        let live = content.get("seq").is_some();
        let values = context! { title => plain(title), body => Value::from_safe_string(body), live };
        self.0.get_template("layout")?.render(values)
    }
}

/// Takes control characters and direction marks out of every text.
fn harmless(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = plain(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(harmless),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(harmless),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_says_it_is_only_a_text() {
        let hostile = "</p><script>alert(1)</script><img src=x onerror='1'>\u{202e}\u{1b}[31m\"";
        let content = serde_json::json!({ "title": hostile, "text": hostile });
        let page = Templates::new().and_then(|all| all.page(hostile, "notice", &content)).expect("a page");
        assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("onerror='"), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
        assert_eq!(page.matches("&lt;script&gt;alert").count(), 3, "{page}");
    }
}
