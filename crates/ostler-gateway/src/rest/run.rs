//! Running code, and the answer in the form that the caller wants.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use ostler::{Failure, Logged, Outcome, Restored};

use super::{
    admit::{App, Caller, Named},
    answer, body, feed,
};
use crate::{
    desk::{Submitted, principal::Scope, run::Run},
    wire::{
        form::Form,
        handle,
        problem::Problem,
        report::{self, Back, Report},
        run::RunBody,
    },
};

/// The header that makes a retry the same request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `POST /v1/run`: code in a fresh namespace, or in the session that the body names.
#[utoipa::path(post, path = "/v1/run", tag = "run", params(("Idempotency-Key" = Option<String>, Header, description = "the same key and content are the same execution")), request_body(content((RunBody = "application/json"), (String = "text/x-python"), (String = "text/plain"), (String = "application/javascript"))), responses((status = 200, description = "it has ended", content((Report<'static> = "application/json"), (String = "text/plain"), (String = "text/event-stream"))), (status = 202, description = "it goes on, or waits for input", content((Report<'static> = "application/json"), (String = "text/plain"), (String = "text/event-stream")))))]
pub(super) async fn run(
    State(app): State<App>,
    Caller(who): Caller,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    submit(&app, &Caller(who), None, request).await
}

/// `POST /v1/sessions/ID/run`: code in this session.
#[utoipa::path(post, operation_id = "run_in_session", path = "/v1/sessions/{id}/run", tag = "run", params(("id" = String, Path, description = "its handle, or its name"), ("Idempotency-Key" = Option<String>, Header, description = "the same key and content are the same execution")), request_body(content((RunBody = "application/json"), (String = "text/x-python"), (String = "text/plain"), (String = "application/javascript"))), responses((status = 200, description = "it has ended", content((Report<'static> = "application/json"), (String = "text/plain"), (String = "text/event-stream"))), (status = 202, description = "it goes on, or waits for input", content((Report<'static> = "application/json"), (String = "text/plain"), (String = "text/event-stream")))))]
pub(super) async fn in_session(
    State(app): State<App>,
    Caller(who): Caller,
    Named(session): Named,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Scope::Run)?;
    submit(&app, &Caller(who), Some(session), request).await
}

async fn submit(
    app: &App,
    Caller(who): &Caller,
    session: Option<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let headers = &parts.headers;
    let form = Form::choose(body::header(headers, &header::ACCEPT)?)?;
    let content_type = body::header(headers, &header::CONTENT_TYPE)?;
    let key = body::header(headers, &IDEMPOTENCY_KEY)?;
    key.map(handle::check_key).transpose()?;
    let content = body::read(headers, content).await?;
    let mut asked = RunBody::read(content_type, parts.uri.query(), &content)?;
    if let Some(session) = session {
        if asked.session.as_ref().is_some_and(|other| *other != session) {
            let detail = "the body names another session than the path; leave it out of the body";
            return Err(Problem::bad_request("session", "bad-field", detail));
        }
        asked.session = Some(session);
    }
    let digest = || {
        let mut all = blake3::Hasher::new();
        for part in [parts.uri.to_string().as_bytes(), content_type.unwrap_or_default().as_bytes(), &content]
        {
            all.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        all.finalize()
    };
    let keyed = key.map(|key| (key.into(), digest()));
    let wait = asked.wait();
    let submitted = app.desk.submit(who, asked, form, keyed).await?;
    let mut response = answer(app, &submitted, form, wait).await;
    if submitted.is_repeated {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn answer(app: &App, submitted: &Submitted, form: Form, wait: Duration) -> Response {
    let run = &submitted.run;
    if form == Form::Events {
        let mut response = feed::stream(run, 0, app.desk.drained());
        name(&mut response, run);
        return response;
    }
    // Whoever is not there within the wait goes on, and is found by its handle.
    let ended = tokio::time::timeout(wait, settled(run)).await;
    let has_ended = ended.is_ok() && run.log.outcome().is_some();
    let status = if has_ended { 200 } else { 202 };
    let mut response = match form {
        Form::Text => shown(run, status),
        Form::Json | Form::Events => told(run, status, submitted.woke.as_ref()),
    };
    name(&mut response, run);
    response
}

/// Waits until there is something to say: the outcome, or a request for input.
async fn settled(run: &Run) {
    let mut reader = run.log.read(0);
    while let Some(entry) = reader.next().await {
        let asks =
            matches!(&entry, Logged::Event { event, .. } if matches!(**event, ostler::Event::Input(_)));
        if asks && run.open_request().is_some() {
            return;
        }
    }
}

/// Says in headers which execution it is.
fn name(response: &mut Response, run: &Run) {
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/executions/{}", run.handle)) {
        headers.insert(header::LOCATION, location);
    }
    if let Ok(handle) = HeaderValue::try_from(&*run.handle) {
        headers.insert("ostler-execution", handle);
    }
}

/// What is known of an execution, as JSON.
pub(super) fn told(run: &Arc<Run>, status: u16, woke: Option<&Restored>) -> Response {
    let entries = run.log.snapshot(0);
    let mut report = Report::new(&run.handle, &run.at, &entries, run.open_request());
    report.session = run.session.as_deref();
    report.label = run.log.label().map(|label| &**label);
    report.woke = woke.map(Back::from);
    answer::json(status, &report)
}

/// What a person sees, and in headers how it ended.
fn shown(run: &Run, status: u16) -> Response {
    let entries = run.log.snapshot(0);
    let mut response = answer::text(status, report::text(&entries));
    let headers = response.headers_mut();
    match run.log.outcome() {
        None => {
            headers.insert("ostler-outcome", HeaderValue::from_static("running"));
        }
        Some((outcome, _)) => {
            headers.insert("ostler-outcome", HeaderValue::from_static(outcome.kind()));
            let code = match &*outcome {
                Outcome::Completed(_) => Some(0),
                Outcome::Failed(Failure::Exit { code, .. }) => Some(*code),
                Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => None,
            };
            if let Some(code) = code {
                headers.insert("ostler-exit-code", code.into());
            }
        }
    }
    response
}
