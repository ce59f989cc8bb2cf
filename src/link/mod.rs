//! Floor 4: the controller's interface, HTTP and JSON over a Unix socket, or TCP with a token.

mod budgets;
mod client;
pub(crate) mod explained;
mod messages;
mod metrics;
mod notices;
mod openapi;
mod page;
mod queries;
mod rebakes;
mod scribe;
mod server;
mod sockets;
mod token;
pub(crate) mod words;

pub use budgets::BudgetsAnswer;
pub use client::{Client, ClientError};
pub use messages::{
    AdmitAnswer, AdmitInfo, AdmitRequest, AmisAnswer, CanaryRequest, ClaimsAnswer, DeclarationBody, DeclareAnswer,
    DeclareBody, DrainAnswer, ErrorBody, EventView, Events, FailureCode, HoldAnswer, HoldRequest, ReleaseRequest,
    ReportBody, Reported, SmokeReport, StartRequest, StatusAnswer, VersionAnswer, WorkerDayAnswer, WorkerReportBody,
};
pub use metrics::metrics_router;
pub use openapi::document as openapi;
pub use page::Page;
pub use rebakes::{Desk, RebakeAnswer, RebakeList, RebakeOrdered, RolledBack};
pub use server::Server;
pub use sockets::ServeError;
