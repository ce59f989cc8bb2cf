//! The lease watch in user data: what powers an instance off when nobody vouches for it any more, put
//! beside what the owner's template says. The scripts are those of `amis/guest/`.
//!
//! The same arguments give the same text, whose digest is part of a launch's token. What cannot be
//! merged without changing what it means to the guest is refused with what to do.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::image::Platform;

const WATCH: &str = include_str!("../../amis/guest/lease-watch.sh");
const INSTALL: &str = include_str!("../../amis/guest/install.sh");
const WATCH_WINDOWS: &str = include_str!("../../amis/guest/lease-watch.ps1");
const INSTALL_WINDOWS: &str = include_str!("../../amis/guest/install.ps1");

/// cloud-init looks for a MIME message in so much of the text, in bytes.
const MIME_WITHIN: usize = 4096;
/// The length of a line of base64.
const LINE: usize = 76;

/// How the lease watch comes into an image's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWatch {
    /// In the user data of each launch; the AMI is not touched.
    UserData,
    /// It is in the AMI.
    Baked,
    /// There is none.
    None,
}

impl LeaseWatch {
    /// What holds for an image that says nothing. macOS runs on hosts that are paid for by the day.
    pub(super) fn default_of(platform: Platform) -> Self {
        match platform {
            Platform::Linux | Platform::Windows | Platform::Freebsd => LeaseWatch::UserData,
            Platform::Macos => LeaseWatch::None,
        }
    }
}

impl fmt::Display for LeaseWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaseWatch::UserData => "user-data",
            LeaseWatch::Baked => "baked",
            LeaseWatch::None => "none",
        })
    }
}

/// Why the watch cannot stand beside a text. It holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What is in the way.
    pub(super) why: &'static str,
    /// What to do, but for doing without the watch in the user data.
    pub(super) cure: &'static str,
}

impl Refusal {
    /// What to do, all of it.
    pub(super) fn cure(&self) -> String {
        format!("{}, or bake the watch into the AMI and write lease_watch = \"baked\", or \"none\"", self.cure)
    }
}

/// The user data that installs the watch and does what `own`, the owner's text, does.
pub(super) fn with_watch(platform: Platform, max_lifetime: TimeDelta, own: Option<&str>) -> Result<String, Refusal> {
    let own = own.filter(|text| !text.trim().is_empty());
    match platform {
        Platform::Windows => windows(max_lifetime, own),
        Platform::Freebsd => freebsd(max_lifetime, own),
        Platform::Linux => linux(max_lifetime, own),
        Platform::Macos => Err(Refusal { why: "there is no lease watch for macOS", cure: "leave lease_watch away" }),
    }
}

/// A script as a guest needs it: without comments and indents, which would take a third of the room.
/// Neither holds a text of several lines in which they would count.
pub(super) fn bare(script: &str) -> String {
    let lines = script.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// A shell script that installs the watch, whatever then becomes of what follows it.
fn shell_installer(max_lifetime: TimeDelta) -> String {
    format!(
        "#!/bin/sh\n# The lease watch of latent: powers off when nobody vouches for this instance.\n\
         LATENT_WATCH=$(mktemp)\ncat > \"$LATENT_WATCH\" <<'END-OF-LEASE-WATCH'\n#!/bin/sh\n{}END-OF-LEASE-WATCH\n\
         (\nLATENT_WHERE=run\nLATENT_MAX_LIFETIME={}\n{})\nrm -f \"$LATENT_WATCH\"\n",
        bare(WATCH),
        max_lifetime.num_seconds(),
        bare(INSTALL)
    )
}

/// For cloud-init: a part that it runs at every boot, and the owner's text as a part of its own.
fn linux(max_lifetime: TimeDelta, own: Option<&str>) -> Result<String, Refusal> {
    let installer = shell_installer(max_lifetime);
    let Some(own) = own else { return Ok(format!("#cloud-boothook\n{installer}")) };
    let own = part(own)?;
    let digest = crate::model::digest_hex(&Sha256::digest(installer.as_bytes()));
    // Derived from the watch alone, so that it is the same each time, and for all workers of an image; lengthened
    // should it stand in the text.
    let mut boundary = format!("latent-{}", digest.get(..24).unwrap_or(&digest));
    while own.contains(&boundary) {
        boundary.push('x');
    }
    let watch = typed("text/cloud-boothook", "latent-lease-watch", &installer);
    Ok(format!(
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n\
         --{boundary}\n{watch}\n--{boundary}\n{own}\n--{boundary}--\n"
    ))
}

/// The owner's text as a part of a MIME message, of the type that cloud-init would give it by its
/// first words.
fn part(own: &str) -> Result<String, Refusal> {
    const TYPES: [(&str, &str); 10] = [
        ("#!", "text/x-shellscript"),
        ("#cloud-config-archive", "text/cloud-config-archive"),
        ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("## template: jinja", "text/jinja2"),
        ("#include-once", "text/x-include-once-url"),
        ("#include", "text/x-include-url"),
        ("#part-handler", "text/part-handler"),
        ("#upstart-job", "text/upstart-job"),
    ];
    let begun = own.trim_start();
    let lower = begun.to_ascii_lowercase();
    if lower.starts_with("content-type:") || lower.starts_with("mime-version:") {
        // A message of its own is a part as it is: its head is the part's.
        return Ok(begun.to_owned());
    }
    let head = lower.as_bytes().get(..MIME_WITHIN).unwrap_or(lower.as_bytes());
    if head.windows("mime-version:".len()).any(|words| words == b"mime-version:") {
        return Err(Refusal {
            why: "is a MIME message to cloud-init, but does not begin with Content-Type or MIME-Version",
            cure: "begin with one of these headers",
        });
    }
    let Some((_, kind)) = TYPES.iter().find(|(prefix, _)| lower.starts_with(prefix)) else {
        return Err(Refusal {
            why: "is nothing that cloud-init knows, so the lease watch cannot stand beside it",
            cure: "begin it with #!, #cloud-config or another mark of cloud-init",
        });
    };
    Ok(typed(kind, "user-data", own))
}

/// A part with its head. What is not plain ASCII is encoded: a reader of mail would spoil it.
fn typed(kind: &str, name: &str, text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii() && byte != b'\r' && byte != 0);
    let (charset, encoding) = if plain { ("us-ascii", "7bit") } else { ("utf-8", "base64") };
    let mut part = format!(
        "Content-Type: {kind}; charset=\"{charset}\"\nContent-Transfer-Encoding: {encoding}\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\n"
    );
    if plain {
        part.push_str(text);
        return part;
    }
    let encoded = STANDARD.encode(text);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        let _ = writeln!(part, "{line}");
        rest = after;
    }
    part
}

/// For FreeBSD, whose images run a script at their first boot and know no other form for certain: one
/// script that installs the watch for every boot, then runs the owner's with its own interpreter.
fn freebsd(max_lifetime: TimeDelta, own: Option<&str>) -> Result<String, Refusal> {
    let installer = shell_installer(max_lifetime);
    let Some(own) = own else { return Ok(installer) };
    if !own.starts_with("#!") {
        return Err(Refusal {
            why: "does not begin with #!, and only a script can stand beside the lease watch on FreeBSD",
            cure: "make it a script",
        });
    }
    let mut end = "END-OF-USER-DATA".to_owned();
    while own.contains(&end) {
        end.push('X');
    }
    let newline = if own.ends_with('\n') { "" } else { "\n" };
    Ok(format!(
        "{installer}own=$(TMPDIR=/var/tmp mktemp)\ncat > \"$own\" <<'{end}'\n{own}{newline}{end}\n\
         chmod 700 \"$own\"\n\"$own\"\nstatus=$?\nrm -f \"$own\"\nexit \"$status\"\n"
    ))
}

/// For EC2Launch and EC2Launch v2: PowerShell that registers a task, which is there from then on, before
/// the owner's own in the same block; how often that block runs stays the owner's choice.
fn windows(max_lifetime: TimeDelta, own: Option<&str>) -> Result<String, Refusal> {
    const OPEN: &str = "<powershell>";
    let watch = windows_installer(max_lifetime);
    let Some(own) = own else { return Ok(format!("{OPEN}\n{watch}</powershell>\n")) };
    let lower = own.to_ascii_lowercase();
    if lower.contains("<script>") {
        return Err(Refusal {
            why: "has a <script> block, which Windows runs before any <powershell>: should it not end, the lease \
                  watch would never be armed",
            cure: "write it as <powershell>",
        });
    }
    let Some(at) = lower.find(OPEN) else {
        return Err(Refusal {
            why: "has no <powershell> block for the lease watch to stand in",
            cure: "write it as <powershell>…</powershell>",
        });
    };
    let (before, after) = own.split_at(at + OPEN.len());
    let first = after.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
    let first = first.unwrap_or_default().to_ascii_lowercase();
    if first.starts_with("param") || first.starts_with("using ") || first.starts_with("[cmdletbinding") {
        return Err(Refusal {
            why: "begins its PowerShell with param or using, which nothing may stand before",
            cure: "put that part into a script block, & { param(…) … }",
        });
    }
    let newline = if after.starts_with(['\n', '\r']) { "" } else { "\n" };
    Ok(format!("{before}\n{}{newline}{after}", watch.trim_end()))
}

/// In a block of its own, so that nothing of it is seen by what follows.
fn windows_installer(max_lifetime: TimeDelta) -> String {
    format!(
        "& {{\n# The lease watch of latent: powers off when nobody vouches for this instance.\n\
         $folder = Join-Path $env:ProgramData 'latent'\nNew-Item -ItemType Directory -Force $folder | Out-Null\n\
         Set-Content -Encoding ASCII (Join-Path $folder 'lease-watch.ps1') @'\n{}'@\n& {{\n{}}} -MaxLifetime {}\n}}\n",
        bare(WATCH_WINDOWS),
        bare(INSTALL_WINDOWS),
        max_lifetime.num_seconds()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime() -> TimeDelta {
        TimeDelta::hours(8)
    }

    fn merged(platform: Platform, own: &str) -> String {
        with_watch(platform, lifetime(), Some(own)).expect("can be merged")
    }

    fn refused(platform: Platform, own: &str) -> Refusal {
        with_watch(platform, lifetime(), Some(own)).expect_err("cannot be merged")
    }

    #[test]
    fn the_same_text_gives_the_same_user_data() {
        for (platform, own) in [
            (Platform::Linux, "#!/bin/sh\ntrue\n"),
            (Platform::Freebsd, "#!/bin/sh\ntrue\n"),
            (Platform::Windows, "<powershell>\n1\n</powershell>\n"),
        ] {
            assert_eq!(merged(platform, own), merged(platform, own));
            assert_ne!(merged(platform, own), merged(platform, &own.replace(['t', '1'], "T")));
            let longer = with_watch(platform, TimeDelta::hours(9), Some(own)).expect("can be merged");
            assert_ne!(merged(platform, own), longer, "the bound is part of it");
        }
    }

    /// So that of many workers it is kept once.
    #[test]
    fn of_two_workers_only_their_own_words_differ() {
        for platform in [Platform::Linux, Platform::Freebsd] {
            let [one, two] = ["w1", "w2"].map(|name| merged(platform, &format!("#!/bin/sh\necho worker {name}\n")));
            assert_eq!(one.replace("worker w1", "worker w2"), two);
        }
    }

    #[test]
    fn without_a_template_there_is_the_watch_alone() {
        for own in [None, Some(" \n")] {
            let linux = with_watch(Platform::Linux, lifetime(), own).expect("there is one");
            assert!(linux.starts_with("#cloud-boothook\n#!/bin/sh\n"), "runs at every boot");
            assert!(linux.contains("LATENT_MAX_LIFETIME=28800\n"));
            assert!(with_watch(Platform::Freebsd, lifetime(), own).expect("there is one").starts_with("#!/bin/sh\n"));
            let windows = with_watch(Platform::Windows, lifetime(), own).expect("there is one");
            assert!(windows.starts_with("<powershell>\n") && windows.ends_with("</powershell>\n"));
            assert!(windows.contains("-MaxLifetime 28800"));
        }
        assert_eq!(LeaseWatch::default_of(Platform::Macos), LeaseWatch::None);
    }

    #[test]
    fn each_form_of_cloud_init_gets_its_type() {
        for (own, kind) in [
            ("#!/bin/sh\n", "text/x-shellscript"),
            ("\n#!/usr/bin/env python3\n", "text/x-shellscript"),
            ("#cloud-config\nruncmd: []\n", "text/cloud-config"),
            ("#Cloud-Config\n", "text/cloud-config"),
            ("#cloud-config-archive\n", "text/cloud-config-archive"),
            ("## template: jinja\n#cloud-config\n", "text/jinja2"),
            ("#cloud-boothook\n", "text/cloud-boothook"),
            ("#include\nhttps://example.org/x\n", "text/x-include-url"),
            ("#include-once\n", "text/x-include-once-url"),
            ("#part-handler\n", "text/part-handler"),
        ] {
            let text = merged(Platform::Linux, own);
            assert!(text.contains(&format!("\nContent-Type: {kind}; charset")), "{own:?}\n{text}");
            assert!(text.contains(&format!("\n\n{own}\n--latent-")), "unchanged: {own:?}");
        }
    }

    #[test]
    fn a_message_stands_in_the_message_as_it_is() {
        let own = "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n\n--x\n\n#!/bin/sh\n--x--\n";
        let text = merged(Platform::Linux, own);
        assert!(text.contains(&format!("\n{own}\n--latent-")), "{text}");
        let odd = refused(Platform::Linux, "From me\nMIME-Version: 1.0\n\n");
        assert!(odd.why.contains("MIME message"), "{odd:?}");
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        let own = "#!/bin/sh\necho \u{fc}\u{1f600}\n";
        let text = merged(Platform::Linux, own);
        assert!(text.is_ascii() && text.contains("Content-Transfer-Encoding: base64"), "{text}");
        let encoded = STANDARD.encode(own);
        assert!(text.contains(encoded.as_str()));
        assert!(merged(Platform::Linux, "#!/bin/sh\r\ntrue\r\n").contains("base64"), "a carriage return is kept");
    }

    #[test]
    fn what_cannot_be_merged_is_refused_without_its_text() {
        for (platform, own, why) in [
            (Platform::Linux, "WORKER=hush\n", "nothing that cloud-init knows"),
            (Platform::Freebsd, "#cloud-config\nhush: 1\n", "does not begin with #!"),
            (Platform::Windows, "version: 1.0\ntasks: [hush]\n", "no <powershell> block"),
            (Platform::Windows, "<Script>hush</Script>\n<powershell>1</powershell>", "<script> block"),
            (Platform::Windows, "<powershell>\n# hush\nparam([string]$x)\n</powershell>", "begins its PowerShell"),
            (Platform::Windows, "<powershell>using namespace hush</powershell>", "begins its PowerShell"),
            (Platform::Macos, "hush", "no lease watch for macOS"),
        ] {
            let refusal = refused(platform, own);
            assert!(refusal.why.contains(why), "{refusal:?}");
            assert!(refusal.cure().contains("lease_watch = \"baked\"") && !refusal.cure().contains("hush"));
        }
    }

    #[test]
    fn the_owners_own_powershell_and_flags_stay() {
        let own = "<powershell>\nStart-Service worker\n</powershell>\n<persist>true</persist>\n";
        let text = merged(Platform::Windows, own);
        assert!(text.ends_with("\nStart-Service worker\n</powershell>\n<persist>true</persist>\n"), "{text}");
        assert_eq!(text.matches("<powershell>").count(), 1);
        let task = text.find("Register-ScheduledTask").expect("the watch");
        assert!(task < text.find("Start-Service").expect("the owner's"), "the watch is armed first");
    }

    #[test]
    fn the_owners_script_keeps_its_interpreter_on_freebsd() {
        let own = "#!/usr/local/bin/bash\necho END-OF-USER-DATA";
        let text = merged(Platform::Freebsd, own);
        assert!(
            text.contains("<<'END-OF-USER-DATAX'\n#!/usr/local/bin/bash\necho END-OF-USER-DATA\nEND-OF-USER-DATAX\n")
        );
    }

    #[test]
    fn the_watch_leaves_room_for_the_owner() {
        for platform in [Platform::Linux, Platform::Freebsd, Platform::Windows] {
            let bytes = with_watch(platform, lifetime(), None).expect("there is one").len();
            assert!(bytes < 11 * 1024, "{bytes} bytes of 16384");
        }
    }

    #[test]
    fn no_script_has_what_would_end_its_quotation() {
        for script in [WATCH, INSTALL] {
            assert!(!script.contains("END-OF-LEASE-WATCH"));
        }
        for script in [WATCH_WINDOWS, INSTALL_WINDOWS] {
            assert!(script.is_ascii() && !script.contains("'@") && !script.contains("</powershell>"));
        }
        assert!(WATCH.is_ascii() && INSTALL.is_ascii());
    }
}
