//! The processes of this machine, as `/proc` shows them.
//!
//! Every worker and all its descendants carry `OSTLER_TAG=<host>-<seed>.<slot>.<generation>` in their environment.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::support::wait::eventually;

/// Whether the process lives; a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    // The state follows the name, which is in brackets and may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Sends a signal to exactly this worker, if it is still one of ours; whether it was.
pub(crate) fn signal(pid: u32, signal: Signal) -> bool {
    // Held first and looked at then: the number cannot become a stranger's in between.
    let held = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let ours = format!("{}-", std::process::id());
    let is_ours = || tag_of(pid).is_some_and(|tag| tag.starts_with(&ours));
    held.is_some_and(|held| is_ours() && pidfd_send_signal(&held, signal).is_ok())
}

/// The part of a worker's tag that all workers of its pool share.
pub(crate) fn pool_tag(worker: u32) -> String {
    let tag = tag_of(worker).expect("a worker has a tag in its environment");
    let (pool, _slot_and_generation) = tag.split_once('.').expect("a tag names a slot");
    format!("{pool}.")
}

fn tag_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let tag = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"OSTLER_TAG="));
    tag.map(|tag| String::from_utf8_lossy(tag).into_owned())
}

/// Live processes whose tag begins like this.
pub(crate) fn tagged(tag: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.filter(|pid| alive(*pid) && tag_of(*pid).is_some_and(|found| found.starts_with(tag))).collect()
}

/// Scratch folders whose tag begins like this.
pub(crate) fn scratch_folders(tag: &str) -> Vec<PathBuf> {
    let name = format!("ostler-{tag}");
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .map(|entry| entry.path())
        .collect()
}

/// Waits until nothing carries this tag, and returns how long that took.
pub(crate) async fn nothing_left(tag: &str, limit: Duration) -> Duration {
    let what = format!("processes and scratch folders of {tag} are gone");
    eventually(&what, limit, || tagged(tag).is_empty() && scratch_folders(tag).is_empty()).await
}
