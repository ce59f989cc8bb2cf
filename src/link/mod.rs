//! Floor 4: the controller's interface, HTTP and JSON over a Unix socket, or TCP with a token.

mod client;
mod messages;
mod notices;
mod openapi;
mod rebakes;
mod server;
mod token;

pub use client::{Client, ClientError};
pub use messages::{
    AdmitAnswer, AdmitInfo, AdmitRequest, AmisAnswer, CanaryRequest, ClaimsAnswer, DeclarationBody, DeclareAnswer,
    DeclareBody, DrainAnswer, ErrorBody, EventView, Events, FailureCode, HoldAnswer, HoldRequest, ReleaseRequest,
    ReportBody, Reported, SmokeReport, StartRequest, StatusAnswer, VersionAnswer, WorkerReportBody,
};
pub use openapi::document as openapi;
pub use rebakes::{Desk, RebakeAnswer, RebakeList, RebakeOrdered, RolledBack};
pub use server::{ServeError, Server};
