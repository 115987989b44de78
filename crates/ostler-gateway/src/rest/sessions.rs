//! Sessions by their handles or names, and what can be done with their state.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use ostler::json::Doing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    admit::{App, Caller, Named},
    answer, body,
};
use crate::{
    desk::{Kept, principal::Scope, session::SessionEntry},
    wire::{problem::Problem, query, report::Back, run as wire},
};

/// What is known of a session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView<'a> {
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// `awake`, `asleep` or `ended`.
    state: &'static str,
    /// Counts the workers that it has had; 0 while it has had none here.
    generation: u64,
    made_at: &'a str,
    /// Seconds since it was used.
    idle: f64,
    /// What came back, if it was brought back just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<Back<'a>>,
}

impl<'a> From<&'a Arc<SessionEntry>> for SessionView<'a> {
    fn from(entry: &'a Arc<SessionEntry>) -> Self {
        let summary = entry.summary();
        Self {
            session: &entry.handle,
            name: entry.name.as_deref(),
            state: summary.state,
            generation: summary.generation,
            made_at: &entry.at,
            idle: ostler::json::seconds(summary.used.elapsed()),
            restored: None,
        }
    }
}

/// The body of a new session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBody {
    /// Its name, by which it is found again also after a restart; without one it ends with the server.
    name: Option<String>,
    /// The checkpoint whose state it begins with.
    from: Option<String>,
}

/// `POST /v1/sessions`: 201, or 200 for the one of this name that is there already.
#[utoipa::path(post, operation_id = "create_session", path = "/v1/sessions", tag = "sessions", request_body = Option<NewBody>, responses((status = 200, description = "the one of this name", body = SessionView<'static>), (status = 201, description = "it was made", body = SessionView<'static>)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(who): Caller,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let (parts, content) = request.into_parts();
    let content = body::read(&parts.headers, content).await?;
    let NewBody { name, from } = wire::json_or_nothing(&content)?;
    let made = app.desk.make(&who, name.as_deref(), from.as_deref()).await?;
    let told = SessionView {
        restored: made.restored.as_ref().map(Back::from),
        ..SessionView::from(&made.used.entry)
    };
    Ok(located(answer::json(if made.is_new { 201 } else { 200 }, &told), &made.used.entry))
}

fn located(mut response: Response, entry: &SessionEntry) -> Response {
    if let Ok(location) = HeaderValue::try_from(format!("/v1/sessions/{}", entry.handle)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The sessions of a principal.
#[derive(Debug, Serialize, ToSchema)]
struct Sessions<'a> {
    sessions: Vec<SessionView<'a>>,
}

/// `GET /v1/sessions`: those that there are, awake and asleep.
#[utoipa::path(get, operation_id = "list_sessions", path = "/v1/sessions", tag = "sessions", responses((status = 200, description = "here it is", body = Sessions<'static>)))]
pub(super) async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let sessions = app.desk.sessions(&who);
    Ok(answer::json(200, &Sessions { sessions: sessions.iter().map(SessionView::from).collect() }))
}

/// `GET /v1/sessions/ID`: wakes nobody.
#[utoipa::path(get, operation_id = "get_session", path = "/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 200, description = "here it is", body = SessionView<'static>)))]
pub(super) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    Ok(answer::json(200, &SessionView::from(&app.desk.session(&who, &id)?)))
}

/// `DELETE /v1/sessions/ID`: saves it first if it has a name, unless `?forget` says otherwise.
#[utoipa::path(delete, operation_id = "delete_session", path = "/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "its handle, or its name"), ("forget" = Option<bool>, Query, description = "does not save it first")), responses((status = 204, description = "done")))]
pub(super) async fn delete(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let forget = query::flag(request.uri().query(), "forget")?;
    app.desk.delete(&who, &id, !forget).await?;
    Ok(answer::empty(204))
}

/// `POST /v1/sessions/ID/fork`: a session of its own with the same state.
#[utoipa::path(post, path = "/v1/sessions/{id}/fork", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 201, description = "it was made", body = SessionView<'static>)))]
pub(super) async fn fork(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let used = app.desk.fork(&who, &id).await?;
    Ok(located(answer::json(201, &SessionView::from(&used.entry)), &used.entry))
}

/// What is known of a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
struct Saved<'a> {
    checkpoint: &'a str,
    names: &'a [String],
    skipped: Vec<Skipped>,
    bytes: usize,
    made_at: &'a str,
}

/// A name that could not be saved.
#[derive(Debug, Serialize, ToSchema)]
struct Skipped {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    reason: String,
}

impl<'a> From<&'a Kept> for Saved<'a> {
    fn from(kept: &'a Kept) -> Self {
        let skipped = kept.checkpoint.skipped();
        let skipped = skipped.map(|it| Skipped { name: it.name, type_name: it.type_name, reason: it.reason });
        Self {
            checkpoint: &kept.handle,
            names: kept.checkpoint.names(),
            skipped: skipped.collect(),
            bytes: kept.checkpoint.data().len(),
            made_at: &kept.at,
        }
    }
}

/// `POST /v1/sessions/ID/checkpoint`: the state of this moment, which stays on the server.
#[utoipa::path(post, path = "/v1/sessions/{id}/checkpoint", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 201, description = "it was made", body = Saved<'static>)))]
pub(super) async fn checkpoint(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let (used, _) = app.desk.awake(&who, &id).await?;
    let checkpoint = used.session.checkpoint().await?;
    let kept = app.desk.keep(&who, checkpoint)?;
    Ok(answer::json(201, &Saved::from(&*kept)))
}

/// `GET /v1/checkpoints/ID`: what it holds.
#[utoipa::path(get, path = "/v1/checkpoints/{id}", tag = "sessions", params(("id" = String, Path, description = "its handle")), responses((status = 200, description = "here it is", body = Saved<'static>)))]
pub(super) async fn get_checkpoint(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    Ok(answer::json(200, &Saved::from(&*app.desk.checkpoint(&who, &id)?)))
}

/// `DELETE /v1/checkpoints/ID`: it is dropped.
#[utoipa::path(delete, operation_id = "delete_checkpoint", path = "/v1/checkpoints/{id}", tag = "sessions", params(("id" = String, Path, description = "its handle")), responses((status = 204, description = "done")))]
pub(super) async fn drop_checkpoint(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    app.desk.drop_checkpoint(&who, &id)?;
    Ok(answer::empty(204))
}

/// The body of a restore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    /// Which checkpoint.
    checkpoint: String,
}

/// `POST /v1/sessions/ID/restore`: brings saved names back, beside those that there are.
#[utoipa::path(post, path = "/v1/sessions/{id}/restore", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), request_body = RestoreBody, responses((status = 200, description = "here it is", body = Back<'static>)))]
pub(super) async fn restore(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let (parts, content) = request.into_parts();
    let content = body::read(&parts.headers, content).await?;
    let RestoreBody { checkpoint } = wire::json(&content)?;
    let kept = app.desk.checkpoint(&who, &checkpoint)?;
    let (used, _) = app.desk.awake(&who, &id).await?;
    let restored = used.session.restore(&kept.checkpoint).await?;
    Ok(answer::json(200, &Back::from(&restored)))
}

/// How often a session has been saved.
#[derive(Debug, Serialize, ToSchema)]
struct Saves {
    saves: u64,
}

/// `POST /v1/sessions/ID/save`: of a session with a name; when it answers, the state survives the server.
#[utoipa::path(post, path = "/v1/sessions/{id}/save", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 200, description = "here it is", body = Saves)))]
pub(super) async fn save(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    let (used, _) = app.desk.awake(&who, &id).await?;
    Ok(answer::json(200, &Saves { saves: used.session.save().await? }))
}

/// A name of a session.
#[derive(Debug, Serialize, ToSchema)]
struct Variable<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    repr: &'a str,
}

/// The names of a session.
#[derive(Debug, Serialize, ToSchema)]
struct Variables<'a> {
    vars: Vec<Variable<'a>>,
    total: usize,
}

/// `GET /v1/sessions/ID/vars`: its names, each with type, size and a short text.
#[utoipa::path(get, path = "/v1/sessions/{id}/vars", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 200, description = "here it is", body = Variables<'static>)))]
pub(super) async fn vars(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let (used, _) = app.desk.awake(&who, &id).await?;
    let found = used.session.vars().await?;
    let vars = found.list.iter().map(|it| Variable {
        name: &it.name,
        type_name: &it.type_name,
        size: it.size,
        repr: &it.repr,
    });
    Ok(answer::json(200, &Variables { vars: vars.collect(), total: found.total }))
}

/// What the worker of a session is doing.
#[derive(Debug, Serialize, ToSchema)]
struct SessionActivity<'a> {
    #[schema(value_type = Option<Object>)]
    activity: Option<Doing<'a>>,
}

/// `GET /v1/sessions/ID/activity`: what its worker is doing now.
#[utoipa::path(get, operation_id = "session_activity", path = "/v1/sessions/{id}/activity", tag = "sessions", params(("id" = String, Path, description = "its handle, or the name of a session")), responses((status = 200, description = "here it is", body = SessionActivity<'static>)))]
pub(super) async fn activity(
    State(app): State<App>,
    Caller(who): Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    who.may(Scope::Read)?;
    let (used, _) = app.desk.awake(&who, &id).await?;
    let activity = used.session.inspect().await;
    Ok(answer::json(200, &SessionActivity { activity: activity.as_ref().map(Doing::from) }))
}
