//! The AMI and the machines it may run on, against the manifest and the fleet's requirements.

use chrono::{DateTime, Utc};

use super::facts::CellFacts;
use super::row::Sheet;
use crate::model::{AmiFacts, AmiId, AmiState, TypeFacts};
use crate::policy::{Identity, Image, Intent, Platform, Requirements};

pub(super) fn examine(sheet: &mut Sheet, now: DateTime<Utc>, intent: &Intent, image: &Image, facts: &CellFacts) {
    let id = the_ami(sheet, image, facts);
    let ami = id.as_ref().and_then(|id| known_ami(sheet, id, image, facts));
    if let (Some(id), Some(ami)) = (&id, ami) {
        state(sheet, id, image, ami);
        age(sheet, now, id, ami, &intent.requirements);
        shared(sheet, intent, image, ami);
        matches_manifest(sheet, image, ami);
    }
    types(sheet, intent, image, ami, facts);
    root(sheet, image, ami, &intent.requirements);
}

/// The AMI that the manifest means.
fn the_ami(sheet: &mut Sheet, image: &Image, facts: &CellFacts) -> Option<AmiId> {
    let listed = image.ami_query().and_then(|query| facts.choices.get(&query));
    if let (Some(filter), Some(Err(why))) = (image.ami.filter(), listed) {
        sheet.unseen("AMI", &format!("ec2:DescribeImages ({filter})"), why);
        return None;
    }
    let id = facts.ami_of(image);
    if let (None, Some(filter)) = (&id, image.ami.filter()) {
        let seen = format!("no AMI in {} fits {filter}", image.region);
        sheet.problem("AMI", seen, "correct the filter, or share the AMI with the account");
    }
    id
}

fn known_ami<'a>(sheet: &mut Sheet, id: &AmiId, image: &Image, facts: &'a CellFacts) -> Option<&'a AmiFacts> {
    match facts.amis.get(id)? {
        Ok(ami) => Some(ami),
        Err(why) if why.is_absent() => {
            let seen = format!("{id} does not exist in {}, or is not shared with the account", image.region);
            sheet.problem("AMI", seen, "correct ami or region in the manifest, or share the AMI with the account");
            None
        }
        Err(why) => {
            sheet.unseen("AMI", "ec2:DescribeImages", why);
            None
        }
    }
}

fn state(sheet: &mut Sheet, id: &AmiId, image: &Image, ami: &AmiFacts) {
    let chosen = image.ami.filter().map(|filter| format!(", chosen by {filter}")).unwrap_or_default();
    let word = match &ami.state {
        AmiState::Available => return sheet.ok("AMI", format!("{id} ({}) is available{chosen}", ami.name)),
        AmiState::Pending => "it is not finished yet",
        AmiState::Failed => "it failed while it was made",
        AmiState::Deregistered => "it was deregistered",
        AmiState::Disabled => "it is disabled",
        AmiState::Unknown(word) => word,
    };
    let seen = format!("{id} ({}) cannot be launched: {word}", ami.name);
    sheet.problem("AMI", seen, "name an AMI in the manifest that is available");
}

fn age(sheet: &mut Sheet, now: DateTime<Utc>, id: &AmiId, ami: &AmiFacts, required: &Requirements) {
    if let Some(since) = ami.deprecated.filter(|at| *at <= now) {
        let seen = format!("{id} is deprecated since {}", since.format("%Y-%m-%d"));
        sheet.warning("AMI age", seen, "make a newer one, and name it in the manifest");
    }
    let Some(created) = ami.created else {
        return sheet.unknown("AMI age", "EC2 does not say when it was made", "look at it in the EC2 console");
    };
    let days = (now - created).num_days().max(0);
    let limit = required.max_ami_age;
    if now - created > limit {
        let seen = format!("{days} days, and {} are the limit (max_ami_age)", limit.num_days());
        sheet.warning("AMI age", seen, "update it: old packages and old clones make builds slow and unsafe");
    } else {
        sheet.ok("AMI age", format!("{days} days"));
    }
}

/// A baked image holds a password.
fn shared(sheet: &mut Sheet, intent: &Intent, image: &Image, ami: &AmiFacts) {
    let own = intent.owners.get(&image.owner).is_some_and(|owner| owner.account.as_ref() == Some(&ami.account));
    match (ami.public, image.identity) {
        (true, Identity::Baked) => sheet.problem(
            "AMI owner",
            "everybody may launch it, and the worker's password is in it",
            "make the AMI private, and give the worker a new password",
        ),
        (_, Identity::Baked) if !own => sheet.warning(
            "AMI owner",
            format!("it belongs to account {}, and the worker's password is in it", ami.account),
            "copy the AMI into the owner's account",
        ),
        _ => {
            let whose = if own { "the owner's" } else { "another account's" };
            sheet.ok("AMI owner", format!("account {}, {whose}", ami.account));
        }
    }
}

fn matches_manifest(sheet: &mut Sheet, image: &Image, ami: &AmiFacts) {
    let wanted = image.architecture.as_str();
    // EC2 tells Macs apart from the rest by the architecture alone.
    let mac = ami.architecture.ends_with("_mac");
    if ami.architecture.is_empty() {
        sheet.unknown("architecture", "EC2 does not say what the AMI is made for", "look at it in the EC2 console");
    } else if ami.architecture.trim_end_matches("_mac") == wanted {
        sheet.ok("architecture", &ami.architecture);
    } else {
        let seen = format!("the AMI is {}, and the manifest says {wanted}", ami.architecture);
        sheet.problem("architecture", seen, "correct architecture or ami in the manifest");
    }
    let is = if ami.windows {
        "windows"
    } else if mac {
        "macos"
    } else {
        "linux or another Unix"
    };
    let right = match image.platform {
        Platform::Windows => ami.windows,
        Platform::Macos => mac,
        Platform::Linux | Platform::Freebsd => !ami.windows && !mac,
    };
    let said = image.platform.as_str();
    if right {
        sheet.ok("platform", said);
    } else {
        let seen = format!("the AMI is {is}, and the manifest says {said}");
        sheet.problem("platform", seen, "correct platform or ami in the manifest");
    }
}

fn types(sheet: &mut Sheet, intent: &Intent, image: &Image, ami: Option<&AmiFacts>, facts: &CellFacts) {
    let Some(known) = sheet.look("instance type", "ec2:DescribeInstanceTypes", &facts.types) else { return };
    let mut named: Vec<&str> = Vec::new();
    for offering in &image.offerings {
        if !named.contains(&offering.instance_type.as_str()) {
            named.push(&offering.instance_type);
        }
    }
    for name in named {
        let Some(kind) = known.get(name) else {
            let seen = format!("{name} does not exist in {}", image.region);
            sheet.problem("instance type", seen, "correct instance_types in the manifest");
            continue;
        };
        let wrong = complaints(kind, image, ami, &intent.requirements);
        let size = format!("{name}: {} vCPUs, {} MiB", kind.vcpus, kind.memory_mib);
        if wrong.is_empty() {
            sheet.ok("instance type", size);
        } else {
            let seen = format!("{size}: {}", wrong.join("; "));
            sheet.problem("instance type", seen, "name another type in the manifest, or another AMI");
        }
    }
}

/// What speaks against running the image on this type.
fn complaints(kind: &TypeFacts, image: &Image, ami: Option<&AmiFacts>, required: &Requirements) -> Vec<String> {
    let mut wrong = Vec::new();
    if kind.vcpus < required.min_vcpus {
        wrong.push(format!("{} vCPUs are required", required.min_vcpus));
    }
    if kind.memory_mib < u64::from(required.min_memory_mib) {
        wrong.push(format!("{} MiB are required", required.min_memory_mib));
    }
    let said = ami.map(|ami| ami.architecture.as_str()).filter(|said| !said.is_empty());
    let architecture = said.unwrap_or(image.architecture.as_str());
    if !kind.architectures.contains(architecture) {
        wrong.push(format!("it does not run {architecture}"));
    }
    if let Some(ami) = ami {
        if kind.ena_required && !ami.ena {
            wrong.push("it needs an AMI with enaSupport".to_owned());
        }
        let mode = ami.boot_mode.as_deref().filter(|mode| *mode != "uefi-preferred");
        if let Some(mode) = mode.filter(|mode| !kind.boot_modes.is_empty() && !kind.boot_modes.contains(*mode)) {
            wrong.push(format!("it does not boot by {mode}, as the AMI must"));
        }
    }
    wrong
}

fn root(sheet: &mut Sheet, image: &Image, ami: Option<&AmiFacts>, required: &Requirements) {
    let Some(ami) = ami else { return };
    let device = ami.root_device.as_deref();
    let asked = image.block_devices.iter().find(|own| Some(own.device.as_str()) == device).and_then(|own| own.size_gib);
    let Some(size) = asked.or(ami.root_gib) else {
        let cure = "use an AMI whose root disk is on EBS: an instance store cannot be stopped or made an AMI of";
        return sheet.problem("root volume", "the AMI's root disk has no size: it is an instance store", cure);
    };
    let (least, device) = (required.min_root_gib, device.unwrap_or("/dev/sda1"));
    let by = if asked.is_some() { "manifest" } else { "AMI" };
    if size >= least {
        sheet.ok("root volume", format!("{size} GiB by the {by}"));
    } else {
        let cure = format!("add block_devices = [{{ device = \"{device}\", size_gib = {least} }}] to the manifest");
        sheet.problem("root volume", format!("{size} GiB by the {by}, and {least} are required"), cure);
    }
}
