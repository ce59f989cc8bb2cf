//! The bearer token of a TCP address.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::messages::{ErrorBody, FailureCode};
use super::server::Failed;
use crate::policy::Secret;

/// Lets a request pass that shows the token.
pub(super) async fn with_token(token: &Secret, headers: &HeaderMap, request: Request, next: Next) -> Response {
    if bearer(headers).is_some_and(|given| same(given.as_bytes(), token.reveal().as_bytes())) {
        return next.run(request).await;
    }
    let message = "this address needs the token of [link]: Authorization: Bearer TOKEN".to_owned();
    Failed(StatusCode::UNAUTHORIZED, ErrorBody { code: FailureCode::Unauthorized, message }).into_response()
}

/// The token that a request shows, if it shows one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Compares in a time that does not tell how much was right.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
