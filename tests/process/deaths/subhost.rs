//! A host in a process of its own: this test binary once more, in another role.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use ostler::{Execution, Runtime, WorkerSpec};

use super::{line, lost};
use crate::{
    python::completed,
    support::wait::{guarded, pool_is},
};

const ROLE: &str = "OSTLER_TEST_ROLE";
const CODE: &str = "OSTLER_TEST_CODE";

/// A running host. Dropping it ends it.
pub(crate) struct Host {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Host {
    /// Starts a host, behind a line of `sh` that may prepare its surroundings.
    pub(crate) fn start(role: &str, code: &str, prepare: &str) -> Self {
        let test = env::current_exe().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test needs a host that it can kill")]
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{prepare}exec $wrap \"$0\" --exact deaths::subhost::a_host --nocapture"))
            .arg(test);
        command.env(ROLE, role).env(CODE, code).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// What the host says next, behind this word.
    pub(crate) fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.trim_end().split_once(&format!("host says {word} ")) {
                return said.to_owned();
            }
            line.clear();
        }
        panic!("the host ended before it said {word}: {:?}", self.process.wait());
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, at once and for good.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until nobody can write to its output any more.
    pub(super) fn output_ends(&mut self) {
        while self.lines.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            let seen = self.lines.buffer().len();
            self.lines.consume(seen);
        }
    }

    pub(crate) fn ended_well(mut self) -> bool {
        self.output_ends();
        self.process.wait().unwrap().success()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn say(word: &str, what: impl std::fmt::Display) {
    println!("\nhost says {word} {what}");
}

/// No test of its own: what the others start, in a process of its own, to see what becomes of it.
#[test]
fn a_host() {
    let Ok(role) = env::var(ROLE) else { return };
    let code = env::var(CODE).unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(guarded(async {
        if role == "reaps" {
            reap_everybody();
        }
        if role == "fills" {
            return super::named::fills(code.as_ref()).await;
        }
        if role == "crowded" {
            return super::crowded::crowded(code.as_ref()).await;
        }
        if role == "is watched" {
            return crate::scarce::is_watched_while_short(&code).await;
        }
        if role == "saves" {
            return super::named::saves(code.as_ref()).await;
        }
        let (role, spec) = match role.strip_prefix("forked ") {
            Some(role) => (role, WorkerSpec::python().preload(["json"])),
            None => (&*role, WorkerSpec::python()),
        };
        let builder = Runtime::builder(spec).max_sessions(1).grace(Duration::from_secs(30));
        let runtime = builder.start().await.unwrap();
        match role {
            "runs" => {
                let mut execution = runtime.execute(code).await.unwrap();
                let said = line(&mut execution).await;
                say("worker", runtime.status().await.sessions[0].pid.unwrap());
                say("line", said);
                execution.outcome().await;
            }
            "idles" => {
                let session = runtime.session().await.unwrap();
                let report = session.run(code).await.unwrap();
                completed(&report);
                say("worker", session.pid().unwrap());
                say("line", report.stdout_text().trim_end());
                std::future::pending::<()>().await;
            }
            "is bereaved" => {
                let session = runtime.session().await.unwrap();
                let report = session.run(code).await.unwrap();
                say("worker", session.pid().unwrap());
                say("line", report.stdout_text().trim_end());
                for lost in 1.. {
                    pool_is(&runtime, "one more is lost", |pool| pool.reapers_lost == lost).await;
                    say("lost", lost);
                }
            }
            "cancels" => {
                let mut execution = runtime.execute(code).await.unwrap();
                line(&mut execution).await;
                execution.cancel();
                say("outcome", execution.outcome().await);
            }
            "prints" => {
                let report = runtime.run(code).await.unwrap();
                completed(&report);
                say("value", &report.outcome);
            }
            "reaps" => lives_with_a_reaper(&runtime).await,
            "runs short" => crate::scarce::runs_short_of_descriptors().await,
            other => panic!("no such role: {other}"),
        }
    }));
}

/// f74: some hosts collect every child of theirs, also those that they do not know.
fn reap_everybody() {
    std::thread::spawn(|| {
        loop {
            let collected = rustix::process::wait(rustix::process::WaitOptions::empty());
            if collected.is_err() {
                std::thread::sleep(Duration::from_millis(1)); // Nobody to collect.
            }
        }
    });
}

async fn lives_with_a_reaper(runtime: &Runtime) {
    for _ in 0..20 {
        let execution: Execution = runtime.execute("import os; os._exit(3)").await.unwrap();
        say("death", lost(execution.outcome().await));
        completed(&runtime.run("1").await.unwrap());
    }
    runtime.shutdown(Duration::from_secs(1)).await;
}
