//! The part of a target behind `?`.

use crate::wire::problem::Problem;

/// The value of a parameter, as it stands there; `None` without it. Each name may stand there once.
pub(crate) fn find<'a>(query: Option<&'a str>, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == name && found.replace(value).is_some() {
            return Err(Problem::bad_request(
                name,
                "bad-query",
                format!("the parameter `{name}` is there twice"),
            ));
        }
    }
    Ok(found)
}

/// A parameter that is a number.
pub(crate) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = find(query, name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_not_one| {
        Problem::bad_request(
            name,
            "bad-query",
            format!("the parameter `{name}` is `{text}`; expected a whole number"),
        )
    })
}

/// A parameter that is there or not: `?name`, `?name=true` or `?name=1`.
pub(crate) fn flag(query: Option<&str>, name: &str) -> Result<bool, Problem> {
    match find(query, name)? {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(text) => Err(Problem::bad_request(
            name,
            "bad-query",
            format!("the parameter `{name}` is `{text}`; expected `true` or `false`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_wrong_ones_are_named() {
        let query = Some("after=7&forget&late=");
        assert_eq!(number(query, "after").unwrap(), Some(7));
        assert_eq!(number(query, "before").unwrap(), None);
        assert!(flag(query, "forget").unwrap());
        assert!(!flag(None, "forget").unwrap());
        assert!(number(query, "late").is_err());
        assert!(number(Some("after=1&after=2"), "after").is_err());
        assert!(flag(Some("forget=maybe"), "forget").is_err());
    }
}
