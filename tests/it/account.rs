//! The calls and mishaps that scenarios name, in the words of the simulated EC2.

use latent::cloud::kind_of;
use latent::model::FailureKind;
use latent::sim::{ApiError, Mishap};

/// The calls that a fault may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiCall {
    Account,
    Inventory,
    Launch,
    Terminate,
    Stop,
    Start,
    Renew,
    Addresses,
    DeleteVolume,
    Images,
    Associate,
    Attach,
    SpotRequests,
    Console,
}

impl ApiCall {
    pub(crate) fn action(self) -> &'static str {
        match self {
            ApiCall::Account => "GetCallerIdentity",
            ApiCall::Inventory => "DescribeInstances",
            ApiCall::Launch => "RunInstances",
            ApiCall::Terminate => "TerminateInstances",
            ApiCall::Stop => "StopInstances",
            ApiCall::Start => "StartInstances",
            ApiCall::Renew => "CreateTags",
            ApiCall::Addresses => "DescribeAddresses",
            ApiCall::DeleteVolume => "DeleteVolume",
            ApiCall::Images => "DescribeImages",
            ApiCall::Associate => "AssociateAddress",
            ApiCall::Attach => "AttachVolume",
            ApiCall::SpotRequests => "DescribeSpotInstanceRequests",
            ApiCall::Console => "GetConsoleOutput",
        }
    }
}

/// What may happen to the next call of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused with this kind and code; nothing was done.
    Refuse(FailureKind, &'static str),
    /// Done, and the answer is lost.
    LoseReply,
    /// Not done, and never answered.
    Hang,
    /// Not done: the connection failed.
    Unreachable,
}

impl Fault {
    pub(crate) fn mishap(&self) -> Mishap {
        match self {
            Fault::Refuse(kind, code) => {
                assert_eq!(kind_of(code, 400), *kind, "{code} means something else");
                Mishap::Refuse(ApiError::client(code, format!("the simulated EC2 says {code}")))
            }
            Fault::LoseReply => Mishap::LoseReply,
            Fault::Hang => Mishap::Hang,
            Fault::Unreachable => Mishap::LoseRequest,
        }
    }
}
