//! In which form a caller wants an answer.

use crate::wire::problem::Problem;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A report: `application/json`.
    Json,
    /// What was printed: `text/plain`.
    Text,
    /// Events as they come: `text/event-stream`.
    Events,
}

/// In the order in which they are preferred where the caller prefers none.
const FORMS: [(&str, &str, Form); 3] = [
    ("application", "json", Form::Json),
    ("text", "plain", Form::Text),
    ("text", "event-stream", Form::Events),
];

impl Form {
    /// The form that the header `Accept` asks for; JSON without one.
    pub(crate) fn choose(accept: Option<&str>) -> Result<Self, Problem> {
        let Some(accept) = accept else { return Ok(Self::Json) };
        let mut best: Option<(u32, u32, Self)> = None;
        for part in accept.split(',') {
            let mut words = part.split(';').map(str::trim);
            let Some((kind, sub)) = words.next().and_then(|range| range.split_once('/')) else { continue };
            let quality = words.find_map(|word| word.strip_prefix("q=")).map_or(1_000, thousandths);
            if quality == 0 {
                continue;
            }
            for (own_kind, own_sub, form) in FORMS {
                let precise = match (kind.eq_ignore_ascii_case(own_kind), sub.eq_ignore_ascii_case(own_sub)) {
                    (true, true) => 2,
                    (true, false) if sub == "*" => 1,
                    (false, _) if kind == "*" && sub == "*" => 0,
                    (true, false) | (false, _) => continue,
                };
                if best.is_none_or(|(than, more, _)| (quality, precise) > (than, more)) {
                    best = Some((quality, precise, form));
                }
            }
        }
        best.map(|(_, _, form)| form).ok_or_else(|| Problem::not_acceptable(accept))
    }
}

/// A quality from 0 to 1; what is none counts as 1.
fn thousandths(text: &str) -> u32 {
    match text.split_once('.') {
        Some(("0", digits)) if digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            format!("{digits:0<3}").parse().unwrap_or(1_000)
        }
        Some(_) => 1_000,
        None if text == "0" => 0,
        None => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_accept_chooses_the_form() {
        for (accept, expected) in [
            ("*/*", Some(Form::Json)),
            ("application/json", Some(Form::Json)),
            ("text/plain", Some(Form::Text)),
            ("TEXT/PLAIN; charset=utf-8", Some(Form::Text)),
            ("text/event-stream", Some(Form::Events)),
            ("text/*", Some(Form::Text)),
            ("text/html, text/plain;q=0.5, */*;q=0.1", Some(Form::Text)),
            ("application/json;q=0.2, text/event-stream;q=0.9", Some(Form::Events)),
            ("text/html;q=0.1, application/json;q=0", None),
            ("text/html", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(Form::choose(Some(accept)).ok(), expected, "{accept:?}");
        }
        assert_eq!(Form::choose(None).ok(), Some(Form::Json));
    }
}
