//! User data: rendered from the owner's template, known elsewhere by its digest alone.

use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior, Value, context};
use sha2::{Digest, Sha256};

use super::join::{self, JoinKey};
use super::secret::Secret;
use crate::model::{AttemptId, ImageName, OwnerName, WorkerName};

/// EC2's limit before base64, in bytes.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;

/// Rendered user data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserData {
    text: Text,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
    /// The worker's password, if the text was rendered with it.
    pub password: Option<Secret>,
    /// The template, if one text of it can be for several workers.
    pub shared: Option<Arc<Secret>>,
}

/// A text of which another one has most as well: the lease watch is the same for all workers of an image, and in
/// a large fleet it is kept once. It may hold the worker's password.
#[derive(Debug, Clone)]
struct Text {
    of: Secret,
    /// So many bytes of the beginning and of the end of `of` are its own too.
    common: (usize, usize),
    /// What stands between them.
    own: Secret,
}

impl Text {
    fn new(text: Secret) -> Self {
        Self { of: text, common: (usize::MAX, 0), own: Secret::new(String::new()) }
    }

    fn whole(&self) -> Secret {
        let (of, (begin, end)) = (self.of.reveal(), self.common);
        if begin >= of.len() {
            return self.of.clone();
        }
        Secret::new([&of[..begin], self.own.reveal(), &of[of.len() - end..]].concat())
    }

    /// The same text, as far as possible as parts of another.
    fn within(text: &Secret, of: &Secret) -> Self {
        let (whole, other) = (text.reveal(), of.reveal());
        let same = |(a, b): &(u8, u8)| a == b;
        let mut begin = whole.bytes().zip(other.bytes()).take_while(same).count();
        while !(whole.is_char_boundary(begin) && other.is_char_boundary(begin)) {
            begin -= 1;
        }
        let rests = (&whole[begin..], &other[begin..]);
        let mut end = rests.0.bytes().rev().zip(rests.1.bytes().rev()).take_while(same).count();
        while !(whole.is_char_boundary(whole.len() - end) && other.is_char_boundary(other.len() - end)) {
            end -= 1;
        }
        if begin == other.len() && begin == whole.len() {
            return Self::new(of.clone());
        }
        if begin == other.len() {
            return Self::new(text.clone());
        }
        let own = Secret::new(whole[begin..whole.len() - end].to_owned());
        Self { of: of.clone(), common: (begin, end), own }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for Text {}

/// What a template may name.
pub(super) struct Names<'a> {
    pub(super) fleet: &'a str,
    pub(super) owner: &'a OwnerName,
    pub(super) image: &'a ImageName,
    pub(super) master: Option<&'a str>,
    pub(super) whose: Whose<'a>,
}

impl Names<'_> {
    /// The names that a template may use, for who used another one.
    pub(super) fn known(&self) -> String {
        let own = match &self.whose {
            Whose::One(_) => "worker, password, join_secret",
            Whose::Each(_) => "workers (because of batch_max), each with worker, password, join_secret",
        };
        format!("known names: fleet, owner, image, master, master_host, master_port, {own}; filter: sh")
    }
}

/// Whose instances get a text.
pub(super) enum Whose<'a> {
    /// One worker's, whose names stand for themselves.
    One(Member<'a>),
    /// Several workers', of whom each instance finds its own in `workers` by its launch index.
    Each(Vec<Member<'a>>),
}

/// One worker of a text.
pub(super) struct Member<'a> {
    pub(super) worker: &'a WorkerName,
    pub(super) password: Option<&'a Secret>,
    pub(super) join_secret: &'a str,
}

impl Member<'_> {
    fn value(&self) -> Value {
        context! {
            worker => self.worker.as_str(),
            password => self.password.map(Secret::reveal),
            join_secret => self.join_secret,
        }
    }
}

/// Renders a template. The error names the line, never a value.
pub(super) fn render(template: &str, names: &Names<'_>) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("sh", |text: String| {
        shlex::try_quote(&text).map(std::borrow::Cow::into_owned).map_err(|_| {
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "a value with a NUL cannot be quoted")
        })
    });
    let (host, port) = names.master.and_then(|m| m.rsplit_once(':')).unzip();
    let values = context! {
        fleet => names.fleet,
        owner => names.owner.as_str(),
        image => names.image.as_str(),
        master => names.master,
        master_host => host,
        master_port => port,
    };
    let values = match &names.whose {
        Whose::One(member) => context! { ..values, ..member.value() },
        Whose::Each(members) => {
            context! { workers => members.iter().map(Member::value).collect::<Vec<_>>(), ..values }
        }
    };
    environment.render_str(template, values).map_err(|error| match error.line() {
        Some(line) => format!("line {line}: {}", error.kind()),
        None => error.kind().to_string(),
    })
}

/// A template that renders to just this text: whatever would be the template language's is written as a value.
pub(super) fn as_template(text: &str) -> String {
    let mut template = String::with_capacity(text.len() + 1);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some('{' | '%' | '#') if c == '{' => template.push_str("{{ \"{\" }}"),
            _ => template.push(c),
        }
    }
    // The last line break of a template is not part of what it says.
    match text.chars().last() {
        Some('\n') => template.push('\n'),
        Some('\r') => template.push_str("{{ \"\" }}"),
        _ => {}
    }
    template
}

impl UserData {
    /// The text that the instance of one attempt gets: with its own join secret, where the template has one.
    #[must_use]
    pub fn of_attempt(&self, key: Option<&JoinKey>, worker: &WorkerName, attempt: &AttemptId) -> Self {
        let Some(key) = key else { return self.clone() };
        let whole = self.text();
        if !whole.reveal().contains(join::PLACE) {
            return self.clone();
        }
        let text = whole.reveal().replace(join::PLACE, key.secret(worker, attempt).reveal());
        Self { password: self.password.clone(), shared: self.shared.clone(), ..Self::digested(text) }
    }

    /// A text with its digest, as somebody else has rendered it.
    pub fn new(text: Secret, digest: String, password: Option<Secret>) -> Self {
        Self { text: Text::new(text), digest, password, shared: None }
    }

    pub(super) fn with_password(self, password: Option<Secret>) -> Self {
        Self { password, ..self }
    }

    pub(super) fn with_shared(self, shared: Option<Arc<Secret>>) -> Self {
        Self { shared, ..self }
    }

    /// The text; it may hold the worker's password.
    pub fn text(&self) -> Secret {
        self.text.whole()
    }

    /// The same, with what it has in common with the first one of its image kept there alone.
    pub(super) fn within(self, first: &Self) -> Self {
        let shared = if self.shared == first.shared { first.shared.clone() } else { self.shared };
        Self { text: Text::within(&self.text.whole(), &first.text.of), shared, ..self }
    }

    fn digested(text: String) -> Self {
        let digest = crate::model::digest_hex(&Sha256::digest(text.as_bytes()));
        Self::new(Secret::new(text), digest, None)
    }

    /// Takes a text; `own` is how much of it is the owner's, in bytes. Fails if EC2 would not take it.
    pub(super) fn of(text: String, own: usize) -> Result<Self, String> {
        if text.len() > USER_DATA_BYTES_MAX {
            let watch = match text.len() - own {
                0 => String::new(),
                bytes => format!(" ({bytes} of them for the lease watch)"),
            };
            return Err(format!("{} bytes{watch}, and EC2 takes {USER_DATA_BYTES_MAX}", text.len()));
        }
        Ok(Self::digested(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_texts_have_in_common_is_kept_once_and_each_is_read_back_as_it_was() {
        let all = [
            "",
            "a",
            "aa",
            "aba",
            "abba",
            "\u{e4}b\u{e4}",
            "\u{e4}",
            "\u{e5}b",
            "head one tail",
            "head two tail",
            "head tail",
        ];
        for (text, of) in all.iter().flat_map(|text| all.map(|of| (*text, of))) {
            let (secret, of) = (Secret::new(text.to_owned()), Secret::new(of.to_owned()));
            let kept = Text::within(&secret, &of);
            assert_eq!(kept.whole().reveal(), text, "within {:?}", of.reveal());
            assert_eq!(kept, Text::new(secret));
        }
        let watch = "#".repeat(9000);
        let of = |name: &str| Secret::new(format!("{watch}{name}{watch}"));
        let kept = Text::within(&of("w10"), &of("w1"));
        assert!(kept.own.reveal().len() <= 3, "{}", kept.own.reveal().len());
        assert!(!format!("{kept:?}").contains("##"));
    }

    fn rendered(template: &str, password: &str) -> Result<UserData, String> {
        let secret = Secret::new(password.to_owned());
        let names = Names {
            fleet: "f",
            owner: &"o".parse().expect("valid"),
            image: &"i".parse().expect("valid"),
            master: Some("host:9989"),
            whose: Whose::One(Member {
                worker: &"w".parse().expect("valid"),
                password: Some(&secret),
                join_secret: join::PLACE,
            }),
        };
        let text = render(template, &names)?;
        let own = text.len();
        UserData::of(text, own)
    }

    #[test]
    fn values_can_be_quoted_for_a_shell() {
        let data = rendered("P={{ password | sh }} H={{ master_host }}", "a'b $(c)").expect("renders");
        assert_eq!(shlex::split(data.text().reveal()).expect("a shell line"), ["P=a'b $(c)", "H=host"]);
        assert!(!format!("{data:?}").contains("$(c)"));
    }

    #[test]
    fn a_text_as_a_template_renders_to_itself() {
        let texts = ["", "{", "{{", "{{{", "{{{{ x }}", "a {% if %} {# b #} {{ \"c\" }} }}", "line\n", "two\n\n"];
        let more = ["dos\r\n", "mac\r", "\r\n\n", "{", "{\n", "{{\r\n", "{%- raw -%}{% endraw %}\n", "{{\u{1f600}{#\n"];
        for text in texts.into_iter().chain(more).filter(|text| !text.is_empty()) {
            let data = rendered(&as_template(text), "").expect("renders");
            assert_eq!(data.text().reveal(), text, "{:?}", as_template(text));
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_holds_no_value() {
        let error = rendered("{{ password }}{{ nonsense }}", "hush").expect_err("unknown name");
        assert!(error.contains("line 1") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn what_ec2_would_refuse_for_its_length_is_refused_here() {
        let error = rendered(&"x".repeat(USER_DATA_BYTES_MAX + 1), "").expect_err("too long");
        assert_eq!(error, "16385 bytes, and EC2 takes 16384");
        let error = UserData::of("x".repeat(20_000), 15_000).expect_err("too long");
        assert_eq!(error, "20000 bytes (5000 of them for the lease watch), and EC2 takes 16384");
    }
}
