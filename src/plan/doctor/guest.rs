//! What a guest can read of itself, and whether it obeys its lease.

use super::facts::CellFacts;
use super::row::Sheet;
use crate::policy::{Image, LeaseWatch};

pub(super) fn examine(sheet: &mut Sheet, image: &Image, facts: &CellFacts) {
    imds(sheet, image, facts);
    lease(sheet, image, facts);
}

fn imds(sheet: &mut Sheet, image: &Image, facts: &CellFacts) {
    let ami = facts.ami_of(image);
    let by_itself = match ami.and_then(|ami| facts.amis.get(&ami)) {
        Some(Ok(ami)) if ami.imds_v2 => "; the AMI asks for IMDSv2 too",
        Some(Ok(_)) => "; the AMI by itself does not ask for it",
        _ => "",
    };
    sheet.ok("IMDS", format!("each launch asks for IMDSv2, hop limit 1, with instance tags{by_itself}"));
}

/// Whether something inside the guest ends it when its lease is over.
fn lease(sheet: &mut Sheet, image: &Image, facts: &CellFacts) {
    let slow: Vec<&str> = match &facts.types {
        Ok(types) => {
            let named = image.offerings.iter().map(|offering| offering.instance_type.as_str());
            named.filter(|kind| types.get(*kind).is_some_and(|known| !known.nitro)).collect()
        }
        Err(_) => Vec::new(),
    };
    if let Some(kind) = slow.first() {
        let seen = format!("{kind} is not of the Nitro System: a guest sees changed tags only after a stop and start");
        sheet.warning("lease", seen, "choose types of the Nitro System (any of the current generation)");
    }
    watch(sheet, image.lease_watch);
}

/// Who inside the guest ends it when nobody renews its lease.
fn watch(sheet: &mut Sheet, watch: LeaseWatch) {
    match watch {
        LeaseWatch::UserData => sheet.ok("lease", "each launch brings the lease watch in its user data"),
        LeaseWatch::Baked => sheet.ok("lease", "the manifest says that the lease watch is in the AMI"),
        LeaseWatch::None => sheet.warning(
            "lease",
            "nothing inside the guest ends it when nobody renews its lease (lease_watch = \"none\")",
            "let the launch bring the watch with lease_watch = \"user-data\", or run latent sweep from cron",
        ),
    }
}
