//! `GET /metrics`.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};

use super::{
    admit::{App, Caller},
    answer,
};
use crate::{
    desk::principal::Scope,
    wire::{
        exposition::{self, Counts},
        problem::Problem,
    },
};

/// `GET /metrics`: the figures of the pool and of the gateway, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "here it is", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let [running, kept, sessions] = app.desk.counts();
    let status = app.desk.runtime.status().await;
    let mut response = answer::text(200, exposition::text(&status, Counts { running, kept, sessions }));
    let media_type = HeaderValue::from_static(exposition::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}
