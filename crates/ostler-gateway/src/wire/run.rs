//! What a caller asks to be run: a JSON object, or the code itself.

use std::{collections::BTreeMap, time::Duration};

use ostler::{Generation, Request, Value};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::wire::{form::Form, problem::Problem, query};

/// How long an answer is waited for when the caller does not say, in milliseconds: less than clients wait.
pub(crate) const WAIT_DEFAULT_MS: u64 = 45_000;
/// The longest that an answer is waited for, in milliseconds.
pub(crate) const WAIT_MAX_MS: u64 = 600_000;
/// Most letters of a label.
const LABEL_MAX: usize = 200;

/// The body of a run.
#[derive(Debug, Default, Deserialize, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// What to run.
    pub(crate) code: String,
    /// Names that are bound before the code runs.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) args: BTreeMap<String, Value>,
    /// Runs in this session; without one, in a fresh namespace.
    pub(crate) session: Option<String>,
    /// Names the request in lists and events.
    pub(crate) label: Option<String>,
    /// How long to wait for the outcome, in milliseconds; then the answer is 202, and the code goes on.
    pub(crate) wait_ms: Option<u64>,
    /// Stops the code after this time, in milliseconds, waiting included.
    pub(crate) deadline_ms: Option<u64>,
    /// What the code may use.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Runs only in this generation of the session.
    pub(crate) expect_generation: Option<u64>,
    /// Whether the code may ask for input: `POST …/input` answers. If not, `input()` raises `EOFError`.
    pub(crate) input: Option<bool>,
    /// Gives the value in rich formats, too.
    #[serde(default)]
    pub(crate) mime: bool,
}

/// What the code may use.
#[derive(Debug, Default, Deserialize, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Bytes that it may print.
    pub(crate) output_bytes: Option<u64>,
    /// Processor time, in milliseconds.
    pub(crate) cpu_ms: Option<u64>,
    /// Bytes of its value.
    pub(crate) result_bytes: Option<u64>,
}

impl RunBody {
    /// Reads a body of this media type; of code alone, the rest stands in the query.
    pub(crate) fn read(
        content_type: Option<&str>,
        target: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Problem> {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media = media.to_ascii_lowercase();
        let read = match &*media {
            "application/json" => json(body)?,
            "application/x-python" | "application/javascript" => Self::plain(target, body)?,
            text if text.starts_with("text/") => Self::plain(target, body)?,
            _other => return Err(unknown(content_type)),
        };
        read.check()
    }

    fn plain(target: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        let code = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Problem::bad_request(
                "body",
                "bad-body",
                format!("byte {at} of the code is not UTF-8; send it as UTF-8"),
            )
        })?;
        Ok(Self {
            code: code.to_owned(),
            session: query::find(target, "session")?.map(str::to_owned),
            wait_ms: query::number(target, "wait_ms")?,
            deadline_ms: query::number(target, "deadline_ms")?,
            input: query::find(target, "input")?
                .is_some()
                .then(|| query::flag(target, "input"))
                .transpose()?,
            ..Self::default()
        })
    }

    fn check(self) -> Result<Self, Problem> {
        if self.wait_ms.is_some_and(|wait| wait > WAIT_MAX_MS) {
            return Err(Problem::bad_request(
                "wait_ms",
                "bad-field",
                format!(
                    "`wait_ms` is more than {WAIT_MAX_MS}; wait so long and read `/v1/executions/ID` after that"
                ),
            ));
        }
        if self.deadline_ms == Some(0) {
            return Err(Problem::bad_request(
                "deadline_ms",
                "bad-field",
                "`deadline_ms` is 0, so it would always have passed; give a longer time",
            ));
        }
        if self
            .label
            .as_ref()
            .is_some_and(|label| label.len() > LABEL_MAX || label.contains(char::is_control))
        {
            return Err(Problem::bad_request(
                "label",
                "bad-field",
                format!("`label` must have at most {LABEL_MAX} bytes and no control characters"),
            ));
        }
        Ok(self)
    }

    /// How long the caller waits.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unwrap_or(WAIT_DEFAULT_MS))
    }

    /// The request, for a caller who wants this form of an answer. It goes on when the caller does not.
    pub(crate) fn request(self, form: Form) -> Request {
        // Whoever follows the events sees that input is asked for.
        let input = self.input.unwrap_or(form == Form::Events);
        let mut request = Request::new(self.code).allow_input(input).mime(self.mime).detached();
        for (name, value) in self.args {
            request = request.arg(name, value);
        }
        if let Some(label) = self.label {
            request = request.label(label);
        }
        if let Some(deadline) = self.deadline_ms {
            request = request.deadline(Duration::from_millis(deadline));
        }
        if let Some(bytes) = self.limits.output_bytes {
            request = request.max_output(bytes);
        }
        if let Some(time) = self.limits.cpu_ms {
            request = request.max_cpu(Duration::from_millis(time));
        }
        if let Some(bytes) = self.limits.result_bytes {
            request = request.max_result(bytes);
        }
        match self.expect_generation {
            Some(generation) => request.expect_generation(Generation(generation)),
            None => request,
        }
    }
}

/// Reads a JSON body; what is wrong is said with its place.
pub(crate) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not as it should be: {error}; see `/openapi.json`");
        Problem::bad_request(&format!("body, line {line}, column {column}"), "bad-body", detail)
    })
}

/// As [`json`], for a body that may be left out.
pub(crate) fn json_or_nothing<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { json(body) }
}

fn unknown(content_type: Option<&str>) -> Problem {
    let found = content_type.map_or_else(|| "no `Content-Type`".into(), |it| format!("`Content-Type: {it}`"));
    let detail = format!(
        "{found}: expected `application/json` with {{\"code\": …}}, or `text/x-python` with the code itself; with curl: \
         `--json '{{\"code\": \"print(6 * 7)\"}}'`, or `--data-binary @job.py -H 'Content-Type: text/x-python'`"
    );
    Problem::new(415, "unknown-media-type", detail).at("Content-Type")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn a_body_is_an_object_or_the_code_itself() {
        let body = RunBody::read(JSON, None, br#"{"code": "x", "args": {"n": [1]}, "wait_ms": 0}"#).unwrap();
        assert_eq!((&*body.code, body.wait_ms, body.args.len()), ("x", Some(0), 1));
        let body = RunBody::read(Some("text/x-python"), Some("session=a&wait_ms=5"), b"print(1)").unwrap();
        assert_eq!((&*body.code, body.session.as_deref()), ("print(1)", Some("a")));
        assert_eq!(body.wait(), Duration::from_millis(5));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let deep = [b"{\"code\":\"\",\"args\":{\"a\":".as_slice(), &[b'['; 100_000]].concat();
        for (media, body, status, words) in [
            (JSON, &b"{}"[..], 400, "missing field `code`"),
            (JSON, b"{\"code\": 1}", 400, "line 1, column 10"),
            (JSON, b"{\"code\": \"\", \"kode\": 1}", 400, "unknown field `kode`"),
            (JSON, b"{\"code\": \"\", \"wait_ms\": 600001}", 400, "`wait_ms` is more than 600000"),
            (JSON, b"{\"code\": \"\", \"deadline_ms\": 0}", 400, "always have passed"),
            (JSON, &deep, 400, "recursion limit"),
            (Some("application/x-www-form-urlencoded"), b"code=1", 415, "--json"),
            (None, b"", 415, "no `Content-Type`"),
            (Some("text/plain"), b"a\xFF", 400, "byte 1 of the code is not UTF-8"),
        ] {
            let problem = RunBody::read(media, None, body).unwrap_err();
            let text = String::from_utf8(problem.to_json()).unwrap();
            assert_eq!(problem.status(), status, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}
