//! The file that says who else may use the server.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    desk::principal::{Principal, Scope},
    wire::{bearer::TokenHash, handle},
};

/// Those who may use the server, besides its owner.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    pub(crate) principals: Vec<Principal>,
    weights: Vec<(String, u32)>,
}

/// The file cannot be used. Nothing is served.
#[derive(Debug, thiserror::Error)]
#[error("the tokens file `{}` cannot be used: {why}", .path.display())]
pub struct TokensError {
    path: PathBuf,
    why: String,
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    principals: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    /// BLAKE3 of the token, in 64 hexadecimal digits.
    hash: String,
    scopes: Vec<Scope>,
    #[serde(default = "one")]
    weight: u32,
    sessions: Option<usize>,
    executions: Option<usize>,
}

fn one() -> u32 {
    1
}

impl Tokens {
    /// Reads a file of JSON: `{"principals": [{"name", "hash", "scopes", "weight", "sessions", "executions"}]}`. `hash` is that
    /// of the token, as [`hash`](Self::hash) makes it; `scopes` are of `run`, `read` and `admin`. The last three are optional:
    /// how often it is served where another one is served once (1), and its most sessions and executions.
    ///
    /// # Errors
    /// Others than this user may read the file, or it says something else.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TokensError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = path.as_ref();
        let refuse = |why: String| TokensError { path: path.to_owned(), why };
        let mode = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            let why = format!("others may read it (mode {:o}); `chmod 600` it", mode & 0o777);
            return Err(refuse(why));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        Self::parse(&text).map_err(refuse)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let File { principals } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut tokens = Self::default();
        for line in principals {
            let name = line.name;
            if name == "owner" || handle::check_name(&name).is_err() {
                return Err(format!(
                    "{name:?} cannot name a principal: give lower-case letters, digits, `-`, `_` and `.`, and not `owner`"
                ));
            }
            if tokens.principals.iter().any(|other| *other.name == *name) {
                return Err(format!("`{name}` is there twice"));
            }
            if line.weight == 0 {
                return Err(format!(
                    "the weight of `{name}` is 0, so it would never be served; give at least 1"
                ));
            }
            let Some(hash) = TokenHash::from_hex(&line.hash) else {
                return Err(format!(
                    "the hash of `{name}` is not 64 hexadecimal digits; `ostler serve --hash` makes one"
                ));
            };
            let mut principal = Principal::tenant(&name, hash, line.scopes);
            (principal.sessions, principal.executions) = (line.sessions, line.executions);
            tokens.principals.push(principal);
            tokens.weights.push((name, line.weight));
        }
        Ok(tokens)
    }

    /// How often each is served where another one is served once: the weights of the pool's tenants.
    pub fn weights(&self) -> impl Iterator<Item = (&str, u32)> {
        self.weights.iter().map(|(name, weight)| (&**name, *weight))
    }

    /// What the file says of a token.
    #[must_use]
    pub fn hash(token: &str) -> String {
        blake3::hash(token.as_bytes()).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_who_may_what_and_wrong_ones_say_why() {
        let hash = Tokens::hash("secret");
        let line =
            |name: &str, more: &str| format!(r#"{{"name":"{name}","hash":"{hash}","scopes":["run"]{more}}}"#);
        let file = |lines: &[String]| format!(r#"{{"principals":[{}]}}"#, lines.join(","));
        let tokens = Tokens::parse(&file(&[line("ci", r#","weight":3,"sessions":4"#)])).unwrap();
        assert_eq!(tokens.weights().collect::<Vec<_>>(), [("ci", 3)]);
        assert_eq!((tokens.principals[0].sessions, tokens.principals[0].executions), (Some(4), None));
        for (wrong, words) in [
            (file(&[line("ci", ""), line("ci", "")]), "`ci` is there twice"),
            (file(&[line("owner", "")]), "cannot name a principal"),
            (file(&[line("a/b", "")]), "cannot name a principal"),
            (file(&[line("ci", r#","weight":0"#)]), "never be served"),
            (file(&[line("ci", r#","scope":"x""#)]), "unknown field `scope`"),
            (file(&[line("ci", "").replace(&hash, "secret")]), "not 64 hexadecimal digits"),
            (file(&[line("ci", "").replace("run", "root")]), "unknown variant `root`"),
        ] {
            let why = Tokens::parse(&wrong).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
