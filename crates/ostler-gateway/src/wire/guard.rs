//! Whether a request was meant for this server: a page of another site, or a name that somebody points at this machine, must
//! not reach it.

use crate::wire::problem::Problem;

/// The names by which a loopback server is meant.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The hosts that requests may name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    more: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(more: impl IntoIterator<Item = String>) -> Self {
        Self { more: more.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        LOOPBACK.contains(&&*host) || self.more.contains(&host)
    }

    /// Checks the `Host` headers, the authority of an absolute target, and the `Origin` headers. Values that are no text come
    /// as `None`.
    pub(crate) fn check(
        &self,
        hosts: &[Option<&str>],
        authority: Option<&str>,
        origins: &[Option<&str>],
    ) -> Result<(), Problem> {
        let [Some(host)] = hosts else {
            let found = hosts.len();
            return Err(Problem::bad_request(
                "host",
                "bad-host",
                format!(
                    "a request needs exactly one header `Host` that is text, and this one has {found} of them"
                ),
            ));
        };
        for named in [Some(*host), authority].into_iter().flatten() {
            let Some(name) = name_of(named) else {
                return Err(Problem::bad_request(
                    "host",
                    "bad-host",
                    format!("`{named}` is no host: expected a name or an address, with or without a port"),
                ));
            };
            if !self.is_ours(name) {
                return Err(Problem::forbidden(
                    "host",
                    "wrong-host",
                    format!(
                        "this server is not `{name}`; ask for `localhost` or `127.0.0.1`, or start it with `--host {name}`"
                    ),
                ));
            }
        }
        match origins {
            [] => Ok(()),
            [Some(origin)] if is_same(origin, host) => Ok(()),
            [Some(origin)] => Err(Problem::forbidden(
                "origin",
                "foreign-origin",
                format!("a page of `{origin}` asks `{host}`; only pages of this server may"),
            )),
            [None] | [_, _, ..] => Err(Problem::forbidden(
                "origin",
                "foreign-origin",
                "the header `Origin` is not one origin; only pages of this server may send one",
            )),
        }
    }
}

/// The name in `name:port`, if that is what it is. An IPv6 address stands in brackets, which stay.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (&host[..end], &host[end..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    let good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    (good && !name.is_empty() && name.bytes().all(plain)).then_some(name)
}

/// Whether a page of this origin came from this host: through a proxy that adds TLS, also by `https`.
fn is_same(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &[Option<&str>], origins: &[Option<&str>]) -> u16 {
        let ours = Hosts::new(["Box.example".to_owned()]);
        ours.check(hosts, None, origins).err().map_or(200, |problem| problem.status())
    }

    /// G18.
    #[test]
    fn only_requests_that_name_this_server_and_come_from_its_pages_are_taken() {
        for (host, expected) in [
            ("localhost", 200),
            ("LOCALHOST:7411", 200),
            ("127.0.0.1:7411", 200),
            ("[::1]:7411", 200),
            ("[::1]", 200),
            ("box.example", 200),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:80", 403),
            ("127.0.0.2", 403),
            ("[::2]:80", 403),
            ("::1", 400),
            ("localhost:", 400),
            ("localhost:99999", 400),
            ("localhost:+80", 400),
            ("local host", 400),
            ("user@localhost", 400),
            ("[::1", 400),
            ("[::1]x", 400),
            ("", 400),
        ] {
            assert_eq!(status(&[Some(host)], &[]), expected, "{host:?}");
        }
        assert_eq!(status(&[], &[]), 400);
        assert_eq!(status(&[None], &[]), 400);
        assert_eq!(status(&[Some("localhost"), Some("localhost")], &[]), 400);
        let host = Some("localhost:7411");
        for (origin, expected) in [
            ("http://localhost:7411", 200),
            ("https://localhost:7411", 200),
            ("http://LOCALHOST:7411", 200),
            ("null", 403),
            ("http://localhost:3000", 403),
            ("http://localhost", 403),
            ("http://evil.example", 403),
            ("file://", 403),
            ("", 403),
        ] {
            assert_eq!(status(&[host], &[Some(origin)]), expected, "{origin:?}");
        }
        assert_eq!(status(&[host], &[None]), 403);
        assert_eq!(status(&[host], &[Some("http://localhost:7411"), Some("null")]), 403);
    }

    #[test]
    fn the_target_of_a_request_is_no_way_round_its_host() {
        let ours = Hosts::default();
        let check = |authority| ours.check(&[Some("localhost")], Some(authority), &[]);
        assert_eq!(check("evil.example").unwrap_err().status(), 403);
        check("localhost:7411").unwrap();
    }
}
