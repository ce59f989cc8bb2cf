//! The identity documents of the model's instances, and their signatures.
//!
//! The key is known to everybody who has this program: what it signs proves nothing outside of a
//! simulation. It is always the same, so that a test can keep its certificate as an admin keeps AWS's.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use crate::sim::instance::Instance;
use crate::sim::site::Site;

const KEY: &[u8] = include_bytes!("identity.key.der");

/// The certificate by which the signatures of every region can be checked.
pub(super) const CERTIFICATE: &str = include_str!("identity.pem");

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `instance-identity/document`.
pub(super) fn document(site: &Site, instance: &Instance) -> String {
    let architecture = site.images.get(&instance.params.image).map_or("x86_64", |image| image.architecture.as_str());
    let document = json!({
        "accountId": &*site.account,
        "architecture": architecture,
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.params.image,
        "instanceId": instance.id,
        "instanceType": instance.facts().instance_type,
        "kernelId": null,
        "pendingTime": seconds(instance.facts().launch_time),
        "privateIp": instance.private_ip,
        "ramdiskId": null,
        "region": &*site.region,
        "version": "2017-09-30",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// `instance-identity/signature`: base64 of PKCS#1 v1.5 with SHA-256 over the document, in lines as EC2 has it.
pub(super) fn signature(document: &str) -> Option<String> {
    let key = RsaKeyPair::from_pkcs8(KEY).ok()?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), document.as_bytes(), &mut signature).ok()?;
    let text = super::base64(&signature);
    let lines: Vec<String> =
        text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::IdentityKey;

    #[test]
    fn a_signature_fits_its_document_and_the_certificate() {
        let key = IdentityKey::from_pem(CERTIFICATE).expect("a certificate");
        let signature = signature("{}").expect("signs");
        assert!(signature.lines().count() > 1);
        assert!(key.signed(b"{}", &signature));
        assert!(!key.signed(b"{} ", &signature));
    }
}
