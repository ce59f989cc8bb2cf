//! One table: EC2's error codes, and what to do about each.
//!
//! Codes from the EC2 API reference (Error codes) and the SDKs' own lists of throttling codes. A
//! code that is not here is `Owner` when the status is 4xx and `RetrySame` when it is 5xx.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::cloud::CloudError;
use crate::model::FailureKind::{
    self, AttemptOver, Bug, Credentials, Elsewhere, NotFound, Owner, Quota, RetrySame, Throttled,
};

/// Code, kind. A code that ends in `*` stands for every code that begins so.
pub(super) const TABLE: &[(&str, FailureKind)] = &[
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
    ("ServerInternal", RetrySame),
    ("ServiceUnavailable", RetrySame),
    ("Unavailable", RetrySame),
    ("RetryableError", RetrySame),
    ("ConcurrentTagAccess", RetrySame),
    ("IncorrectState", RetrySame),
    ("IncorrectInstanceState", RetrySame),
    ("RequestExpired", RetrySame),
    ("PendingVerification", RetrySame),
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
    // The owner's set-up.
    ("InvalidAMIID.NotFound", Owner),
    ("InvalidAMIID.Unavailable", Owner),
    ("InvalidAMIID.Malformed", Owner),
    ("InvalidSubnetID.NotFound", Owner),
    ("InvalidGroup.NotFound", Owner),
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
    ("InvalidInput", Owner),
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
    // Over, or not known.
    ("IdempotentInstanceTerminated", AttemptOver),
    ("InvalidInstanceID.NotFound", NotFound),
];

/// The kind of a code, with the HTTP status for codes that nobody has listed.
pub(super) fn kind_of(code: &str, status: u16) -> FailureKind {
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

/// Any SDK error, sorted; its message is fit for one line of a log.
pub(super) fn sorted<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let mut sorted = by_shape(error);
    sorted.message = sorted.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    sorted
}

fn by_shape<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    if let Some(service) = error.as_service_error() {
        let Some(code) = service.meta().code() else { return not_ec2(status) };
        let message = service.meta().message().unwrap_or("EC2 gave no message");
        return CloudError { kind: kind_of(code, status), code: code.to_owned(), message: message.to_owned() };
    }
    let chain = DisplayErrorContext(error).to_string();
    let message = chain.split(" (").next().unwrap_or(&chain).to_owned();
    match error {
        _ if is_about_credentials(error) => {
            CloudError { kind: Credentials, code: "NoCredentials".to_owned(), message: root_of(error) }
        }
        SdkError::TimeoutError(_) => CloudError { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message },
        SdkError::DispatchFailure(_) => {
            CloudError { kind: FailureKind::Unreachable, code: "Unreachable".to_owned(), message: root_of(error) }
        }
        SdkError::ResponseError(_) => not_ec2(status),
        _ => CloudError { kind: Bug, code: "NotSent".to_owned(), message: root_of(error) },
    }
}

/// An answer without an EC2 error code: a proxy or a gateway, or EC2 in trouble. The call may have happened.
fn not_ec2(status: u16) -> CloudError {
    let message = format!("the answer (HTTP {status}) is not EC2's; is something between latent and EC2?");
    CloudError { kind: FailureKind::Unreachable, code: "NotAnEc2Answer".to_owned(), message }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link: &&'a (dyn Error + 'static)| (*link).source())
}

fn is_about_credentials<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    chain(error).any(<dyn Error>::is::<CredentialsError>)
}

/// The two innermost messages of a chain: what failed, and why.
fn root_of<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let messages: Vec<String> = chain(error).map(ToString::to_string).collect();
    let last = messages.len().saturating_sub(2);
    messages[last..].join(": ")
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
    fn a_throttle_is_never_read_as_missing_capacity() {
        for (code, kind) in TABLE.iter().filter(|(_, kind)| *kind == Throttled) {
            assert!(kind.leaves_outcome_open(), "{code}");
            assert_ne!(*kind, Elsewhere);
        }
    }
}
