//! How a body is read: within its limits of size and time.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, header},
};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::{
    config::{BODY_MAX, BODY_TIMEOUT},
    wire::problem::Problem,
};

/// Reads a body to its end. Waits at most [`BODY_TIMEOUT`].
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING) {
        let detail = format!("a body with `Content-Encoding: {encoding:?}` is not taken; send it as it is");
        return Err(Problem::new(415, "unknown-encoding", detail).at("Content-Encoding"));
    }
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body)).await.unwrap_or_else(|_elapsed| {
        let detail = format!("the body was not there within {BODY_TIMEOUT:?}; send it faster");
        Err(Problem::new(408, "body-timeout", detail).at("body"))
    })
}

async fn collect(mut body: Body) -> Result<Bytes, Problem> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::bad_request("body", "bad-body", format!("the body ended before its end: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > BODY_MAX {
            return Err(too_large());
        }
        if all.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn too_large() -> Problem {
    let detail = format!("the body has more than {BODY_MAX} bytes; pass large inputs as files");
    Problem::too_large("body", detail).at("body")
}

/// A header that is there at most once, as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        (Ok(_), Some(_)) | (Err(_), _) => {
            let detail = format!("the header `{name}` is there twice, or is no text");
            Err(Problem::bad_request(name.as_str(), "bad-header", detail))
        }
    }
}
