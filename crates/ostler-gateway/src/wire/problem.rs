//! Refusals, as problems by RFC 9457: what happened, which limit it was, where it is in the request, and what to do.

use std::{borrow::Cow, time::Duration};

use ostler::{StateError, StoreError, SubmitError};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// When to try again where nobody can say when there will be room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request was refused. It moves through many results, so it is small.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<Members>);

/// The members of the object that RFC 9457 describes, and four of our own.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Members {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// One sentence: the object, its state, what was expected, and what to do.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// The setting or the constant that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// The header, parameter or field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// When what was asked for ended, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

impl Problem {
    /// A refusal with this status. `name` never changes its meaning.
    pub(crate) fn new(status: u16, name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Members {
            kind: format!("urn:ostler:problem:{name}"),
            title: title(status),
            status,
            detail: detail.into(),
            limit: None,
            place: None,
            retry_after: None,
            ended_at: None,
        }))
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    fn of_limit(mut self, limit: &'static str) -> Self {
        self.0.limit = Some(limit);
        self
    }

    fn retried_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    pub(crate) fn bad_request(place: &str, name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, name, detail).at(place)
    }

    pub(crate) fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(401, "unauthorized", detail).at("Authorization")
    }

    pub(crate) fn forbidden(place: &str, name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, name, detail).at(place)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display, remedy: &str) -> Self {
        Self::new(404, "not-found", format!("there is no {what}; {remedy}"))
    }

    /// What was asked for has ended: when and why.
    pub(crate) fn gone(what: impl std::fmt::Display, at: String, why: &str) -> Self {
        let detail = format!("{what} ended at {at}: {why}");
        let mut problem = Self::new(410, "gone", detail);
        problem.0.ended_at = Some(at);
        problem
    }

    pub(crate) fn not_acceptable(accept: &str) -> Self {
        let detail = format!(
            "`Accept: {accept}` names no form of an answer; ask for `application/json`, `text/plain` or `text/event-stream`"
        );
        Self::new(406, "not-acceptable", detail).at("Accept")
    }

    /// A limit is reached for now.
    pub(crate) fn too_many(
        limit: &'static str,
        detail: impl Into<Cow<'static, str>>,
        retry_after: Option<Duration>,
    ) -> Self {
        let seconds = retry_after.unwrap_or(RETRY_AFTER).as_secs_f64().ceil().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, and it saturates"
        )]
        let seconds = seconds as u64;
        Self::new(429, "too-many", detail).of_limit(limit).retried_after(seconds)
    }

    pub(crate) fn too_large(limit: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(413, "too-large", detail).of_limit(limit)
    }

    /// Nothing is taken for now, or any more.
    pub(crate) fn unavailable(name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, name, detail).retried_after(RETRY_AFTER.as_secs())
    }

    pub(crate) fn draining() -> Self {
        Self::unavailable("draining", "the server is ending, and takes nothing new; ask its successor")
    }

    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// The body.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        ostler::json::line(self)
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "The request is wrong",
        401 => "A token is needed",
        403 => "Not allowed",
        404 => "Not found",
        405 => "This path has other methods",
        406 => "No such form of an answer",
        408 => "The request took too long",
        409 => "It is not in the state for that",
        410 => "It has ended",
        413 => "Too large",
        415 => "Unknown form of a body",
        422 => "The request cannot be carried out",
        429 => "A limit is reached",
        503 => "Not serving",
        504 => "It took too long",
        _other => "Error",
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::QueueFull { retry_after, .. } => Self::too_many("queue", detail, retry_after),
            SubmitError::QueueBytes { retry_after, .. } => Self::too_many("queue_bytes", detail, retry_after),
            SubmitError::TenantFull { retry_after, .. } => {
                Self::too_many("tenant_queue", detail, retry_after)
            }
            SubmitError::TooLate { predicted, .. } => Self::too_many("deadline_ms", detail, Some(predicted)),
            SubmitError::SessionQueueFull { .. } => Self::too_many("session_queue", detail, None),
            SubmitError::NoSession { .. } => Self::too_many("max_sessions", detail, None),
            SubmitError::TooLarge { .. } => Self::too_large("frame", detail).at("code"),
            SubmitError::Unfit { .. } => Self::new(422, "unfit", detail),
            SubmitError::ShuttingDown => Self::draining(),
            SubmitError::PoolFailed { .. } => Self::unavailable("pool-failed", detail),
            SubmitError::SessionEnded { .. } => Self::new(410, "gone", detail),
            SubmitError::OtherGeneration { .. } => {
                Self::new(409, "other-generation", detail).at("expect_generation")
            }
            _new => Self::unavailable("refused", detail),
        }
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        let detail = error.to_string();
        match error {
            StateError::Submit(error) => error.into(),
            StateError::Store(error) => error.into(),
            StateError::TooLarge { .. } => Self::too_large("max_checkpoint_bytes", detail),
            StateError::Refused { .. } => Self::new(422, "refused", detail),
            StateError::NotForked { .. } => Self::new(409, "not-forked", detail),
            StateError::TimedOut { .. } => Self::new(504, "timed-out", detail).of_limit("checkpoint_timeout"),
            StateError::Cancelled => Self::new(409, "cancelled", detail),
            StateError::Lost(_) => Self::new(409, "lost", detail),
            StateError::Overtaken => Self::new(409, "overtaken", detail),
            StateError::NotKept => Self::new(
                409,
                "not-kept",
                "this server keeps no states on disk, so no session has a name; start it with `--state-dir FOLDER`",
            ),
            StateError::Nameless => Self::new(
                409,
                "nameless",
                "the session has no name to be saved under; make one with a `name`, or take a checkpoint",
            ),
            StateError::NotSaved { .. } => Self::new(404, "not-found", detail),
            StateError::Damaged { .. } => Self::unavailable("damaged", detail),
            _new => Self::unavailable("refused", detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let detail = format!("{error}{source}");
        match error {
            StoreError::Name { .. } => Self::bad_request("name", "bad-name", detail),
            StoreError::NameInUse { .. } | StoreError::InUse { .. } => Self::new(409, "in-use", detail),
            StoreError::Unusable { .. } => Self::new(409, "unusable", detail),
            StoreError::Busy { .. } => Self::too_many("saves", detail, None),
            StoreError::TimedOut { .. } | StoreError::Thread { .. } | StoreError::Disk { .. } => {
                Self::unavailable("disk", detail)
            }
            _new => Self::unavailable("disk", detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_the_remedy_and_when_to_try_again() {
        let full =
            SubmitError::QueueFull { len: 4, limit: 4, retry_after: Some(Duration::from_millis(2_300)) };
        let text = String::from_utf8(Problem::from(full).to_json()).unwrap();
        let expected = "{\"type\":\"urn:ostler:problem:too-many\",\"title\":\"A limit is reached\",\"status\":429,\
            \"detail\":\"the queue is full: 4 of 4 requests wait; submit again in about 2s, or raise `queue`\",\
            \"limit\":\"queue\",\"retry_after\":3}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_ended_says_when_and_why() {
        let gone = Problem::gone("the session `a`", "2026-11-30T12:00:00Z".into(), "it was deleted");
        assert_eq!((gone.status(), gone.retry_after()), (410, None));
        let text = String::from_utf8(gone.to_json()).unwrap();
        assert!(text.contains("ended at 2026-11-30T12:00:00Z: it was deleted"), "{text}");
    }
}
