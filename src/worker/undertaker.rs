//! Ends the workers of a host that was killed, and what they started, and removes their scratch folders.
//!
//! A worker ends itself and its group when its channel does. Code in C that never lets go of the interpreter keeps it
//! from noticing, and what left the group has nobody left to sweep it. So each pool has a small process of its own that
//! waits for the end of a pipe whose other end only this process holds.

use std::{collections::BTreeMap, env, ffi::OsString};

use super::{
    process::{Launch, Stdin},
    scratch::Scratch,
    spawner::{Power, Started, start},
    sweep::Estate,
    unsettled::Unsettled,
};
use crate::error::SpawnError;

const SCRIPT: &str = include_str!("undertaker.sh");

/// The process that waits. It is killed, and not let go, when its pool has ended and nothing is left of it.
#[derive(Debug)]
pub(super) struct Undertaker {
    _power: Power,
    _until_we_die: Stdin,
}

impl Undertaker {
    /// Starts the one of the pool whose workers' tags begin with `pool` and a dot. Called on the thread that starts
    /// processes.
    pub(super) fn start(pool: &str) -> Result<Self, SpawnError> {
        let unknown = |source| SpawnError::System {
            action: "find the temporary folder for",
            program: "/bin/sh".into(),
            source,
        };
        let mut args: Vec<_> = ["-c", SCRIPT, "ostler-undertaker", pool].map(OsString::from).into();
        args.push(Scratch::home().map_err(unknown)?.into_os_string());
        let path = env::var_os("PATH").map(|path| ("PATH".into(), path));
        let launch = Launch {
            program: "/bin/sh".into(),
            args,
            // Without a tag: it must not find itself.
            env: BTreeMap::from_iter(path),
            cwd: "/".into(),
            socket: false,
        };
        let estate = Estate { tag: format!("{pool}.undertaker"), scratch: None };
        let Started { ends, power, .. } = start(&launch, estate, &Unsettled::default())?;
        Ok(Self { _power: power, _until_we_die: ends.stdin })
    }
}
