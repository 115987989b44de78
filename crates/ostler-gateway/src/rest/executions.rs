//! Executions by their handles.

use axum::{
    extract::{Request, State},
    http::{HeaderName, header},
    response::Response,
};
use ostler::json::Doing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    admit::{App, Caller, Named},
    answer, body, feed, run,
};
use crate::{
    desk::principal::Scope,
    wire::{problem::Problem, query, report::Report, run as wire},
};

/// The header in which a reader that comes back says where it was.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// An execution in a list.
#[derive(Debug, Serialize, ToSchema)]
struct Brief<'a> {
    execution: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    accepted_at: &'a str,
}

/// The executions of a principal.
#[derive(Debug, Serialize, ToSchema)]
struct Executions<'a> {
    executions: Vec<Brief<'a>>,
}

/// `GET /v1/executions`: those that are there, without what they printed.
#[utoipa::path(get, operation_id = "list_executions", path = "/v1/executions", tag = "executions", responses((status = 200, description = "here it is", body = Executions<'static>)))]
pub(super) async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let runs = app.desk.runs(&who);
    let brief = runs.iter().map(|run| Brief {
        execution: &run.handle,
        state: if run.log.outcome().is_some() { "ended" } else { "running" },
        session: run.session.as_deref(),
        label: run.log.label().map(|label| &**label),
        accepted_at: &run.at,
    });
    Ok(answer::json(200, &Executions { executions: brief.collect() }))
}

/// `GET /v1/executions/ID`: its state and everything that its log holds.
#[utoipa::path(get, operation_id = "get_execution", path = "/v1/executions/{id}", tag = "executions", params(("id" = String, Path, description = "its handle")), responses((status = 200, description = "here it is", body = Report<'static>)))]
pub(super) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    Ok(run::told(&app.desk.run(&who, &id)?, 200, None))
}

/// `GET /v1/executions/ID/events`: its events from any number on, and then as they come.
#[utoipa::path(get, operation_id = "execution_events", path = "/v1/executions/{id}/events", tag = "executions", params(("id" = String, Path, description = "its handle"), ("after" = Option<u64>, Query, description = "the number of the last event that is known"), ("Last-Event-ID" = Option<u64>, Header, description = "the same, as browsers send it")), responses((status = 200, description = "here it is", body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let run = app.desk.run(&who, &id)?;
    let after = match body::header(request.headers(), &LAST_EVENT_ID)? {
        Some(last) => last.parse().map_err(|_no_number| {
            let detail = format!("the header `Last-Event-ID` is {last:?}; expected the number of an event");
            Problem::bad_request("Last-Event-ID", "bad-header", detail)
        })?,
        None => query::number(request.uri().query(), "after")?.unwrap_or(0),
    };
    Ok(feed::stream(&run, after, app.desk.drained()))
}

/// `POST /v1/executions/ID/cancel`: it ends within the grace, and its session keeps its state if the code obeys.
#[utoipa::path(post, path = "/v1/executions/{id}/cancel", tag = "executions", params(("id" = String, Path, description = "its handle")), responses((status = 202, description = "accepted; it goes on")))]
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    app.desk.run(&who, &id)?.log.canceller().cancel();
    Ok(answer::empty(202))
}

/// `POST /v1/executions/ID/interrupt`: `KeyboardInterrupt` in the code, which may go on.
#[utoipa::path(post, path = "/v1/executions/{id}/interrupt", tag = "executions", params(("id" = String, Path, description = "its handle")), responses((status = 202, description = "accepted; it goes on")))]
pub(super) async fn interrupt(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    app.desk.run(&who, &id)?.log.canceller().interrupt();
    Ok(answer::empty(202))
}

/// The body of an answer to a request for input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InputBody {
    /// Which request; without it, the one that is open.
    request: Option<u64>,
    /// The line; without it, the end of the input.
    line: Option<String>,
}

/// `POST /v1/executions/ID/input`: each request for input is answered once.
#[utoipa::path(post, path = "/v1/executions/{id}/input", tag = "executions", params(("id" = String, Path, description = "its handle")), request_body = InputBody, responses((status = 202, description = "accepted; it goes on")))]
pub(super) async fn input(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let run = app.desk.run(&who, &id)?;
    let (parts, content) = request.into_parts();
    let content = body::read(&parts.headers, content).await?;
    body::header(&parts.headers, &header::CONTENT_TYPE)?;
    let InputBody { request, line } = wire::json(&content)?;
    let Some(request) = request.or_else(|| run.open_request()) else {
        return Err(Problem::new(409, "not-open", "the code does not wait for input now").at("request"));
    };
    run.answer(request, line)?;
    Ok(answer::empty(202))
}

/// What the worker of an execution is doing.
#[derive(Debug, Serialize, ToSchema)]
struct ActivityNow<'a> {
    #[schema(value_type = Option<Object>)]
    activity: Option<Doing<'a>>,
    summary: Option<String>,
}

/// `GET /v1/executions/ID/activity`: what its worker is doing now.
#[utoipa::path(get, operation_id = "execution_activity", path = "/v1/executions/{id}/activity", tag = "executions", params(("id" = String, Path, description = "its handle")), responses((status = 200, description = "here it is", body = ActivityNow<'static>)))]
pub(super) async fn activity(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let run = app.desk.run(&who, &id)?;
    let activity = run.log.canceller().inspect().await;
    let summary = activity.as_ref().map(ostler::Activity::summary);
    Ok(answer::json(200, &ActivityNow { activity: activity.as_ref().map(Doing::from), summary }))
}
