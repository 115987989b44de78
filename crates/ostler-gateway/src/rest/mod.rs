//! The gateway as REST: paths below `/v1`, and what operators look at.

mod admit;
mod answer;
mod body;
mod executions;
mod feed;
mod metrics;
mod openapi;
mod pool;
mod run;
mod sessions;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use self::admit::App;
pub use self::admit::Peer;
pub(crate) use self::openapi::document;
use crate::{desk::Desk, wire::guard::Hosts};

/// All paths. Everything is checked before it: whom a request means, where it comes from, and who asks.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let hosts = Hosts::new(desk.config.hosts.iter().cloned());
    let app = App { desk, hosts: Arc::new(hosts) };
    let executions = Router::new()
        .route("/", get(executions::list))
        .route("/{id}", get(executions::get))
        .route("/{id}/events", get(executions::events))
        .route("/{id}/cancel", post(executions::cancel))
        .route("/{id}/interrupt", post(executions::interrupt))
        .route("/{id}/input", post(executions::input))
        .route("/{id}/activity", get(executions::activity));
    let sessions = Router::new()
        .route("/", get(sessions::list).post(sessions::create))
        .route("/{id}", get(sessions::get).delete(sessions::delete))
        .route("/{id}/run", post(run::in_session))
        .route("/{id}/fork", post(sessions::fork))
        .route("/{id}/checkpoint", post(sessions::checkpoint))
        .route("/{id}/restore", post(sessions::restore))
        .route("/{id}/save", post(sessions::save))
        .route("/{id}/vars", get(sessions::vars))
        .route("/{id}/activity", get(sessions::activity));
    Router::new()
        .route("/v1/run", post(run::run))
        .nest("/v1/executions", executions)
        .nest("/v1/sessions", sessions)
        .route("/v1/checkpoints/{id}", get(sessions::get_checkpoint).delete(sessions::drop_checkpoint))
        .route("/v1/pool", get(pool::status))
        .route("/v1/pool/reset", post(pool::reset))
        .route("/v1/pool/drain", post(pool::drain))
        .route("/v1/version", get(pool::version))
        .route("/openapi.json", get(openapi::openapi))
        .route("/healthz", get(pool::healthz))
        .route("/readyz", get(pool::readyz))
        .route("/metrics", get(metrics::metrics))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), admit::admit))
        .with_state(app)
}
