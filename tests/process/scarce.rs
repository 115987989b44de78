//! What there is too little of: descriptors of the host, memory of a worker (fault rows 2 and 18).

use std::{
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use ostler::{Failure, Outcome, Request, RestartPolicy, Runtime, Value, WorkerSpec};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, setrlimit,
};

use crate::{
    deaths::subhost::{Host, say},
    python::completed,
    support::wait::{SOON, guarded, pool_is},
};

/// Fault 2: a host that has no descriptor left loses no request. It keeps the workers that it has, says what is wrong,
/// and is whole again when there are descriptors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_a_host_without_descriptors_keeps_what_it_has_and_recovers() {
    let mut host = Host::start("runs short", "", "");
    let trouble = host.says("trouble");
    assert!(trouble.contains("Too many open files"), "{trouble}");
    assert_eq!(host.says("answered"), "200 of 200");
    assert_eq!(host.says("idle"), "3");
    assert!(host.ended_well());
}

fn held(pid: u32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap()
}

/// The role of that host.
pub(crate) async fn runs_short_of_descriptors() {
    let mut policy = RestartPolicy::default();
    (policy.min_backoff, policy.max_backoff) = (Duration::from_millis(5), Duration::from_millis(20));
    policy.probe_after = Duration::from_millis(50);
    let builder = Runtime::builder(WorkerSpec::python()).max_sessions(3).min_idle(3).restart(policy);
    let runtime = builder.start().await.unwrap();
    let status = pool_is(&runtime, "all are idle", |pool| pool.idle == 3).await;
    // To kill one takes a descriptor, too.
    let held: Vec<_> = status.sessions[..2].iter().map(|it| held(it.pid.unwrap())).collect();
    let plenty = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: plenty.maximum }).unwrap();
    for worker in &held {
        pidfd_send_signal(worker, Signal::KILL).unwrap();
    }
    drop(held);
    let status = pool_is(&runtime, "it is told", |pool| pool.trouble.is_some()).await;
    say("trouble", status.trouble.unwrap());
    let requests = (0..200).map(|n| Request::python("n + 1").arg("n", n).no_deadline());
    let reports = runtime.run_all(requests).await;
    let right = |(n, report): (i64, &Result<ostler::Report, _>)| {
        report.as_ref().is_ok_and(|report| report.value() == Some(&Value::from(n + 1)))
    };
    say("answered", format!("{} of 200", (0..).zip(&reports).filter(|it| right(*it)).count()));
    assert!(runtime.status().await.idle <= 1, "nobody came");
    setrlimit(Resource::Nofile, plenty).unwrap();
    let status = pool_is(&runtime, "it is whole again", |pool| pool.idle == 3 && pool.failed.is_none()).await;
    assert_eq!((status.trouble, status.totals.lost), (None, 0));
    say("idle", status.idle);
    runtime.shutdown(Duration::from_secs(1)).await;
}

/// Fault 97: a client of the monitor waits while there are no descriptors; nobody spins meanwhile, and it is served after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f97_a_client_of_the_monitor_waits_quietly_for_a_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.sock");
    let mut host = Host::start("is watched", path.to_str().unwrap(), "");
    host.says("short");
    let client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let ticks: u64 = host.says("ticks").parse().unwrap();
    assert!(ticks < 50, "{ticks} hundredths of a second of processor time within two seconds");
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
}

/// The role of that host.
pub(crate) async fn is_watched_while_short(path: &str) {
    let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
    let _monitor = ostler::monitor::serve(&runtime, path).unwrap();
    runtime.run("1").await.unwrap();
    let used = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .skip(11)
            .take(2)
            .map(|it| it.parse().unwrap())
            .collect();
        fields.iter().sum::<u64>()
    };
    let (before, plenty) = (used(), getrlimit(Resource::Nofile));
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: plenty.maximum }).unwrap();
    say("short", "of descriptors");
    tokio::time::sleep(Duration::from_secs(2)).await;
    setrlimit(Resource::Nofile, plenty).unwrap();
    say("ticks", used() - before);
    std::future::pending::<()>().await;
}

/// Fault 18: memory runs out under the code: that is an error of the code, and its worker goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_code_that_needs_more_memory_than_its_worker_may_have_fails_and_the_worker_is_kept() {
    const LIMIT: &str = "import resource\nkept = 41\nlimit = 256 << 20\n\
                         resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))";
    const GREEDY: [&str; 6] = [
        "bytearray(1 << 30)",
        "[bytearray(1 << 20) for _ in range(1_000)]",
        "text = 'x'\nwhile True: text += text",
        "print('x' * (1 << 30))",
        "import sys; sys.stdout.write('x' * (200 << 20) + 'y')",
        "more = []\nwhile True: more.append(object())",
    ];
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run(LIMIT).await.unwrap());
        for code in GREEDY {
            let code = format!("def greedy():\n    {}\ngreedy()", code.replace('\n', "\n    "));
            let outcome = session.execute(code.as_str()).await.unwrap().outcome().await;
            let Outcome::Failed(Failure::Exception(exception)) = &outcome else {
                panic!("{code}: {outcome}")
            };
            assert_eq!(exception.type_name, "MemoryError", "{code}");
            let report = session.run("import os\nkept + 1, os.getpid()").await.unwrap();
            completed(&report);
            let expected = [Value::from(42), Value::from(u64::from(session.pid().unwrap()))];
            assert_eq!(report.value().and_then(Value::as_list), Some(&expected[..]), "after {code}");
        }
        let status = runtime.status().await;
        assert_eq!((status.crashed, status.totals.failed), (0, GREEDY.len() as u64));
    })
    .await;
}
