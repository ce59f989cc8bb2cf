//! One table: the error codes of EC2, SSM, CloudTrail and the price list, and what to do about each.
//!
//! Codes from the EC2 API reference (Error codes), SSM's API and the SDKs' own lists of throttling codes. A
//! code that is not here is `Owner` when the status is 4xx and `RetrySame` when it is 5xx. Whoever
//! plays EC2, the SDK's door or the simulated one, sorts by this table.

use crate::model::FailureKind::{
    self, AttemptOver, Bug, Credentials, Elsewhere, NotFound, Owner, Quota, RetrySame, Throttled,
};

/// Code, kind. A code that ends in `*` stands for every code that begins so.
const TABLE: &[(&str, FailureKind)] = &[
    // Throttles: never "no capacity".
    ("RequestLimitExceeded", Throttled),
    ("Throttling", Throttled),
    ("ThrottlingException", Throttled),
    ("ThrottledException", Throttled),
    ("RequestThrottled", Throttled),
    ("RequestThrottledException", Throttled),
    ("TooManyRequestsException", Throttled),
    ("BandwidthLimitExceeded", Throttled),
    ("SlowDown", Throttled),
    ("PriorRequestNotComplete", Throttled),
    ("EC2ThrottledException", Throttled),
    // The cloud stumbled, or something is in between two states.
    ("InternalError", RetrySame),
    ("InternalFailure", RetrySame),
    ("InternalServerError", RetrySame),
    ("ServerInternal", RetrySame),
    ("ServiceUnavailable", RetrySame),
    ("Unavailable", RetrySame),
    ("RetryableError", RetrySame),
    ("ConcurrentTagAccess", RetrySame),
    ("IncorrectState", RetrySame),
    ("IncorrectInstanceState", RetrySame),
    ("RequestExpired", RetrySame),
    ("PendingVerification", RetrySame),
    ("InvalidSnapshot.InUse", RetrySame),
    ("ConcurrentCreateImageNoRebootLimitExceeded", RetrySame),
    ("DependencyViolation", RetrySame),
    ("InvalidGroup.InUse", RetrySame),
    // A security group is not what it was just shown to be: the next look tells what is left to do.
    ("InvalidGroup.Duplicate", RetrySame),
    ("InvalidPermission.Duplicate", RetrySame),
    ("InvalidPermission.NotFound", RetrySame),
    // SSM: the agent is not registered, which may be "not yet"; EC2's own code ends in a capital D.
    ("InvalidInstanceId", RetrySame),
    // Another zone, type, subnet or market.
    ("InsufficientInstanceCapacity", Elsewhere),
    ("UnfulfillableCapacity", Elsewhere),
    ("InsufficientFreeAddressesInSubnet", Elsewhere),
    ("Unsupported", Elsewhere),
    ("InsufficientVolumeCapacity", Elsewhere),
    ("VolumeTypeNotAvailableInZone", Elsewhere),
    ("InsufficientAddressCapacity", Elsewhere),
    ("SpotMaxPriceTooLow", Elsewhere),
    ("ReservationCapacityExceeded", Elsewhere),
    ("InsufficientCapacityOnHost", Elsewhere),
    ("InsufficientHostCapacity", Elsewhere),
    ("InvalidAvailabilityZone", Elsewhere),
    ("MaxSpotInstanceCountExceeded", Elsewhere),
    // A quota of the owner.
    ("InstanceLimitExceeded", Quota),
    ("VcpuLimitExceeded", Quota),
    ("VolumeLimitExceeded", Quota),
    ("MaxIOPSLimitExceeded", Quota),
    ("NetworkInterfaceLimitExceeded", Quota),
    ("AddressLimitExceeded", Quota),
    ("SnapshotLimitExceeded", Quota),
    ("PendingSnapshotLimitExceeded", Quota),
    ("ConcurrentSnapshotLimitExceeded", Quota),
    ("ResourceLimitExceeded", Quota),
    ("MaxFleetCountExceeded", Quota),
    ("MaxSpotFleetRequestCountExceeded", Quota),
    ("ResourceCountExceeded", Quota),
    ("SecurityGroupLimitExceeded", Quota),
    ("RulesPerSecurityGroupLimitExceeded", Quota),
    // The owner's set-up.
    ("InvalidAMIID.NotFound", Owner),
    ("InvalidAMIID.Unavailable", Owner),
    ("InvalidAMIID.Malformed", Owner),
    ("InvalidSubnetID.NotFound", Owner),
    ("InvalidGroup.NotFound", Owner),
    ("InvalidGroupId.Malformed", Owner),
    ("InvalidVpcID.NotFound", Owner),
    ("CannotDelete", Owner),
    ("InvalidKeyPair.NotFound", Owner),
    ("InvalidParameter*", Owner),
    ("InvalidBlockDeviceMapping", Owner),
    ("InvalidLaunchTemplate*", Owner),
    ("InvalidIamInstanceProfileArn.Malformed", Owner),
    ("InvalidSnapshot.NotFound", Owner),
    ("InvalidUserData.Malformed", Owner),
    ("MissingParameter", Owner),
    ("VPCIdNotSpecified", Owner),
    ("DefaultVpcDoesNotExist", Owner),
    ("UnsupportedOperation", Owner),
    ("UnsupportedHibernationConfiguration", Owner),
    ("BootForVolumeTypeUnsupported", Owner),
    ("CustomerKeyHasBeenRevoked", Owner),
    ("TagPolicyViolation", Owner),
    ("TagLimitExceeded", Owner),
    ("OperationNotPermitted", Owner),
    ("InvalidAMIName.Duplicate", Owner),
    ("InvalidInput", Owner),
    // SSM: the agent's system cannot run such a script; SSM's own documents are not there.
    ("UnsupportedPlatformType", Owner),
    ("InvalidDocument*", Owner),
    ("MaxDocumentSizeExceeded", Owner),
    // Credentials and the account itself.
    ("AuthFailure", Credentials),
    ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", Credentials),
    ("UnauthorizedOperation", Credentials),
    ("AccessDenied", Credentials),
    ("AccessDeniedException", Credentials),
    ("InvalidClientTokenId", Credentials),
    ("UnrecognizedClientException", Credentials),
    ("SignatureDoesNotMatch", Credentials),
    ("IncompleteSignature", Credentials),
    ("MissingAuthenticationToken", Credentials),
    ("ExpiredToken", Credentials),
    ("ExpiredTokenException", Credentials),
    ("OptInRequired", Credentials),
    ("Blocked", Credentials),
    ("AccountDisabled", Credentials),
    // What we should not have sent.
    ("IdempotentParameterMismatch", Bug),
    ("InvalidClientToken", Bug),
    ("FilterLimitExceeded", Bug),
    ("InvalidMaxResults", Bug),
    ("UnknownParameter", Bug),
    ("MalformedQueryString", Bug),
    ("InvalidPaginationToken", Bug),
    ("InvalidInstanceID.Malformed", Bug),
    ("InvalidAMIName.Malformed", Bug),
    ("DuplicateInstanceId", Bug),
    ("InvalidFilterKey", Bug),
    ("InvalidInstanceInformationFilterValue", Bug),
    ("InvalidNextToken", Bug),
    ("InvalidNextTokenException", Bug),
    ("InvalidLookupAttributesException", Bug),
    ("InvalidMaxResultsException", Bug),
    ("InvalidTimeRangeException", Bug),
    ("SerializationException", Bug),
    ("UnknownOperationException", Bug),
    ("ValidationException", Bug),
    // The price list: the pages were turned too slowly.
    ("ExpiredNextTokenException", RetrySame),
    // Over, or not known.
    ("IdempotentInstanceTerminated", AttemptOver),
    ("InvalidInstanceID.NotFound", NotFound),
    ("InvalidVolume.NotFound", NotFound),
    ("InvalidNetworkInterfaceID.NotFound", NotFound),
    ("InvalidAllocationID.NotFound", NotFound),
    ("InvalidSpotInstanceRequestID.NotFound", NotFound),
    // SSM: right after sending it says the same of a command that it will know.
    ("InvocationDoesNotExist", NotFound),
    ("InvalidCommandId", NotFound),
];

/// The kind of a code, with the HTTP status for codes that nobody has listed.
pub fn kind_of(code: &str, status: u16) -> FailureKind {
    let exact = TABLE.iter().find(|(known, _)| *known == code);
    let family =
        || TABLE.iter().find(|(known, _)| known.strip_suffix('*').is_some_and(|begin| code.starts_with(begin)));
    match exact.or_else(family) {
        Some((_, kind)) => *kind,
        None if (400..500).contains(&status) && status != 429 => Owner,
        None if status == 429 => Throttled,
        None => RetrySame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_the_kind_of_its_row() {
        for (code, kind) in TABLE {
            let code = code.replace('*', "Value");
            assert_eq!(kind_of(&code, 400), *kind, "{code}");
            assert_eq!(kind_of(&code, 503), *kind, "{code}: the status does not matter for a known code");
        }
    }

    #[test]
    fn no_code_stands_twice() {
        let codes: std::collections::BTreeSet<_> = TABLE.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn unknown_codes_are_sorted_by_their_status() {
        assert_eq!(kind_of("Novel", 400), Owner);
        assert_eq!(kind_of("Novel", 403), Owner);
        assert_eq!(kind_of("Novel", 429), Throttled);
        assert_eq!(kind_of("Novel", 500), RetrySame);
        assert_eq!(kind_of("InvalidParameterCombination", 400), Owner);
    }

    #[test]
    fn what_ssm_refuses_is_not_taken_for_what_ec2_refuses() {
        assert_eq!(kind_of("InvalidInstanceId", 400), RetrySame, "no agent is registered");
        assert_eq!(kind_of("InvalidInstanceID.NotFound", 400), NotFound);
        assert_eq!(kind_of("InvalidInstanceID.Malformed", 400), Bug);
        assert_eq!(kind_of("InvocationDoesNotExist", 400), NotFound);
        assert_eq!(kind_of("InvalidDocumentVersion", 400), Owner);
        assert_eq!(kind_of("InvalidParameters", 400), Owner);
    }

    #[test]
    fn a_throttle_is_never_read_as_missing_capacity() {
        for (code, kind) in TABLE.iter().filter(|(_, kind)| *kind == Throttled) {
            assert!(kind.leaves_outcome_open(), "{code}");
            assert_ne!(*kind, Elsewhere);
        }
    }
}
