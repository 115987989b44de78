//! What the pools are given to do: mostly answers, and a little of what nobody should do.

use std::{fs, time::Duration};

use ostler::{Outcome, Report, Request, Script, Value};
use rand::{Rng, rngs::StdRng};

use crate::{
    ledger::{FIRST_ACT, Ledger},
    numbers,
};

/// A variable that a script gives its children, and no other process has: its number.
const CHILD: &str = "CHAOS_CHILD";
/// What a script floods, in bytes.
const FLOOD: usize = 64 * 65_536;

/// Where code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// In a worker that serves many requests.
    Code,
    /// In a process of its own, forked from the zygote of a pool that has no workers.
    Script,
    /// The same in the pool of the workers, one of which makes way.
    Guest,
}

/// What becomes of it before it ends by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answers,
    /// It answers nothing.
    Silent,
    /// It does not end, until a short deadline.
    Hangs,
    /// Cancelled, or past its deadline, at a moment when it may still wait, or be on its way, or run.
    Cancelled,
    Hurried,
}

pub(crate) struct Work {
    /// In a thousand.
    weight: u32,
    pub(crate) name: &'static str,
    pub(crate) runs: Runs,
    pub(crate) fate: Fate,
    code: &'static str,
}

const fn work(weight: u32, name: &'static str, runs: Runs, fate: Fate, code: &'static str) -> Work {
    Work { weight, name, runs, fate, code }
}

const PRINTS: &str = "print(n * 2)";
/// Two children that would outlive the script and hold its output: one in its process group, one that has left it.
const PARENT: &str = "
import os, subprocess
env = {**os.environ, 'CHAOS_CHILD': str(n)}
subprocess.Popen(['sleep', '600'], env=env)
subprocess.Popen(['sleep', '600'], env=env, start_new_session=True)
print(n * 2, flush=True)
";
const DEAF_PARENT: &str = "
import os, signal, subprocess, time
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
env = {**os.environ, 'CHAOS_CHILD': str(n)}
subprocess.Popen(['sleep', '600'], env=env)
subprocess.Popen(['sleep', '600'], env=env, start_new_session=True)
while True: time.sleep(1)
";
const GARBLES: &str = "
import os
for fd in range(3, 64):
  try: os.write(fd, b'no frame at all')
  except OSError: pass
";

static WORK: [Work; 17] = [
    work(790, "answers", Runs::Code, Fate::Answers, "print(n)\nn * 2"),
    work(
        30,
        "floods",
        Runs::Code,
        Fate::Answers,
        "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nn * 2",
    ),
    work(10, "raises", Runs::Code, Fate::Silent, "raise ValueError(n)"),
    work(5, "crashes", Runs::Code, Fate::Silent, "import os\nos.abort()"),
    work(5, "hangs", Runs::Code, Fate::Hangs, "while True: pass"),
    work(5, "garbles", Runs::Code, Fate::Silent, GARBLES),
    work(
        5,
        "daemonises",
        Runs::Code,
        Fate::Answers,
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nn * 2",
    ),
    work(10, "cancelled", Runs::Code, Fate::Cancelled, "n * 2"),
    work(10, "hurried", Runs::Code, Fate::Hurried, "n * 2"),
    work(70, "script", Runs::Script, Fate::Answers, PRINTS),
    work(10, "guest", Runs::Guest, Fate::Answers, PRINTS),
    work(
        15,
        "flooding script",
        Runs::Script,
        Fate::Answers,
        "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nprint(n * 2)",
    ),
    work(15, "parent", Runs::Script, Fate::Answers, PARENT),
    work(5, "guest parent", Runs::Guest, Fate::Answers, PARENT),
    work(5, "deaf parent", Runs::Script, Fate::Hangs, DEAF_PARENT),
    work(5, "cancelled parent", Runs::Script, Fate::Cancelled, PARENT),
    work(5, "hurried script", Runs::Script, Fate::Hurried, PRINTS),
];

impl Work {
    /// One of all, by its weight.
    pub(crate) fn by(chance: &mut StdRng) -> &'static Self {
        let all = WORK.iter().map(|work| work.weight).sum();
        let mut roll = chance.random_range(0..all);
        let chosen = WORK.iter().find(|work| {
            let chosen = roll < work.weight;
            roll = roll.saturating_sub(work.weight);
            chosen
        });
        chosen.unwrap_or(&WORK[0])
    }

    /// A request whose first act is to write to the ledger. `soon` is when it is hurried.
    pub(crate) fn request(&self, ledger: &Ledger, n: u64, soon: Duration) -> Request {
        let request = request(ledger, n, self.runs, self.code).label(format!("{}-{n}", self.name));
        match self.fate {
            Fate::Hangs => request.deadline(Duration::from_millis(300)),
            Fate::Hurried => request.deadline(soon),
            Fate::Answers | Fate::Silent | Fate::Cancelled => request,
        }
    }

    /// Whether it may be refused, since its deadline cannot be met.
    pub(crate) fn may_be_late(&self) -> bool {
        matches!(self.fate, Fate::Hangs | Fate::Hurried)
    }

    /// Whether a report is what this code answers to `n`, if it is a completed one.
    pub(crate) fn is_answered_by(&self, report: &Report, n: u64) -> bool {
        if !matches!(report.outcome, Outcome::Completed(_)) || self.fate == Fate::Silent {
            return true;
        }
        if self.fate == Fate::Hangs {
            return false;
        }
        let answer = (n * 2).to_string();
        match (self.runs, self.name) {
            (Runs::Code, _) => report.value() == Some(&Value::from(n * 2)),
            (_, "flooding script") => {
                report.stdout_text().trim_end().trim_start_matches('x') == answer
                    && report.stdout.len() == FLOOD + answer.len() + 1
            }
            _ => report.stdout_text().trim_end() == answer,
        }
    }

    /// Whether its code starts processes that are to be dead soon after its end.
    pub(crate) fn has_children(&self) -> bool {
        self.code.contains(CHILD)
    }
}

/// A request whose first act is to write to the ledger.
pub(crate) fn request(ledger: &Ledger, n: u64, runs: Runs, code: &str) -> Request {
    let file = ledger.file(n);
    match runs {
        Runs::Script | Runs::Guest => {
            let code = format!("import sys\nledger, n = sys.argv[1], int(sys.argv[2])\n{FIRST_ACT}{code}");
            Script::code(code).args([file.into_os_string(), n.to_string().into()]).into()
        }
        Runs::Code => {
            let file = file.to_string_lossy().into_owned();
            Request::python(format!("{FIRST_ACT}{code}")).arg("n", n).arg("ledger", file)
        }
    }
}

/// The living children of a script.
pub(crate) fn children(n: u64) -> Vec<u32> {
    let mark = format!("{CHILD}={n}");
    let is_child = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    numbers("/proc").filter(is_child).collect()
}
