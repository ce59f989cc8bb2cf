//! The identity document that EC2 signs for each instance.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{CLOCKS_APART, Evidence, Finding, Present, quoted, said};
use crate::model::InstanceId;

/// What of it is compared. EC2 may add to it what it likes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    account_id: String,
    region: String,
    image_id: String,
    instance_id: String,
    pending_time: DateTime<Utc>,
}

/// Whether it has the document of the present attempt's instance. A document that nobody signed says
/// nothing: whoever has none would be no worse off with it.
pub(super) fn finding(present: &Present<'_>) -> Finding {
    let info = present.knock.info;
    let Some(text) = info.identity_document.as_deref().filter(|text| !text.trim().is_empty()) else {
        return Finding::unknown("its info/ has no latent-identity-document");
    };
    let Some(signature) = said(info.identity_signature.as_ref()) else {
        return Finding::unknown("its info/ has no latent-identity-signature");
    };
    let region = &present.attempt.cell.region;
    let Some(key) = present.knock.intent.identity_keys.get(region) else {
        return Finding::unknown(&format!("there is no certificate of {region} (fleet.identity_certificates)"));
    };
    // On its way a line's end may have been taken off, or added; nothing else may differ.
    let bare = text.trim_end();
    let with_end = format!("{bare}\n");
    let as_signed = [text, bare, &with_end].into_iter().find(|text| key.signed(text.as_bytes(), signature));
    let Some(text) = as_signed else {
        return Finding::unknown(&format!("its identity document is not signed with the key of {region}"));
    };
    let Ok(document) = serde_json::from_str::<Document>(text) else {
        return Finding::unknown("its identity document cannot be read");
    };
    compared(present, &document)
}

fn compared(present: &Present<'_>, document: &Document) -> Finding {
    let attempt = present.attempt;
    let account = present.knock.intent.owners.get(&attempt.cell.owner).and_then(|owner| owner.account.as_deref());
    let ami = attempt.spec.as_ref().map(|spec| &spec.ami).or_else(|| present.listed()?.ami.as_ref());
    let began = document.pending_time.to_rfc3339();
    let created = attempt.created.to_rfc3339();
    // A later time is that of a start after a stop; an earlier one is of something else.
    let in_time = document.pending_time >= attempt.created - CLOCKS_APART;
    let id = present.instance.as_ref().map(InstanceId::as_str);
    for (what, fits, found, wanted) in [
        ("instance", id.is_none_or(|id| id == document.instance_id), &document.instance_id, id.unwrap_or_default()),
        (
            "account",
            account.is_none_or(|own| own == document.account_id),
            &document.account_id,
            account.unwrap_or_default(),
        ),
        ("region", attempt.cell.region.as_str() == document.region, &document.region, attempt.cell.region.as_str()),
        (
            "AMI",
            ami.is_none_or(|ami| ami.as_str() == document.image_id),
            &document.image_id,
            ami.map_or("", |ami| ami.as_str()),
        ),
        ("pending time", in_time, &began, &created),
    ] {
        if !fits {
            let why = format!(
                "its identity document is of another instance: the {what} is {}, and of {} {}",
                quoted(found),
                present.named(),
                quoted(wanted)
            );
            let other = document.instance_id.parse().ok().filter(|other| Some(other) != present.instance.as_ref());
            return Finding { evidence: Evidence::Contradicted(why, other), look: false };
        }
    }
    if let Some(id) = id {
        return Finding::proved(format!("it has the identity document of {id}, signed by EC2"));
    }
    let of = quoted(&document.instance_id);
    let why = format!("its identity document is of {of}, and the launch is not answered yet");
    Finding { evidence: Evidence::Unknown(why), look: true }
}
