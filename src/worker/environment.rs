//! What a worker finds in its environment: an allow-list of the host's, so that the host's secrets stay there.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStrExt};

use crate::{
    config::{Program, Transport, WorkerSpec},
    protocol::Codec,
};

/// Names a worker among all processes of the machine. Children inherit it.
pub(super) const TAG: &str = "OSTLER_TAG";
/// Room behind it, for the longer tag of a copy: it stands there in the order of names, and the worker removes it.
const TAG_ROOM: &str = "OSTLER_TAG_ROOM";
/// Bytes of that room.
const TAG_ROOM_LEN: usize = 32;
const CODEC: &str = "OSTLER_CODEC";
const TRANSPORT: &str = "OSTLER_TRANSPORT";
/// Whoever gets the user's environment gets the packages that the user installed, too.
const USER_SITE: &str = "OSTLER_USER_SITE";

const OURS: &[u8] = b"OSTLER_";
const ALLOWED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"];
const ALLOWED_PREFIX: &[u8] = b"LC_";

/// Variables of Python that are read while it runs, or that the zygote heeds when it forks a script.
const READ_LATER: [&str; 13] = [
    "PYTHONASYNCIODEBUG",
    "PYTHONBREAKPOINT",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONFAULTHANDLER",
    "PYTHONINSPECT",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUNBUFFERED",
    "PYTHONUSERBASE",
    "PYTHON_BASIC_REPL",
    "PYTHON_COLORS",
    "PYTHON_HISTORY",
];

/// The environment of a worker of `spec`, where `host` is that of this process.
pub(super) fn of_worker(
    spec: &WorkerSpec,
    tag: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment = of_spec(spec, host.filter(|(name, _)| spec.inherit_env || is_allowed(name)));
    let codec = match spec.codec {
        Codec::MessagePack => "msgpack",
        Codec::Json => "json",
    };
    let transport = match spec.transport {
        Transport::Socket => "socket",
        Transport::Stdio => "stdio",
    };
    for (name, value) in [(CODEC, codec), (TRANSPORT, transport), (TAG, tag)] {
        environment.insert(name.into(), value.into());
    }
    if matches!(spec.program, Program::Python { .. }) {
        environment.insert(TAG_ROOM.into(), "-".repeat(TAG_ROOM_LEN).into());
        if spec.inherit_env {
            environment.insert(USER_SITE.into(), "1".into());
        }
    }
    environment
}

/// The environment of a script: what a worker of `spec` has, without the marks that tell a worker how to speak.
pub(super) fn of_script(
    spec: &WorkerSpec,
    tag: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment = of_spec(spec, host.filter(|(name, _)| spec.inherit_env || is_allowed(name)));
    environment.insert(TAG.into(), tag.into());
    environment
}

/// Whether there are variables in it that an interpreter reads at its start only, and one that was forked has not read.
pub(super) fn steers_start(environment: &BTreeMap<OsString, OsString>) -> bool {
    environment.iter().any(|(name, value)| {
        name.as_bytes().starts_with(b"PYTHON")
            && !value.is_empty()
            && !READ_LATER.iter().any(|later| name == later)
    })
}

/// The environment in which the interpreter of `spec` is asked who it is. No user code runs there, and version
/// managers are steered by variables of their own: everything of the host is given.
pub(super) fn of_probe(
    spec: &WorkerSpec,
    tag: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment = of_spec(spec, host);
    environment.insert(TAG.into(), tag.into());
    environment
}

/// `host` under what the specification sets. This process may itself run below a worker: its own marks stay behind.
fn of_spec(
    spec: &WorkerSpec,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<_, _> =
        host.filter(|(name, _)| !name.as_bytes().starts_with(OURS)).collect();
    environment.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    environment
}

fn is_allowed(name: &OsString) -> bool {
    ALLOWED.iter().any(|allowed| name == allowed) || name.as_bytes().starts_with(ALLOWED_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> impl Iterator<Item = (OsString, OsString)> {
        let variables = ["PATH", "LC_TIME", "LANGUAGE", "AWS_SECRET", "OSTLER_TAG", "OSTLER_X", "PATHS"];
        variables.into_iter().map(|name| (name.into(), "host".into()))
    }

    fn shown(environment: &BTreeMap<OsString, OsString>) -> String {
        let variables =
            environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display()));
        variables.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_read_at_the_start_of_an_interpreter_is_told_from_what_is_read_later() {
        for (name, value, expected) in [
            ("PYTHONHASHSEED", "0", true),
            ("PYTHONWARNINGS", "error", true),
            ("PYTHON_GIL", "0", true),
            ("PYTHONHASHSEED", "", false),
            ("PYTHONPATH", "lib", false),
            ("PYTHONUNBUFFERED", "1", false),
            ("PYENV_ROOT", "/", false),
        ] {
            let environment = BTreeMap::from([(name.into(), value.into())]);
            assert_eq!(steers_start(&environment), expected, "{name}={value}");
        }
    }

    /// The room is behind the tag, wherever the order of names puts the others.
    #[test]
    fn a_worker_sees_the_allow_list_what_was_added_and_the_marks_of_its_host() {
        let spec = WorkerSpec::python().env("PATH", "/mine").env("TOKEN", "t").env("OSTLER_TAG", "forged");
        assert_eq!(
            shown(&of_worker(&spec, "7-a.0.1", host())),
            format!(
                "LC_TIME=host OSTLER_CODEC=msgpack OSTLER_TAG=7-a.0.1 OSTLER_TAG_ROOM={} OSTLER_TRANSPORT=socket PATH=/mine TOKEN=t",
                "-".repeat(TAG_ROOM_LEN)
            )
        );
    }

    #[test]
    fn inheriting_is_everything_but_the_marks_of_an_outer_host() {
        let spec = WorkerSpec::command("worker").codec(Codec::Json).inherit_env();
        assert_eq!(
            shown(&of_worker(&spec, "t", host())),
            "AWS_SECRET=host LANGUAGE=host LC_TIME=host OSTLER_CODEC=json OSTLER_TAG=t OSTLER_TRANSPORT=stdio \
             PATH=host PATHS=host"
        );
    }
}
