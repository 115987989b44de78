//! The pool and the server: what operators look at, and the few things that they do.

use axum::{extract::State, response::Response};
use ostler::PoolStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    admit::{App, Caller},
    answer,
};
use crate::{
    desk::principal::Scope,
    wire::{problem::Problem, ready},
};

/// The state of the pool.
#[derive(Debug, Serialize, ToSchema)]
struct Pool<'a> {
    idle: usize,
    busy: usize,
    leased: usize,
    starting: usize,
    backing_off: usize,
    max_sessions: usize,
    queued: usize,
    spawned: u64,
    crashed: u64,
    accepted: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
    lost: u64,
    in_flight: u64,
    /// Why the last worker that was started never became ready.
    trouble: Option<&'a str>,
    /// Why the pool starts no more workers.
    gave_up: Option<&'a str>,
    /// Sessions of the gateway, awake and asleep.
    sessions: usize,
    draining: bool,
}

/// `GET /v1/pool`: its workers, and what became of the requests.
#[utoipa::path(get, operation_id = "pool_status", path = "/v1/pool", tag = "server", responses((status = 200, description = "here it is", body = Pool<'static>)))]
pub(super) async fn status(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let status = app.desk.runtime.status().await;
    let totals = &status.totals;
    let [_, _, sessions] = app.desk.counts();
    Ok(answer::json(
        200,
        &Pool {
            idle: status.idle,
            busy: status.busy,
            leased: status.leased,
            starting: status.starting,
            backing_off: status.backing_off,
            max_sessions: status.max_sessions,
            queued: status.queued,
            spawned: status.spawned,
            crashed: status.crashed,
            accepted: totals.accepted,
            completed: totals.completed,
            failed: totals.failed,
            cancelled: totals.cancelled,
            timed_out: totals.timed_out,
            lost: totals.lost,
            in_flight: totals.in_flight,
            trouble: status.trouble.as_deref(),
            gave_up: status.failed.as_deref(),
            sessions,
            draining: app.desk.is_draining(),
        },
    ))
}

/// `POST /v1/pool/reset`: whatever kept workers from living is mended.
#[utoipa::path(post, operation_id = "reset_pool", path = "/v1/pool/reset", tag = "server", responses((status = 202, description = "accepted; it goes on")))]
pub(super) async fn reset(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Admin)?;
    app.desk.runtime.reset();
    Ok(answer::empty(202))
}

/// `POST /v1/pool/drain`: ends the server, as SIGTERM does.
#[utoipa::path(post, operation_id = "drain", path = "/v1/pool/drain", tag = "server", responses((status = 202, description = "accepted; it goes on")))]
pub(super) async fn drain(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Admin)?;
    app.desk.begin_to_drain();
    Ok(answer::empty(202))
}

/// Which server this is.
#[derive(Debug, Serialize, ToSchema)]
struct Version<'a> {
    version: &'static str,
    api: &'static str,
    /// New at each start: what has no name is gone when this changes.
    server_id: &'a str,
    started_at: &'a str,
}

/// `GET /v1/version`: which server this is.
#[utoipa::path(get, path = "/v1/version", tag = "server", responses((status = 200, description = "here it is", body = Version<'static>)))]
pub(super) async fn version(State(app): State<App>, Caller(_): Caller) -> Response {
    let (server_id, started_at) = (&*app.desk.server_id, &*app.desk.started_at);
    answer::json(200, &Version { version: env!("CARGO_PKG_VERSION"), api: "v1", server_id, started_at })
}

/// `GET /healthz`: the server answers.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "here it is", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> Response {
    answer::text(200, "ok\n".into())
}

/// `GET /readyz`: whether new work would be done, and if not, why. It tells nothing that a token protects.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, description = "here it is", body = String, content_type = "text/plain"), (status = 503, description = "not ready, and why", body = String, content_type = "text/plain")))]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let status: PoolStatus = app.desk.runtime.status().await;
    match ready::why_not(&status, app.desk.is_draining()) {
        None => answer::text(200, "ready\n".into()),
        Some(why) => answer::text(503, format!("not ready: {why}\n")),
    }
}
