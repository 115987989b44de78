//! The machine: its limits and its folders.

use std::{fs, path::Path};

use rustix::{
    process::{Resource, getrlimit},
    system::uname,
};

use crate::doctor::Finding;

/// Descriptors that a pool of some workers needs; each takes about six.
const FILES_MIN: u64 = 256;
/// Processes and threads that a pool of some workers with children needs.
const PROCESSES_MIN: u64 = 128;
/// Free memory below which workers with larger libraries are soon killed.
const MEMORY_MIN: u64 = 512 << 20;
/// Free space that scratch folders should have.
const SPACE_MIN: u64 = 64 << 20;

/// Looks at the machine.
pub(crate) fn look() -> Vec<Finding> {
    let system = uname();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let name = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let system = format!(
        "ostler {} on {} {} ({}), {processors} processors",
        env!("CARGO_PKG_VERSION"),
        name(system.sysname()),
        name(system.release()),
        name(system.machine()),
    );
    vec![Finding::ok("system", system), open_files(), processes(), memory(), temporary(&std::env::temp_dir())]
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let found = format!("at most {}", number(limit.current));
    match limit.current {
        Some(files) if files < FILES_MIN => {
            Finding::warning("open files", found, format!("raise the limit: ulimit -n {}", FILES_MIN * 4))
        }
        Some(_) | None => Finding::ok("open files", found),
    }
}

fn processes() -> Finding {
    let limit = getrlimit(Resource::Nproc);
    let found = format!("at most {} of this user", number(limit.current));
    match limit.current {
        Some(processes) if processes < PROCESSES_MIN => {
            Finding::warning("processes", found, format!("raise the limit: ulimit -u {}", PROCESSES_MIN * 4))
        }
        Some(_) | None => Finding::ok("processes", found),
    }
}

fn memory() -> Finding {
    let address_space = getrlimit(Resource::As).current;
    let mut found = match fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available) {
        Some((free, total)) if free < MEMORY_MIN => {
            let found = format!("{} of {} free", size(free), size(total));
            return Finding::warning("memory", found, "use fewer workers (--workers), or free some");
        }
        Some((free, total)) => format!("{} of {} free", size(free), size(total)),
        None => "not told by this system".into(),
    };
    if let Some(limit) = address_space {
        found.push_str(&format!(", at most {} for each process (ulimit -v)", size(limit)));
    }
    Finding::ok("memory", found)
}

/// Free and total memory, as Linux tells it.
fn available(meminfo: &str) -> Option<(u64, u64)> {
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some((kilobytes("MemAvailable:")? << 10, kilobytes("MemTotal:")? << 10))
}

/// Scratch folders of workers are made here.
fn temporary(folder: &Path) -> Finding {
    let name = "temp folder";
    let shown = folder.display();
    let probe = folder.join(format!("ostler-doctor-{}", std::process::id()));
    if let Err(error) = fs::write(&probe, b"probe").and_then(|()| fs::remove_file(&probe)) {
        let advice = "set TMPDIR to a folder that you can write to";
        return Finding::missing(name, format!("`{shown}` cannot be written to: {error}"), advice);
    }
    match rustix::fs::statvfs(folder) {
        Ok(disk) if disk.f_bavail * disk.f_frsize < SPACE_MIN => {
            let found = format!("{shown}, {} free", size(disk.f_bavail * disk.f_frsize));
            Finding::warning(name, found, "free some space, or set TMPDIR to another folder")
        }
        Ok(disk) => Finding::ok(name, format!("{shown}, {} free", size(disk.f_bavail * disk.f_frsize))),
        Err(_) => Finding::ok(name, shown.to_string()),
    }
}

fn number(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}

/// A size in the unit that fits it.
fn size(bytes: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        (tenths, whole, unit) = ((whole % 1024) * 10 / 1024, whole / 1024, next);
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn free_memory_is_read_from_the_system() {
        let text = "MemTotal:       100 kB\nMemFree:  1 kB\nMemAvailable:   50 kB\n";
        assert_eq!(available(text), Some((50 << 10, 100 << 10)));
        assert_eq!(available("MemTotal: lots"), None);
    }

    #[test]
    fn a_temp_folder_that_is_missing_is_essential() {
        let finding = temporary(Path::new("/no/such/folder"));
        assert_eq!(finding.state, crate::doctor::State::Missing);
    }
}
