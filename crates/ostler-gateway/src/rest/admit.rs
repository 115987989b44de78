//! What every request passes first: the host that it means, the page that it comes from, and who asks.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, Request, State},
    http::{HeaderMap, HeaderName, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    desk::{Desk, principal::Principal},
    wire::{bearer, guard::Hosts, problem::Problem, query},
};

/// Paths that need no token: whoever reaches the server may see whether it lives.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Names under which somebody may put a token into a query, where logs would keep it.
const TOKENS: [&str; 3] = ["token", "access_token", "api_key"];

/// What handlers have.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) desk: Arc<Desk>,
    pub(super) hosts: Arc<Hosts>,
}

/// Where a connection comes from, as its accept loop found it: an extension of each request. Without one, a request is
/// treated as one from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A process of this user, on a Unix socket.
    SameUser,
    /// Anybody.
    Anybody,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<Principal>);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(no_token)
    }
}

/// The part of the path that names something.
#[derive(Clone, Debug)]
pub(super) struct Named(pub(super) String);

impl FromRequestParts<App> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let named = Path::<String>::from_request_parts(parts, app).await;
        named.map(|Path(name)| Self(name)).map_err(|why| {
            Problem::bad_request("path", "bad-path", format!("the path cannot be read: {}", why.body_text()))
        })
    }
}

/// Lets a request in, or refuses it.
pub(super) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match check(&app, &request) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(Caller(caller));
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn check(app: &App, request: &Request) -> Result<Option<Arc<Principal>>, Problem> {
    let headers = request.headers();
    let hosts = texts(headers, &header::HOST);
    let authority = request.uri().authority().map(|authority| authority.as_str());
    app.hosts.check(&hosts, authority, &texts(headers, &header::ORIGIN))?;
    let caller = caller(app, request)?;
    if caller.is_none() && !OPEN.contains(&request.uri().path()) {
        return Err(no_token());
    }
    Ok(caller)
}

fn caller(app: &App, request: &Request) -> Result<Option<Arc<Principal>>, Problem> {
    let target = request.uri().query();
    for name in TOKENS {
        if query::find(target, name)?.is_some() {
            return Err(Problem::unauthorized(format!(
                "a token in the query (`{name}`) is written to logs on its way, and is not taken; make a new one, and send \
                 `Authorization: Bearer TOKEN`"
            )));
        }
    }
    let given = texts(request.headers(), &header::AUTHORIZATION);
    let given = match &given[..] {
        [] => None,
        [Some(one)] => Some(*one),
        _several => {
            return Err(Problem::unauthorized("the header `Authorization` is there twice, or is no text"));
        }
    };
    match bearer::presented(given)? {
        Some(token) => match app.desk.principals.find(token) {
            Some(found) => Ok(Some(Arc::clone(found))),
            None => Err(Problem::unauthorized("this token is nobody's; take the one of the running server")),
        },
        None if request.extensions().get() == Some(&Peer::SameUser) => Ok(Some(Arc::clone(&app.desk.owner))),
        None => Ok(None),
    }
}

fn no_token() -> Problem {
    Problem::unauthorized(
        "there is no token; send `Authorization: Bearer TOKEN` with the token of the file that `ostler serve` names, or use \
         its Unix socket",
    )
}

/// The values of a header; `None` for one that is no text.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Option<&'a str>> {
    headers.get_all(name).iter().map(|value| value.to_str().ok()).collect()
}
