//! The part of the interface that is about what people are told.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::server::{Answer, bad};
use crate::control::{NoticeBoard, NoticesView};

type Board = Option<Arc<dyn NoticeBoard>>;

/// The route, beside those of the workers.
pub(super) fn router(board: Board) -> Router {
    Router::new().route("/v1/notices", get(notices)).with_state(board)
}

async fn notices(State(board): State<Board>) -> Answer<NoticesView> {
    let board = board.ok_or_else(|| bad(&"this controller tells nobody anything by mail or webhook"))?;
    Ok(Json(board.view()))
}
