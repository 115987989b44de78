//! The process that clears up behind a killed host: it is replaced when it is killed itself, it is not misled by copies of
//! the host, and it changes nothing that is not a worker's.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

use super::subhost::Host;
use crate::support::{
    processes::alive,
    wait::{SOON, eventually, guarded},
};

fn process(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).unwrap()
}

/// The reapers of this host that live.
fn reapers(host: u32) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        String::from_utf8_lossy(&line).contains("\0ostler-reaper\0") && parent == Some(host)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_one).filter(|pid| alive(*pid)).collect()
}

/// A worker whose child left its group, and that child.
const FAMILY: &str =
    "import subprocess\nprint(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)";

/// Fault 92: code runs as the same user, so it can kill it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f92_a_killed_reaper_is_replaced_and_told() {
    guarded(async {
        let mut host = Host::start("is bereaved", FAMILY, "");
        let family = [host.says("worker"), host.says("line")].map(|pid| pid.parse::<u32>().unwrap());
        for lost in 1..=2 {
            let mut found = Vec::new();
            eventually("there is one", SOON, || {
                found = reapers(host.pid());
                found.len() == 1
            })
            .await;
            kill_process(process(found[0]), Signal::KILL).unwrap();
            let is_next = || matches!(*reapers(host.pid()), [next] if next != found[0]);
            eventually("another has taken its place", SOON, is_next).await;
            assert_eq!(host.says("lost"), lost.to_string());
        }
        host.kill();
        eventually("the family is gone", SOON, || !family.iter().any(|pid| alive(*pid))).await;
    })
    .await;
}

/// Fault 93: something in the host forks, without a program of its own: the copy holds the other ends of all pipes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f93_a_copy_of_the_host_does_not_keep_its_workers_alive() {
    guarded(async {
        let mut host = Host::start("idles", FAMILY, "");
        let family = [host.says("worker"), host.says("line")].map(|pid| pid.parse::<u32>().unwrap());
        // It must have come to the point at which it waits.
        let waits = |pid: u32| {
            let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            reapers(host.pid()) == [pid] && call.split(' ').nth(1) == Some("0x0")
        };
        eventually("the reaper reads", SOON, || reapers(host.pid()).into_iter().any(waits)).await;
        let held = pidfd_open(process(host.pid()), PidfdFlags::empty()).unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().flatten();
        let descriptors: Vec<i32> =
            descriptors.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
        let copies: Vec<_> = descriptors
            .into_iter()
            .filter_map(|fd| pidfd_getfd(&held, fd, PidfdGetfdFlags::empty()).ok())
            .collect();
        assert!(copies.len() > 6, "{copies:?}");
        host.kill();
        eventually("the family is gone", SOON, || !family.iter().any(|pid| alive(*pid))).await;
        drop(copies);
    })
    .await;
}

/// Anybody may send the signal by which the kernel tells of a parent's death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_reaper_that_is_told_of_no_death_ends_nobody() {
    guarded(async {
        let mut host = Host::start("idles", FAMILY, "");
        let family = [host.says("worker"), host.says("line")].map(|pid| pid.parse::<u32>().unwrap());
        eventually("there is one", SOON, || reapers(host.pid()).len() == 1).await;
        for _ in 0..20 {
            kill_process(process(reapers(host.pid())[0]), Signal::URG).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(family.iter().all(|pid| alive(*pid)));
        host.kill();
        eventually("the family is gone", SOON, || !family.iter().any(|pid| alive(*pid))).await;
    })
    .await;
}

/// Fault 94: what code plants in its folder, and beside it, leads nowhere. The host runs without the power to pass by modes,
/// which root has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f94_what_leads_out_of_a_scratch_folder_keeps_its_mode_and_its_content() {
    const LIMITED: &str =
        "[ \"$(id -u)\" != 0 ] || wrap='setpriv --bounding-set=-dac_override,-dac_read_search'; ";
    guarded(async {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let kept = folder.join("kept");
        fs::write(&kept, "text").unwrap();
        let modes = [(&kept, 0o400), (&folder, 0o511)];
        for (path, mode) in modes {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let plant = format!(
            "import os\nhome, out = os.getcwd(), {:?}\n\
             os.link(out + '/kept', 'other name')\nos.symlink(out, 'link')\nos.symlink(out, home.split('.')[0] + '.planted')\n\
             os.makedirs('line\\nbreak/closed/below')\nos.symlink(out, 'line\\nbreak/closed/link')\n\
             os.chmod('line\\nbreak/closed', 0)\nprint(home)",
            folder.to_str().unwrap()
        );
        let mut host = Host::start("idles", &plant, LIMITED);
        let home = host.says("line");
        assert!(Path::new(&home).join("line\nbreak").exists());
        eventually("there is one", SOON, || reapers(host.pid()).len() == 1).await;
        host.kill();
        let planted = format!("{}.planted", home.split('.').next().unwrap());
        let is_gone = |path: &str| fs::symlink_metadata(path).is_err();
        eventually("all is removed", SOON, || is_gone(&home) && is_gone(&planted)).await;
        for (path, mode) in modes {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode, "{}", path.display());
        }
        assert_eq!((fs::read(&kept).unwrap(), fs::metadata(&kept).unwrap().nlink()), (b"text".into(), 1));
    })
    .await;
}
