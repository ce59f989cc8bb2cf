//! What EC2 says when an instance cannot be given an address or a volume, for whoever plays EC2.

use super::CloudError;
use crate::model::{ElasticIp, FailureKind, InstanceId};

/// What is missing where a sweep asks for it is gone; where a manifest names it, its owner must mend that.
const NAMED: [&str; 4] =
    ["InvalidVolume.NotFound", "InvalidAllocationID.NotFound", "InvalidAddress.NotFound", "InvalidAddressID.NotFound"];

/// A refusal to give an instance something, by what it means there. That the address is another account's is
/// told as `AuthFailure`, and says nothing of the credentials.
#[must_use]
pub fn for_equipment(error: CloudError) -> CloudError {
    let of_another = error.code == "AuthFailure" && error.message.to_ascii_lowercase().contains("address");
    if of_another || NAMED.contains(&error.code.as_str()) {
        return CloudError { kind: FailureKind::Owner, ..error };
    }
    error
}

/// There is no such address in the account and region.
#[must_use]
pub fn no_such_address(address: &ElasticIp) -> CloudError {
    let code = if address.as_str().starts_with("eipalloc-") {
        "InvalidAllocationID.NotFound"
    } else {
        "InvalidAddress.NotFound"
    };
    let message = format!("{address} is no elastic IP address of this account and region");
    CloudError { kind: FailureKind::Owner, code: code.to_owned(), message }
}

/// Something else has the address, which is asked before EC2 would have to refuse.
#[must_use]
pub fn already_associated(address: &ElasticIp, with: Option<&InstanceId>) -> CloudError {
    let with = with.map_or_else(|| "a network interface that is no instance's".to_owned(), ToString::to_string);
    CloudError {
        kind: FailureKind::Owner,
        code: "Resource.AlreadyAssociated".to_owned(),
        message: format!("{address} is associated with {with}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_names_in_vain_is_the_owners_to_mend() {
        let kind = |code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            for_equipment(CloudError { kind: crate::cloud::kind_of(&code, 400), code, message }).kind
        };
        assert_eq!(kind("InvalidVolume.NotFound", ""), FailureKind::Owner);
        assert_eq!(kind("InvalidAllocationID.NotFound", ""), FailureKind::Owner);
        assert_eq!(kind("VolumeInUse", ""), FailureKind::Owner);
        assert_eq!(kind("AuthFailure", "The address '203.0.113.9' does not belong to you."), FailureKind::Owner);
        assert_eq!(kind("AuthFailure", "AWS was not able to validate the credentials"), FailureKind::Credentials);
        assert_eq!(kind("InvalidInstanceID.NotFound", ""), FailureKind::NotFound, "it may be young");
        assert_eq!(kind("RequestLimitExceeded", ""), FailureKind::Throttled);
    }
}
