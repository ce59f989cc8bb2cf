//! What a builder is told to do: the recipes of `amis/recipes` with their settings, as user data or for Run
//! Command. Both carry the same script; it goes on after each reboot by itself.
//!
//! The same arguments give the same text, whose digest is part of the launch's token.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::image::Platform;
use super::lease_watch::bare;
use super::rebake::Recipe;

const DRIVER: &str = include_str!("../../amis/recipes/rebake.sh");
const APT: &str = include_str!("../../amis/recipes/apt.sh");
const DNF: &str = include_str!("../../amis/recipes/dnf.sh");
const FREEBSD: &str = include_str!("../../amis/recipes/freebsd.sh");
const SETUP: &str = include_str!("../../amis/recipes/worker-setup.sh");
const WINDOWS: &str = include_str!("../../amis/recipes/windows.ps1");
const IDENTITY: &str = include_str!("../../amis/guest/identity.sh");

/// EC2's limit of user data, in bytes before base64. A command is held to it as well: one script, one limit.
pub const USER_DATA_MAX: usize = 16 * 1024;
const NONCE_LEN: usize = 32;
/// The length of a line of base64.
const LINE: usize = 76;
const FOLDER: &str = "/var/lib/latent-rebake";

/// What a builder shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebakeScript {
    /// 32 hexadecimal digits that stand in each of its marks.
    pub nonce: String,
    /// How the system is brought up to date; `Auto` is found out by the guest.
    pub recipe: Recipe,
    /// So many rounds of updates at most.
    pub rounds_max: u32,
    /// The worker's services, beside those that the guest finds.
    pub services: Vec<String>,
    /// The lowest version of buildbot-worker that the image may hold.
    pub worker_version: Option<String>,
    /// More files and folders to empty.
    pub clean: Vec<String>,
    /// Windows: whether sysprep runs at the end.
    pub sysprep: bool,
    /// The guest powers itself off after so long, whatever it is doing.
    pub deadline: TimeDelta,
    /// What runs after the updates, as the administrator.
    pub owner_script: Option<String>,
    /// Whether a worker is set up first, on an AMI that has none.
    pub setup: bool,
}

/// Why there is no script for a builder. It holds nothing of the owner's script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {cure}")]
pub struct ScriptError {
    /// What is in the way.
    pub why: String,
    /// What to do.
    pub cure: &'static str,
}

fn refuse<T>(why: impl Into<String>, cure: &'static str) -> Result<T, ScriptError> {
    Err(ScriptError { why: why.into(), cure })
}

/// How a builder learns what to do, and reports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    UserData,
    Ssm,
}

/// The user data of a builder.
///
/// # Errors
/// [`ScriptError`] if the platform is macOS or not the recipe's, a setting could not be passed on unharmed, or all
/// of it is longer than user data may be.
pub fn builder_user_data(platform: Platform, script: &RebakeScript) -> Result<String, ScriptError> {
    let text = match platform {
        // A boot hook runs at every boot, before anything that a worker waits for.
        Platform::Linux => format!("#cloud-boothook\n{}", unix(platform, script, Way::UserData)?),
        Platform::Freebsd => unix(platform, script, Way::UserData)?,
        Platform::Windows => {
            format!("<powershell>\n{}</powershell>\n<persist>true</persist>\n", windows(script, Way::UserData)?)
        }
        Platform::Macos => return macos(),
    };
    short_enough(text)
}

/// The same for Systems Manager's Run Command: it is one script, which exits with 194 (3010 on Windows) to be run
/// again after a reboot.
///
/// # Errors
/// As [`builder_user_data`].
pub fn ssm_script(platform: Platform, script: &RebakeScript) -> Result<String, ScriptError> {
    let text = match platform {
        Platform::Linux | Platform::Freebsd => unix(platform, script, Way::Ssm)?,
        Platform::Windows => windows(script, Way::Ssm)?,
        Platform::Macos => return macos(),
    };
    short_enough(text)
}

fn macos<T>() -> Result<T, ScriptError> {
    refuse("there is no recipe for macOS", "make the new AMI by hand and name it in the manifest")
}

fn short_enough(text: String) -> Result<String, ScriptError> {
    if text.len() <= USER_DATA_MAX {
        return Ok(text);
    }
    refuse(
        format!("the builder's script has {} bytes, packed, of {USER_DATA_MAX} that user data may have", text.len()),
        "shorten the owner's script: let it download what it needs",
    )
}

/// What would be another thing in a shell or on a disk than what was meant.
fn check(platform: Platform, script: &RebakeScript) -> Result<(), ScriptError> {
    let fits = match script.recipe {
        Recipe::Auto => true,
        Recipe::Apt | Recipe::Dnf => platform == Platform::Linux,
        Recipe::Freebsd => platform == Platform::Freebsd,
        Recipe::Windows => platform == Platform::Windows,
    };
    if !fits {
        return refuse("the recipe is for another platform", "write recipe = \"auto\", or the image's platform");
    }
    if script.nonce.len() != NONCE_LEN || !script.nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return refuse("the nonce has another form than 32 hexadecimal digits", "this is a mistake of latent's own");
    }
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if let Some(name) = script.services.iter().find(|name| !plain(name, "@._- ") || name.starts_with(['-', ' '])) {
        return refuse(format!("{name:?} is no name of a service"), "name it as the system does");
    }
    if platform != Platform::Windows && script.services.iter().any(|name| name.contains(' ')) {
        return refuse("a service has a space in its name", "name it as the system does");
    }
    if script.worker_version.as_deref().is_some_and(|version| !plain(version, ".")) {
        return refuse("worker_version is no version", "write it as \"4.0\"");
    }
    if let Some(path) = script.clean.iter().find(|path| path.contains(char::is_control) || path.contains("..")) {
        return refuse(format!("the path {path:?} cannot be emptied"), "write a whole path without ..");
    }
    if script.owner_script.as_deref().is_some_and(|text| text.contains('\0')) {
        return refuse("the owner's script holds a NUL", "make it a text");
    }
    Ok(())
}

/// The settings, as the head of the driver.
fn settings(script: &RebakeScript, way: Way, platform: Platform) -> Result<String, ScriptError> {
    let recipe = if platform == Platform::Freebsd { Recipe::Freebsd } else { script.recipe };
    let values = [
        ("NONCE", script.nonce.clone()),
        ("RECIPE", recipe.as_str().to_owned()),
        ("CHANNEL", if way == Way::Ssm { "ssm" } else { "user-data" }.to_owned()),
        ("ROUNDS_MAX", script.rounds_max.to_string()),
        ("DEADLINE_S", script.deadline.num_seconds().max(60).to_string()),
        ("SERVICES", script.services.join(" ")),
        ("WORKER_VERSION", script.worker_version.clone().unwrap_or_default()),
        ("CLEAN", script.clean.join("\n")),
        ("SETUP", u8::from(script.setup).to_string()),
    ];
    let mut text = String::new();
    for (name, value) in values {
        let Ok(quoted) = shlex::try_quote(&value) else {
            return refuse(format!("{name} holds a NUL"), "make it a text");
        };
        let _ = writeln!(text, "LATENT_{name}={quoted}");
    }
    Ok(text)
}

/// Puts a file into the folder of the rebake, whole or not at all; whatever it holds.
fn file(name: &str, text: &str) -> String {
    let mut end = format!("END-OF-{}", name.to_uppercase());
    while text.lines().any(|line| line == end) {
        end.push('X');
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("cat > \"$d/{name}.new\" <<'{end}'\n{text}{newline}{end}\nmv -f \"$d/{name}.new\" \"$d/{name}\"\n")
}

/// A shell script that unpacks the driver and starts it.
fn unix(platform: Platform, script: &RebakeScript, way: Way) -> Result<String, ScriptError> {
    check(platform, script)?;
    let families: &[&str] = match (platform, script.recipe) {
        (Platform::Freebsd, _) => &[FREEBSD],
        (_, Recipe::Apt) => &[APT],
        (_, Recipe::Dnf) => &[DNF],
        (_, Recipe::Auto | Recipe::Freebsd | Recipe::Windows) => &[APT, DNF],
    };
    let mut driver = settings(script, way, platform)?;
    for family in families {
        driver.push_str(&bare(family));
    }
    let mut all = format!("d=${{LATENT_ROOT:-}}{FOLDER}\n");
    if script.setup {
        driver.push_str(&bare(SETUP));
        all.push_str(&file("identity.sh", &bare(IDENTITY)));
    }
    driver.push_str(&bare(DRIVER));
    all.push_str(&file("rebake", &driver));
    if let Some(own) = script.owner_script.as_deref().filter(|own| !own.trim().is_empty()) {
        all.push_str(&file("script", own));
    }
    let _ = writeln!(all, "exec /bin/sh \"$d/rebake\" {}", if way == Way::Ssm { "go" } else { "start" });
    let decode = if platform == Platform::Freebsd { "b64decode -r" } else { "base64 -d" };
    Ok(format!(
        "#!/bin/sh\n# Rebake of this image (latent): amis/recipes, packed.\numask 077\n\
         d=${{LATENT_ROOT:-}}{FOLDER}\nmkdir -p \"$d\"\n\
         {decode} <<'END-OF-PACK' | gzip -dc > \"$d/unpack.new\" && mv -f \"$d/unpack.new\" \"$d/unpack\" || exit 1\n\
         {}END-OF-PACK\nexec /bin/sh \"$d/unpack\"\n",
        packed(&all)
    ))
}

/// Compressed, in lines of base64.
fn packed(text: &str) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: there is nothing that could fail.
    let _ = encoder.write_all(text.as_bytes());
    let encoded = STANDARD.encode(encoder.finish().unwrap_or_default());
    let mut lines = String::new();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        let _ = writeln!(lines, "{line}");
        rest = after;
    }
    lines
}

/// A text of PowerShell; in single quotes only the quote itself has a meaning.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// PowerShell that unpacks the script and starts it.
fn windows(script: &RebakeScript, way: Way) -> Result<String, ScriptError> {
    check(Platform::Windows, script)?;
    if script.setup {
        return refuse(
            "there is no set-up of a worker for Windows",
            "make the first AMI by hand, then `latent enroll`",
        );
    }
    let list =
        |items: &[String]| format!("@({})", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "));
    let settings = format!(
        "$Nonce = {}\n$Channel = {}\n$RoundsMax = {}\n$DeadlineS = {}\n$Services = {}\n$WorkerVersion = {}\n\
         $Clean = {}\n$Sysprep = ${}\n$OwnerScript = {}\n",
        quoted(&script.nonce),
        quoted(if way == Way::Ssm { "ssm" } else { "user-data" }),
        script.rounds_max,
        script.deadline.num_seconds().max(60),
        list(&script.services),
        quoted(script.worker_version.as_deref().unwrap_or_default()),
        list(&script.clean),
        script.sysprep,
        quoted(&STANDARD.encode(script.owner_script.as_deref().unwrap_or_default())),
    );
    Ok(format!(
        "$folder = Join-Path $env:ProgramData 'latent-rebake'\n\
         New-Item -ItemType Directory -Force $folder | Out-Null\n\
         icacls.exe $folder /inheritance:r /grant '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null\n\
         $pack = [Convert]::FromBase64String('{}')\n\
         $gzip = New-Object IO.Compression.GZipStream((New-Object IO.MemoryStream(,$pack)), [IO.Compression.CompressionMode]::Decompress)\n\
         $text = (New-Object IO.StreamReader($gzip, [Text.Encoding]::UTF8)).ReadToEnd()\n\
         [IO.File]::WriteAllText((Join-Path $folder 'rebake.ps1'), $text, (New-Object Text.UTF8Encoding $true))\n\
         powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File (Join-Path $folder 'rebake.ps1') {}\n\
         exit $LASTEXITCODE\n",
        packed(&(settings + &bare(WINDOWS))).replace('\n', ""),
        if way == Way::Ssm { "go" } else { "start" },
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn script() -> RebakeScript {
        RebakeScript {
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            recipe: Recipe::Auto,
            rounds_max: 5,
            services: vec!["my-worker".to_owned(), "bb@.service".to_owned()],
            worker_version: Some("4.1".to_owned()),
            clean: vec!["/srv/it's here".to_owned(), "/var/cache/ccache".to_owned()],
            sysprep: false,
            deadline: TimeDelta::hours(6),
            owner_script: Some("#!/bin/sh\n  echo 'a  b'\n# kept\nEND-OF-SCRIPT".to_owned()),
            setup: false,
        }
    }

    /// What is packed in a text.
    fn unpacked(text: &str) -> String {
        let lines = text.lines().skip_while(|line| !line.contains("END-OF-PACK")).skip(1);
        let pack: String = lines.take_while(|line| *line != "END-OF-PACK").collect();
        let pack = match text.split_once("FromBase64String('") {
            Some((_, rest)) => rest.split_once('\'').expect("its end").0.to_owned(),
            None => pack,
        };
        let bytes = STANDARD.decode(pack).expect("base64");
        let mut all = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut all).expect("gzip");
        all
    }

    #[test]
    fn linux_gets_a_boot_hook_with_everything_in_it() {
        let text = builder_user_data(Platform::Linux, &script()).expect("there is one");
        assert!(text.starts_with("#cloud-boothook\n#!/bin/sh\n"));
        let all = unpacked(&text);
        for part in [
            "LATENT_NONCE=0123456789abcdef0123456789abcdef\n",
            "LATENT_RECIPE=auto\n",
            "LATENT_CHANNEL=user-data\n",
            "LATENT_DEADLINE_S=21600\n",
            "LATENT_SERVICES='my-worker bb@.service'\n",
            "LATENT_CLEAN=\"/srv/it's here\n/var/cache/ccache\"\n",
            "\napt_scan() {",
            "\ndnf_scan() {",
            "exec /bin/sh \"$d/rebake\" start\n",
            "<<'END-OF-SCRIPTX'\n#!/bin/sh\n  echo 'a  b'\n# kept\nEND-OF-SCRIPT\nEND-OF-SCRIPTX\n",
        ] {
            assert!(all.contains(part), "{part}\n{all}");
        }
        assert!(!all.contains("setup_worker() {") && !all.contains("freebsd_scan() {"));
    }

    #[test]
    fn a_command_runs_the_same_script_in_the_foreground() {
        let text = ssm_script(Platform::Linux, &script()).expect("there is one");
        assert!(text.starts_with("#!/bin/sh\n"));
        let (all, hook) = (unpacked(&text), builder_user_data(Platform::Linux, &script()).expect("there is one"));
        let told = all.replace("LATENT_CHANNEL=ssm", "LATENT_CHANNEL=user-data");
        assert_eq!(told.replace("rebake\" go\n", "rebake\" start\n"), unpacked(&hook));
    }

    #[test]
    fn each_platform_has_its_own() {
        let setup = RebakeScript { setup: true, ..script() };
        let text = builder_user_data(Platform::Freebsd, &setup).expect("there is one");
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("b64decode -r <<"));
        let all = unpacked(&text);
        assert!(
            all.contains("LATENT_RECIPE=freebsd\n") && all.contains("freebsd_scan() {") && !all.contains("apt_scan")
        );
        assert!(all.contains("setup_worker() {") && all.contains("identity.sh"));
        let windows = RebakeScript { services: vec!["Buildbot's worker".replace('\'', "")], ..script() };
        let text = builder_user_data(Platform::Windows, &windows).expect("there is one");
        assert!(text.starts_with("<powershell>\n") && text.ends_with("</powershell>\n<persist>true</persist>\n"));
        let all = unpacked(&text);
        assert!(all.contains("$Clean = @('/srv/it''s here', '/var/cache/ccache')\n"), "{all}");
        assert!(all.contains("$Sysprep = $false\n") && all.contains("$Services = @('Buildbots worker')\n"));
        let text = ssm_script(Platform::Windows, &windows).expect("there is one");
        assert!(!text.contains("<powershell>") && text.contains("rebake.ps1') go\n"));
    }

    #[test]
    fn the_owner_has_room_for_a_script() {
        for platform in [Platform::Linux, Platform::Freebsd, Platform::Windows] {
            let setup = platform != Platform::Windows;
            let plain = RebakeScript { setup, services: Vec::new(), owner_script: None, ..script() };
            let bytes = builder_user_data(platform, &plain).expect("there is one").len();
            assert!(bytes < 14 * 1024, "{platform:?}: {bytes} bytes of {USER_DATA_MAX}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_its_length() {
        let noise: String = (0..40_000u32).fold(String::new(), |mut text, n| {
            let _ = write!(text, "{:x}", n.wrapping_mul(2_654_435_761));
            text
        });
        let long = RebakeScript { owner_script: Some(noise), ..script() };
        let error = builder_user_data(Platform::Linux, &long).expect_err("too long");
        assert!(error.to_string().contains("of 16384 that user data may have; shorten"), "{error}");
        assert!(ssm_script(Platform::Linux, &long).is_err());
    }

    #[test]
    fn what_would_be_another_thing_in_a_shell_is_refused() {
        let cases: [(&str, RebakeScript); 7] = [
            ("nonce", RebakeScript { nonce: "x".repeat(32), ..script() }),
            ("no name of a service", RebakeScript { services: vec!["a;b".to_owned()], ..script() }),
            ("no name of a service", RebakeScript { services: vec!["-H".to_owned()], ..script() }),
            ("a space in its name", RebakeScript { services: vec!["a b".to_owned()], ..script() }),
            ("no version", RebakeScript { worker_version: Some("4 || x".to_owned()), ..script() }),
            ("cannot be emptied", RebakeScript { clean: vec!["/srv/../etc".to_owned()], ..script() }),
            ("another platform", RebakeScript { recipe: Recipe::Freebsd, ..script() }),
        ];
        for (why, wrong) in cases {
            let error = builder_user_data(Platform::Linux, &wrong).expect_err(why);
            assert!(error.why.contains(why), "{error}");
        }
        assert!(builder_user_data(Platform::Macos, &script()).is_err());
        assert!(builder_user_data(Platform::Windows, &RebakeScript { setup: true, ..script() }).is_err());
        let nul = RebakeScript { owner_script: Some("hush\0".to_owned()), ..script() };
        let error = builder_user_data(Platform::Linux, &nul).expect_err("a NUL").to_string();
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn the_same_order_gives_the_same_text() {
        for platform in [Platform::Linux, Platform::Freebsd] {
            let text = builder_user_data(platform, &script()).expect("there is one");
            assert_eq!(builder_user_data(platform, &script()), Ok(text.clone()));
            let other = RebakeScript { rounds_max: 6, ..script() };
            assert_ne!(builder_user_data(platform, &other), Ok(text));
        }
    }

    #[test]
    fn no_recipe_has_what_its_packing_would_spoil() {
        for text in [DRIVER, APT, DNF, FREEBSD, SETUP, WINDOWS] {
            assert!(text.is_ascii() && !text.contains("</powershell>"));
        }
        // What stands in a here-document is stripped as well: it must not need its indents or comments.
        assert!(
            SETUP
                .lines()
                .skip_while(|line| !line.contains("<< 'END-OF-TAC'"))
                .nth(1)
                .expect("it")
                .starts_with("import")
        );
    }
}
