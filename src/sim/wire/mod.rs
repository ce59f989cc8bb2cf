//! The wire door: EC2's own HTTP query protocol (version 2016-11-15) over a [`World`](super::World), so
//! that the AWS SDKs, boto3, the AWS CLI and Buildbot's own worker work against the model unchanged.
//!
//! Beside EC2, STS, Service Quotas, SSM, CloudTrail and the price list at `/`, it has a side entrance for tests and guests below `/_sim/`: the truth,
//! the clock, faults on demand, and the metadata service of each instance.

mod addresses;
mod agent;
mod attributes;
mod auth;
mod call;
mod calls;
mod catalog;
mod control;
mod door;
mod filter;
mod fleet;
mod groups;
mod identity;
mod images;
mod imds;
mod instances;
mod keys;
mod launch;
mod lifecycle;
mod network;
mod page;
mod permissions;
mod places;
mod query;
mod quotas;
mod records;
mod snapshots;
mod spot;
mod ssm;
mod sts;
mod tags;
mod templates;
mod volumes;
mod xml;

pub use door::{Door, DoorOptions};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// Base64 text.
fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a base64 text; nothing if it is none.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let padded_or_not = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, padded_or_not).decode(bare).ok()
}
