//! `[rebake]`: how a new generation of an image is made, and when it is trusted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use toml::de::DeTable;

use super::document::Document;
use super::image::{Image, Platform, resource_ids};
use super::intent::{Known, layers};
use super::key::REBAKE_KEYS;
use super::problem::{Problem, Problems};
use super::reader::{Layer, Located, Reader};
use super::window::Window;
use crate::model::ImageName;

/// How a builder is told what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// By Systems Manager where it can be used, else by user data.
    Auto,
    /// By user data; it answers on its console.
    UserData,
    /// By Run Command of Systems Manager.
    Ssm,
}

/// How a system is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the word of the same name, documented in default.toml")]
pub enum Recipe {
    Auto,
    Apt,
    Dnf,
    Freebsd,
    Windows,
}

/// How a new generation of an image is made, and when it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of the same name, documented in default.toml")]
pub struct RebakePolicy {
    pub channel: Channel,
    pub recipe: Recipe,
    pub rounds_max: u32,
    pub deadline: TimeDelta,
    pub instance_type: Option<String>,
    pub instance_profile: Option<String>,
    pub security_groups: Vec<String>,
    /// The key `service`.
    pub services: Vec<String>,
    pub worker_version: Option<String>,
    pub clean: Vec<String>,
    pub script: Option<String>,
    pub sysprep: bool,
    pub smoke_builder: Option<String>,
    pub window: Vec<Window>,
    pub soak_starts: u32,
    pub soak_for: TimeDelta,
    pub retire: bool,
}

impl Channel {
    /// Our word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Auto => "auto",
            Channel::UserData => "user-data",
            Channel::Ssm => "ssm",
        }
    }
}

impl Recipe {
    /// Our word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Recipe::Auto => "auto",
            Recipe::Apt => "apt",
            Recipe::Dnf => "dnf",
            Recipe::Freebsd => "freebsd",
            Recipe::Windows => "windows",
        }
    }

    /// Whether such a system may be brought up to date so.
    fn fits(self, platform: Platform) -> bool {
        match self {
            Recipe::Auto => true,
            Recipe::Apt | Recipe::Dnf => platform == Platform::Linux,
            Recipe::Freebsd => platform == Platform::Freebsd,
            Recipe::Windows => platform == Platform::Windows,
        }
    }
}

impl RebakePolicy {
    /// Whether the controller may begin a rebake by itself at this time.
    pub fn may_begin(&self, at: DateTime<Utc>) -> bool {
        self.window.iter().any(|window| window.contains(at))
    }

    /// When the next window begins, `at` itself included; none if there is no window.
    pub fn next_window(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.window.iter().map(|window| window.next_start(at)).min()
    }

    /// What holds where there is no configuration.
    ///
    /// # Errors
    /// [`Problems`] if the built-in default were wrong, which a test rules out.
    pub fn built_in() -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let document = Document::parse("built-in default", super::DEFAULT_TOML, &mut problems);
        let policy = read(layers(&document, &document, &DeTable::new(), "rebake"), &mut problems);
        policy.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// Reads the table; the lowest layer is the embedded default, so nothing is missing. `platform` is that
    /// of the image, if it is read for one.
    pub(super) fn read(reader: &mut Reader<'_, '_>, platform: Option<Platform>) -> Option<Self> {
        let channel = reader.choice("channel").map(|word| match word.value.as_str() {
            "user-data" => Channel::UserData,
            "ssm" => Channel::Ssm,
            _ => Channel::Auto,
        });
        let recipe = recipe(reader, platform);
        let rounds_max = reader.count("rounds_max");
        let (deadline, soak_for) = (reader.span("deadline"), reader.span("soak_for"));
        let (instance_type, instance_profile) = (reader.text("instance_type"), reader.text("instance_profile"));
        let security_groups =
            if reader.has("security_groups") { resource_ids(reader, "security_groups", "sg-") } else { Vec::new() };
        let services = services(reader);
        let worker_version = worker_version(reader);
        let clean = clean(reader, platform);
        let script = reader.text("script");
        let sysprep = sysprep(reader, platform);
        let smoke_builder = smoke_builder(reader);
        let window = windows(reader);
        let soak_starts = reader.count("soak_starts");
        let retire = reader.flag("retire");
        Some(Self {
            channel: channel?,
            recipe: recipe?,
            rounds_max: rounds_max?.value,
            deadline: deadline?.value,
            instance_type: instance_type.map(|text| text.value),
            instance_profile: instance_profile.map(|text| text.value),
            security_groups,
            services,
            worker_version,
            clean,
            script: script.map(|text| text.value),
            sysprep: sysprep?,
            smoke_builder,
            window,
            soak_starts: soak_starts?.value,
            soak_for: soak_for?.value,
            retire: retire?.value,
        })
    }
}

/// The policy that holds for all images.
pub(super) fn read(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<RebakePolicy> {
    let mut reader = Reader::new(layers, REBAKE_KEYS, "rebake", problems);
    let policy = RebakePolicy::read(&mut reader, None);
    reader.finish();
    policy
}

/// The owners' scripts that rebakes run are files in `amis/`.
pub(super) fn scripts_are_there(
    images: &BTreeMap<ImageName, Known<Image>>,
    templates: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    for (image, shown) in images.values() {
        let at = shown.iter().find(|value| value.key == "rebake.script").map(|value| value.at.clone());
        if let (Some(file), Some(at)) = (&image.rebake.script, at)
            && !templates.contains_key(file)
        {
            problems.push(Problem {
                at,
                key: "rebake.script".to_owned(),
                value: Some(format!("{file:?}")),
                message: "there is no such file in amis/".to_owned(),
                cure: "create it, or correct the name".to_owned(),
            });
        }
    }
}

/// The layers of an image's table: its own before those that hold for all.
pub(super) fn layers_of<'a>(own: Option<Layer<'a>>, base: &[Layer<'a>]) -> Vec<Layer<'a>> {
    own.into_iter().chain(base.iter().copied()).collect()
}

/// What `[rebake]` of latent.toml says holds for each image, so one that it cannot hold for is a mistake too.
const PLACE: &str = "what not every image can have belongs into the manifests";

fn recipe(reader: &mut Reader<'_, '_>, platform: Option<Platform>) -> Option<Recipe> {
    let word = reader.choice("recipe")?;
    let recipe = match word.value.as_str() {
        "apt" => Recipe::Apt,
        "dnf" => Recipe::Dnf,
        "freebsd" => Recipe::Freebsd,
        "windows" => Recipe::Windows,
        _ => Recipe::Auto,
    };
    if let Some(platform) = platform.filter(|platform| !recipe.fits(*platform)) {
        let message = format!("does not fit an image whose platform is {}", platform.as_str());
        let cure = format!("write \"auto\", or correct one of the two; {PLACE}");
        tell(reader, "recipe", &word, message, &cure);
    }
    Some(recipe)
}

fn sysprep(reader: &mut Reader<'_, '_>, platform: Option<Platform>) -> Option<bool> {
    let flag = reader.flag("sysprep")?;
    if let Some(platform) = platform.filter(|platform| flag.value && *platform != Platform::Windows) {
        let message = format!("is for Windows alone, and the image's platform is {}", platform.as_str());
        reader.report(flag.at, "sysprep", Some("true".to_owned()), message, format!("remove it; {PLACE}"));
    }
    Some(flag.value)
}

/// Names go into commands: what could be anything but a name is refused.
fn services(reader: &mut Reader<'_, '_>) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':');
    let mut names = Vec::new();
    for text in reader.texts("service").unwrap_or_default() {
        let first = text.value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if first && text.value.len() <= 80 && text.value.chars().all(plain) {
            names.push(text.value);
        } else {
            let cure = "write the name that systemctl, service or Get-Service takes: letters, digits, '-', '_', \
                        '.', '@' or ':', not the name that is shown";
            tell(reader, "service", &text, "is not the name of a service", cure);
        }
    }
    names
}

fn worker_version(reader: &mut Reader<'_, '_>) -> Option<String> {
    let text = reader.text("worker_version")?;
    let number = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.value.split('.').all(number) && (1..=4).contains(&text.value.split('.').count()) {
        return Some(text.value);
    }
    let cure = "write numbers with dots between them, such as \"4.0\" or \"4.0.4\"";
    tell(reader, "worker_version", &text, "is not a version", cure);
    None
}

/// Whole paths of folders. That they are emptied makes the short ones dangerous.
fn clean(reader: &mut Reader<'_, '_>, platform: Option<Platform>) -> Vec<String> {
    let mut paths = Vec::new();
    for text in reader.list("clean").unwrap_or_default() {
        let Some(of_windows) = folder(&text.value) else {
            let cure = "write the whole path of a folder, such as \"/srv/ccache\" or \"C:\\\\cache\": no '..', no \
                        pattern, and not a whole disk";
            tell(reader, "clean", &text, "is not a folder that can be emptied", cure);
            continue;
        };
        match platform.filter(|platform| of_windows != (*platform == Platform::Windows)) {
            Some(platform) => {
                let message = format!("is no path of {}, the image's platform", platform.as_str());
                tell(reader, "clean", &text, message, &format!("correct it; {PLACE}"));
            }
            None => paths.push(text.value),
        }
    }
    paths
}

/// Whether a whole path is one of Windows; none if it is no such path, or names a whole disk.
fn folder(path: &str) -> Option<bool> {
    let plain = |c: char| !c.is_control() && !"*?[]{}<>|\"'`$;&!%^".contains(c);
    let mut start = path.chars();
    let (of_windows, rest) = match (start.next()?, start.next(), start.next()) {
        ('/', ..) => (false, &path[1..]),
        (drive, Some(':'), Some('\\' | '/')) if drive.is_ascii_alphabetic() => (true, &path[3..]),
        _ => return None,
    };
    let parts: Vec<&str> = rest.split(|c| c == '/' || (of_windows && c == '\\')).collect();
    let named = parts.iter().any(|part| !part.is_empty()) && !parts.iter().any(|part| matches!(*part, "." | ".."));
    (named && path.len() <= 255 && rest.chars().all(|c| plain(c) && c != ':')).then_some(of_windows)
}

fn smoke_builder(reader: &mut Reader<'_, '_>) -> Option<String> {
    let text = reader.text("smoke_builder")?;
    if text.value.chars().count() <= 100 && !text.value.chars().any(char::is_control) {
        return Some(text.value);
    }
    tell(reader, "smoke_builder", &text, "is not the name of a builder", "write its name as master.cfg has it");
    None
}

fn windows(reader: &mut Reader<'_, '_>) -> Vec<Window> {
    let mut windows = Vec::new();
    for text in reader.list("window").unwrap_or_default() {
        match Window::from_str(&text.value) {
            Ok(window) => windows.push(window),
            Err(error) => {
                let cure = "write \"Sat 02:00-06:00\" for one day of the week or \"02:00-06:00\" for every day, in UTC; \
                            the end of a day is 24:00";
                tell(reader, "window", &text, error, cure);
            }
        }
    }
    windows
}

fn tell(reader: &mut Reader<'_, '_>, key: &'static str, text: &Located<String>, message: impl Display, cure: &str) {
    reader.report(text.at.clone(), key, Some(format!("{:?}", text.value)), message, cure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_empty_is_a_whole_path_and_no_disk() {
        for (path, of_windows) in [("/srv/ccache", false), ("/a", false), ("/a b/c/", false), ("C:\\cache", true)] {
            assert_eq!(folder(path), Some(of_windows), "{path}");
        }
        for bad in [
            "",
            "/",
            "//",
            "/.",
            "/srv/..",
            "/srv/../etc",
            "srv",
            "~/x",
            "C:",
            "C:\\",
            "C:cache",
            "C:\\a\\..",
            "/a*",
            "/a\n",
            "/$HOME",
            "/a;b",
            "/a'b",
            "\\\\host\\share",
            "é:\\x",
            "C:\\a:b",
        ] {
            assert_eq!(folder(bad), None, "{bad:?}");
        }
    }
}
