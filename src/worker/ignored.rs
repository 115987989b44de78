//! What asks a script to stop, where this process ignores it: what it starts would ignore it, too.

use std::{ffi::OsString, fs, path::Path};

/// SIGINT and SIGTERM, as the kernel numbers the bits of its masks: signal 1 is bit 0.
const STOPS: u64 = 1 << 1 | 1 << 14;

/// Has Python take them as by default, and become the program that follows.
const HEAR: &str = "import os, signal, sys\n\
                    for stop in (signal.SIGINT, signal.SIGTERM): signal.signal(stop, signal.SIG_DFL)\n\
                    os.execv(sys.argv[1], sys.argv[1:])";

/// Whether this process ignores what asks a script to stop. A shell without job control has its background jobs ignore
/// SIGINT (POSIX, Shell Command Language, 2.11), and a service is often started so: `service & wait`.
pub(super) fn stops_are_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status) & STOPS != 0)
}

/// The signals that a process ignores, by its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The arguments with which this interpreter of Python hears them, and then is what it would be with these. It costs the
/// start of an interpreter without `site`.
pub(super) fn heard(python: &Path, args: Vec<OsString>) -> Vec<OsString> {
    let first = ["-I", "-S", "-c", HEAR].map(OsString::from);
    first.into_iter().chain([python.as_os_str().to_owned()]).chain(args).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_as_the_kernel_writes_it() {
        let status = |mask| {
            format!("Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\t0000000000000002\n")
        };
        assert_eq!(ignored(&status("0000000000000007")) & STOPS, 1 << 1);
        assert_eq!(ignored(&status("0000000000004000")) & STOPS, 1 << 14);
        assert_eq!(ignored(&status("0000000000001001")) & STOPS, 0);
        assert_eq!(ignored("Name:\tSigIgn\n"), 0);
    }
}
