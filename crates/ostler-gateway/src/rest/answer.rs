//! Answers: JSON, text, problems.

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::wire::problem::{MEDIA_TYPE, Problem};

/// What no answer may be kept by, or taken for.
fn with_type(status: u16, media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A value as JSON, with the end of its line.
pub(super) fn json(status: u16, value: &impl Serialize) -> Response {
    with_type(status, "application/json", ostler::json::line(value))
}

/// JSON that is text already.
pub(super) fn json_text(text: &str) -> Response {
    with_type(200, "application/json", text.as_bytes().to_vec())
}

/// Text.
pub(super) fn text(status: u16, text: String) -> Response {
    with_type(status, "text/plain; charset=utf-8", text.into_bytes())
}

/// It is done, or begun; there is nothing more to say.
pub(super) fn empty(status: u16) -> Response {
    let mut response = with_type(status, "text/plain", Vec::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = with_type(self.status(), MEDIA_TYPE, self.to_json());
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status() == 401 {
            let challenge = HeaderValue::from_static("Bearer realm=\"ostler\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(200).collect();
    Problem::new(
        404,
        "no-such-path",
        format!("there is nothing at {shown:?}; `/openapi.json` lists all paths"),
    )
    .at("path")
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(200).collect();
    let detail = format!("{shown:?} has no method `{method}`; `/openapi.json` lists those that it has");
    Problem::new(405, "no-such-method", detail).at("method")
}
