//! The description of all paths, generated from the handlers and the values that they take and give.

use std::sync::OnceLock;

use axum::response::Response;
use utoipa::{
    OpenApi,
    openapi::{
        Content, RefOr, ResponseBuilder,
        path::PathItem,
        schema::Ref,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{answer, executions, metrics, pool, run, sessions};
use crate::wire::problem::{MEDIA_TYPE, Members};

#[derive(OpenApi)]
#[openapi(
    info(title = "Ostler", description = "A supervised pool of workers: code, sessions, events."),
    paths(
        run::run,
        run::in_session,
        executions::list,
        executions::get,
        executions::events,
        executions::cancel,
        executions::interrupt,
        executions::input,
        executions::activity,
        sessions::create,
        sessions::list,
        sessions::get,
        sessions::delete,
        sessions::fork,
        sessions::checkpoint,
        sessions::restore,
        sessions::save,
        sessions::vars,
        sessions::activity,
        sessions::get_checkpoint,
        sessions::drop_checkpoint,
        pool::status,
        pool::reset,
        pool::drain,
        pool::version,
        pool::healthz,
        pool::readyz,
        metrics::metrics,
        openapi,
    ),
    components(schemas(Members)),
    security(("token" = []))
)]
struct Document;

/// The description, as JSON.
pub(crate) fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut document = Document::openapi();
        for item in document.paths.paths.values_mut() {
            complete(item);
        }
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", token);
        document.to_json().expect("it has text for keys alone")
    })
}

/// Every refusal is a problem; the path stands in the documentation of a handler for those who read its code.
fn complete(item: &mut PathItem) {
    for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let problem =
            ResponseBuilder::new().description("Refused: why, and what to do").content(MEDIA_TYPE, content);
        operation.summary = operation.summary.take().map(|text| match text.split_once("`: ") {
            Some((_, summary)) => summary.to_owned(),
            None => text,
        });
        operation.responses.responses.insert("default".into(), RefOr::T(problem.build()));
    }
}

/// `GET /openapi.json`: this description.
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi() -> Response {
    answer::json_text(document())
}
