//! Answers in EC2's XML.

use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, Utc};
use quick_xml::escape::partial_escape;

use crate::sim::error::ApiError;

/// The namespace of EC2's answers.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// The namespace of STS's answers.
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Xml {
    text: String,
}

impl Xml {
    /// `<name>value</name>`.
    pub(super) fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        self.open(name);
        let value: String = value.as_ref().chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect();
        // A bare carriage return would be read back as a line feed.
        self.text.push_str(&partial_escape(&value).replace('\r', "&#13;"));
        self.close(name)
    }

    /// A number, or anything else whose text needs no escaping.
    pub(super) fn plain(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.text(name, value.to_string())
    }

    /// `<name>value</name>` if there is a value.
    pub(super) fn opt(&mut self, name: &str, value: Option<impl AsRef<str>>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// A truth value.
    pub(super) fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.text(name, if value { "true" } else { "false" })
    }

    /// A time, with milliseconds as EC2 writes them.
    pub(super) fn time(&mut self, name: &str, at: DateTime<Utc>) -> &mut Self {
        self.text(name, at.to_rfc3339_opts(SecondsFormat::Millis, true))
    }

    /// A structure.
    pub(super) fn within(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        fill(self);
        self.close(name)
    }

    /// A set: each of `items` becomes an `<item>`.
    pub(super) fn set<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.open(name);
        for item in items {
            self.within("item", |xml| fill(xml, item));
        }
        self.close(name)
    }

    /// A set of texts: each `<item>` is one.
    pub(super) fn set_of_texts<'a>(&mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.open(name);
        for text in texts {
            self.text("item", text);
        }
        self.close(name)
    }

    fn open(&mut self, name: &str) -> &mut Self {
        self.text.extend(["<", name, ">"]);
        self
    }

    fn close(&mut self, name: &str) -> &mut Self {
        self.text.extend(["</", name, ">"]);
        self
    }
}

/// What XML 1.0 can hold at all.
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The answer to a call of EC2.
pub(super) fn ec2_answer(action: &str, request_id: &str, body: &Xml) -> String {
    let mut xml = Xml::default();
    xml.text.extend([DECLARATION, "<", action, "Response xmlns=\"", EC2, "\">"]);
    xml.text("requestId", request_id);
    xml.text.extend([&body.text, "</", action, "Response>"]);
    xml.text
}

/// The answer to a call of STS.
pub(super) fn sts_answer(action: &str, request_id: &str, body: &Xml) -> String {
    let mut xml = Xml::default();
    xml.text.extend(["<", action, "Response xmlns=\"", STS, "\">"]);
    xml.within(&format!("{action}Result"), |xml| xml.text.push_str(&body.text));
    xml.within("ResponseMetadata", |xml| {
        xml.text("RequestId", request_id);
    });
    xml.text.extend(["</", action, "Response>"]);
    xml.text
}

/// A refusal of EC2.
pub(super) fn ec2_refusal(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml { text: DECLARATION.to_owned() };
    xml.within("Response", |xml| {
        xml.within("Errors", |xml| {
            xml.within("Error", |xml| {
                xml.text("Code", &error.code).text("Message", &error.message);
            });
        });
        xml.text("RequestID", request_id);
    });
    xml.text
}

/// A refusal of STS.
pub(super) fn sts_refusal(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::default();
    xml.text.extend(["<ErrorResponse xmlns=\"", STS, "\">"]);
    xml.within("Error", |xml| {
        let sort = if error.status < 500 { "Sender" } else { "Receiver" };
        xml.text("Type", sort).text("Code", &error.code).text("Message", &error.message);
    });
    xml.text("RequestId", request_id);
    xml.text.push_str("</ErrorResponse>");
    xml.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tag_holds_cannot_break_the_document() {
        let mut xml = Xml::default();
        xml.set("tagSet", ["</item><b a=\"1\">&\u{1b}\r\n\u{ffff}"], |xml, value| {
            xml.text("value", value);
        });
        assert_eq!(
            xml.text,
            "<tagSet><item><value>&lt;/item&gt;&lt;b a=\"1\"&gt;&amp;\u{fffd}&#13;\n\u{fffd}</value></item></tagSet>"
        );
    }

    #[test]
    fn answers_and_refusals_have_the_shapes_of_their_service() {
        let mut body = Xml::default();
        body.set("instancesSet", ["i-1"], |xml, id| {
            xml.text("instanceId", id);
        });
        let answer = ec2_answer("StartInstances", "r-1", &body);
        assert!(answer.ends_with(
            "<StartInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
             <instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></StartInstancesResponse>"
        ));
        let error = ApiError::client("InvalidAction", "no");
        assert!(ec2_refusal(&error, "r").ends_with(
            "<Response><Errors><Error><Code>InvalidAction</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>"
        ));
        assert!(sts_refusal(&error, "r").contains("<Error><Type>Sender</Type><Code>InvalidAction</Code>"));
        assert!(
            sts_answer("AssumeRole", "r", &Xml::default())
                .contains("<AssumeRoleResult></AssumeRoleResult><ResponseMetadata>")
        );
    }
}
