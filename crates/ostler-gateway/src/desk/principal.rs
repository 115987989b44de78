//! Who asks, and what they may.

use std::{fmt, sync::Arc};

use serde::Deserialize;

use crate::wire::{bearer::TokenHash, problem::Problem};

/// What a principal may do. Each includes none of the others.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Run code, and all that belongs to it: sessions, input, cancels, files.
    Run,
    /// Look: at executions and sessions of one's own, at the pool and its metrics.
    Read,
    /// What concerns everybody: start failed workers again, end the server.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Admin => "admin",
        })
    }
}

/// Somebody who may use the server.
#[derive(Clone, Debug)]
pub struct Principal {
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Vec<Scope>,
    /// Whether requests are made on behalf of a tenant of this name.
    pub(crate) is_tenant: bool,
    /// Most sessions; `None`: the server's limit.
    pub(crate) sessions: Option<usize>,
    /// Most executions at once; `None`: the server's limit.
    pub(crate) executions: Option<usize>,
    token: Option<TokenHash>,
}

impl Principal {
    /// The one who started the server, and may do all.
    pub(crate) fn owner(token: Option<&str>) -> Self {
        Self {
            name: "owner".into(),
            scopes: vec![Scope::Run, Scope::Read, Scope::Admin],
            is_tenant: false,
            sessions: None,
            executions: None,
            token: token.map(TokenHash::of),
        }
    }

    /// Somebody of the tokens file.
    pub(crate) fn tenant(name: &str, token: TokenHash, scopes: Vec<Scope>) -> Self {
        let (sessions, executions) = (None, None);
        Self { name: name.into(), scopes, is_tenant: true, sessions, executions, token: Some(token) }
    }

    /// Checks that the principal may do this.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let name = &self.name;
        let detail =
            format!("the token of `{name}` has no scope `{scope}`; ask whoever runs the server for it");
        Err(Problem::forbidden("Authorization", "no-scope", detail))
    }
}

/// Everybody who may use the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Principals(Vec<Arc<Principal>>);

impl Principals {
    pub(crate) fn new(all: impl IntoIterator<Item = Principal>) -> Self {
        Self(all.into_iter().map(Arc::new).collect())
    }

    /// Whose token this is. All are compared, each in constant time.
    pub(crate) fn find(&self, token: &str) -> Option<&Arc<Principal>> {
        let hash = TokenHash::of(token);
        self.0.iter().fold(None, |found, one| if one.token == Some(hash) { Some(one) } else { found })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_principals_and_has_its_scopes() {
        let all =
            [Principal::owner(Some("o")), Principal::tenant("reader", TokenHash::of("r"), vec![Scope::Read])];
        let all = Principals::new(all);
        assert_eq!(&*all.find("o").unwrap().name, "owner");
        let reader = all.find("r").unwrap();
        assert!(reader.may(Scope::Read).is_ok());
        assert_eq!(reader.may(Scope::Run).unwrap_err().status(), 403);
        assert!(all.find("x").is_none() && all.find("").is_none());
        assert!(Principals::new([Principal::owner(None)]).find("").is_none());
    }
}
