//! What adds up, or belongs to the whole process.

use rustix::{
    io::Errno,
    process::{WaitId, WaitIdOptions, waitid},
};

use super::*;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// F7.
#[tokio::test]
async fn f7_two_hundred_workers_leave_no_descriptor_no_child_and_no_folder() {
    if !is_alone("leaks::f7_two_hundred_workers_leave_no_descriptor_no_child_and_no_folder", &[]).await {
        return;
    }
    let [socket, stdio] = [Transport::Socket, Transport::Stdio]
        .map(|transport| ProcessSpawner::new(sh("echo up; read go").transport(transport)));
    let mut tags = Vec::new();
    let mut expected = None;
    for cycle in 0..100 {
        for spawner in [&socket, &stdio] {
            let tag = tag();
            let mut worker = soon("spawn", spawner.spawn(&tag)).await.unwrap();
            match cycle % 2 {
                0 => worker.control.kill(),
                _ => hang_up(&mut worker),
            }
            soon("exit", worker.exit).await;
            tags.push(tag);
        }
        soon("cleared", socket.cleared()).await;
        soon("cleared", stdio.cleared()).await;
        // The first cycle opens what the process keeps.
        let now = descriptors();
        assert_eq!(*expected.get_or_insert(now), now, "descriptors after cycle {cycle}");
    }
    drop((socket, stdio));
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let no_child = || waitid(WaitId::All, look).is_err_and(|error| error == Errno::CHILD);
    eventually("no child, and no reaper", no_child).await;
    assert!(tags.iter().all(|tag| !scratch(tag).exists()));
}

/// f72: a worker that outlives a killed host must not hold what the host had open.
#[tokio::test]
async fn f72_a_worker_has_three_descriptors_of_ours() {
    // What this process itself was given by its parent, against our rules, is none of ours.
    let inherited = fs::read_dir("/proc/self/fdinfo").unwrap().flatten().filter(|entry| {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| i64::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0)
    });
    let mut expected: Vec<String> = inherited
        .map(|entry| entry.file_name().into_string().unwrap())
        .chain(["0", "1", "2"].map(String::from))
        .collect();
    expected.sort();
    expected.dedup();
    let _others = [start(sh("read go")).await, start(WorkerSpec::python()).await];
    let script = "
import os
def is_open(fd):
    try: return bool(os.fstat(int(fd)))
    except OSError: return False  # the folder that was being listed
print(*sorted(filter(is_open, os.listdir('/proc/self/fd'))))
";
    let mut worker = start(WorkerSpec::command("python3").arg("-c").arg(script)).await;
    assert_eq!(line(&mut worker).await, expected.join(" "));
}

/// f95: the first process of a container, and others that inherit orphans, keep no zombies of those that they ended, and
/// leave their own children to those who started them.
#[tokio::test]
async fn f95_a_host_that_inherits_orphans_collects_those_that_it_ended_and_no_other() {
    if !is_alone("leaks::f95_a_host_that_inherits_orphans_collects_those_that_it_ended_and_no_other", &[])
        .await
    {
        return;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a child of the host that is no worker")]
    let mut own = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let spawner = ProcessSpawner::new(sh(
        "for i in 0 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & sleep 1000 & done; echo up; read go; exit 3",
    ));
    for cycle in 0..10 {
        let mut worker = soon("spawn", spawner.spawn(&tag())).await.unwrap();
        assert_eq!(line(&mut worker).await, "up");
        match cycle % 2 {
            0 => worker.control.kill(),
            _ => hang_up(&mut worker),
        }
        soon("exit", &mut worker.exit).await;
        soon("cleared", spawner.cleared()).await;
    }
    drop(spawner);
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    eventually("its own child is dead", || matches!(waitid(WaitId::All, look), Ok(Some(_)))).await;
    assert_eq!(own.wait().unwrap().code(), Some(7));
    let no_child = || waitid(WaitId::All, look).is_err_and(|error| error == Errno::CHILD);
    eventually("no child, and no reaper", no_child).await;
}

/// f74: a host that collects every child, as some do that are the first process of a container.
#[tokio::test]
async fn f74_a_host_that_reaps_all_children_hides_the_status_and_nothing_else() {
    if !is_alone("leaks::f74_a_host_that_reaps_all_children_hides_the_status_and_nothing_else", &[]).await {
        return;
    }
    std::thread::spawn(|| {
        loop {
            let _ = waitid(WaitId::All, WaitIdOptions::EXITED);
            std::thread::yield_now();
        }
    });
    let spawner = ProcessSpawner::new(sh("setsid sleep 1000 & sleep 1000 & echo up; read go; exit 3"));
    for cycle in 0..50 {
        let tag = tag();
        let mut worker = soon("spawn", spawner.spawn(&tag)).await.unwrap();
        assert_eq!(line(&mut worker).await, "up");
        let told = match cycle % 2 {
            0 => {
                worker.control.kill();
                Exit::Signal(9)
            }
            _ => {
                hang_up(&mut worker);
                Exit::Code(3)
            }
        };
        let exit = soon("exit", &mut worker.exit).await;
        assert!(exit == told || exit == Exit::Unknown, "{exit}, expected {told} or unknown");
        soon("cleared", spawner.cleared()).await;
        assert_eq!(tagged(&tag), Vec::<u32>::new());
        assert!(!scratch(&tag).exists());
    }
    // One that is dead before it could be watched is a start that failed, or an unknown exit.
    for _ in 0..50 {
        match soon("spawn", ProcessSpawner::new(sh("exit 3")).spawn(&tag())).await {
            Ok(worker) => {
                let exit = soon("exit", worker.exit).await;
                assert!(matches!(exit, Exit::Code(3) | Exit::Unknown), "{exit}");
            }
            Err(error) => assert!(matches!(error, SpawnError::System { .. }), "{error}"),
        }
    }
}
