//! What a worker was doing when it was looked at: why something is late.

use std::{fmt, time::Duration};

use crate::{protocol::ExecutionId, status::Vitals};

/// A worker that used at least this part of a processor computes.
const BUSY: f64 = 0.5;
/// A worker that used less than this part of one waits.
const ASLEEP: f64 = 0.05;

/// What a worker was doing at one moment. A [deadline](crate::TimedOut) and a [cancel that ended in a
/// kill](crate::Cancelled) carry one; [`Session::inspect`](crate::Session::inspect) and
/// [`Execution::inspect`](crate::Execution::inspect) ask for one.
///
/// Everything in it is evidence from outside the code, so it is there also when the interpreter is stuck in C code.
/// What the operating system or the worker did not tell is empty. Its `Display` has a line for each fact and a stack for
/// each thread; [`summary`](Self::summary) is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// What ran, if anything did.
    pub execution: Option<ExecutionId>,
    /// How long its code had run, if it had begun.
    pub running_for: Option<Duration>,
    /// Time since its last output, or since its code began if there was none.
    pub silent_for: Option<Duration>,
    /// Processor time that the worker used lately.
    pub load: Option<Load>,
    /// What the operating system says of the worker's process.
    pub vitals: Option<Vitals>,
    /// The threads of the interpreter, the one that runs the code first. Empty if the worker cannot tell them, as
    /// workers other than the shipped one, or did not within [`STACKS_LIMIT`](crate::config::STACKS_LIMIT).
    pub stacks: Vec<Stack>,
    /// The processes that the code has started, with theirs; at most
    /// [`CHILDREN_TOLD`](crate::config::CHILDREN_TOLD).
    pub children: Vec<Child>,
}

/// Processor time, and the time in which it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The processor time, of all threads, in steps of the kernel's clock tick (10 ms).
    pub used: Duration,
    /// How long it was watched.
    pub within: Duration,
}

impl Load {
    /// Processors used on average: 1.0 is one that was busy all the time.
    #[must_use]
    pub fn processors(&self) -> f64 {
        if self.within.is_zero() { 0.0 } else { self.used.as_secs_f64() / self.within.as_secs_f64() }
    }
}

/// The Python stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// How the interpreter calls the thread: its number, and where it tells it its name.
    pub thread: String,
    /// Whether it is the thread that runs the code of executions.
    pub main: bool,
    /// Its calls, the most recent first; at most 100. Those of the worker itself are left out.
    pub calls: Vec<Call>,
}

/// One call on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The file that the code came from.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The function.
    pub function: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} in {}", self.file, self.line, self.function)
    }
}

/// A process that the code has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// Its command line, cut to 200 characters.
    pub command: String,
}

impl Activity {
    /// One line: what it did, where, and since when nothing was heard of it.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let place = self.stacks.iter().find(|stack| stack.main).and_then(|stack| stack.calls.first());
        match (self.doing(), place) {
            (Some(doing), Some(call)) => parts.push(format!("it was {doing} at {call}")),
            (None, Some(call)) => parts.push(format!("it was at {call}")),
            (Some(doing), None) => parts.push(format!("it was {doing}")),
            (None, None) => {}
        }
        if let Some(silent) = self.silent_for {
            parts.push(format!("printed nothing for {}", rounded(silent)));
        }
        match self.children.as_slice() {
            [] => {}
            [only] => parts.push(format!("had one child, {} ({})", only.pid, only.command)),
            [first, ..] => {
                parts.push(format!(
                    "had {} children, first {} ({})",
                    self.children.len(),
                    first.pid,
                    first.command
                ));
            }
        }
        parts.join(", ")
    }

    /// Whether it computed or waited, as far as that can be said.
    fn doing(&self) -> Option<&'static str> {
        if self.vitals.is_some_and(|vitals| vitals.stopped) {
            return Some("stopped");
        }
        let processors = self.load?.processors();
        Some(if processors >= BUSY {
            "computing"
        } else if processors < ASLEEP {
            "waiting"
        } else {
            "computing now and then"
        })
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.execution, self.running_for) {
            (Some(id), Some(time)) => write!(f, "execution {id} has run for {}", rounded(time))?,
            (Some(id), None) => write!(f, "execution {id} has not begun")?,
            (None, _) => f.write_str("nothing runs")?,
        }
        if let Some(silent) = self.silent_for {
            write!(f, ", and printed nothing for {}", rounded(silent))?;
        }
        if let Some(load) = self.load {
            let (doing, within) = (self.doing().unwrap_or("running"), rounded(load.within));
            write!(f, "\n{doing}: {:.2} processors over the last {within}", load.processors())?;
        }
        if let Some(vitals) = self.vitals {
            let total = rounded(vitals.cpu_time);
            write!(f, "\n{:.1} MiB resident, {total} of processor time in all", mebibytes(vitals.memory))?;
        }
        for stack in &self.stacks {
            let role = if stack.main { "runs the code" } else { "another thread" };
            write!(f, "\nthread {} ({role}), most recent call first", stack.thread)?;
            for call in &stack.calls {
                write!(f, "\n  {call}")?;
            }
        }
        for child in &self.children {
            write!(f, "\nchild {}: {}", child.pid, child.command)?;
        }
        Ok(())
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// To the millisecond, or to the hundredth of a second when it is long.
fn rounded(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.2} s", time.as_secs_f64()),
        _ => format!("{} s", time.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck() -> Activity {
        let call = |line, function: &str| Call { file: "job.py".into(), line, function: function.into() };
        Activity {
            execution: Some(ExecutionId(7)),
            running_for: Some(Duration::from_secs(30)),
            silent_for: Some(Duration::from_millis(12_345)),
            load: Some(Load { used: Duration::ZERO, within: Duration::from_millis(900) }),
            vitals: Some(Vitals { memory: 12 << 20, cpu_time: Duration::from_millis(80), stopped: false }),
            stacks: vec![
                Stack { thread: "0x1".into(), main: true, calls: vec![call(3, "wait"), call(9, "<module>")] },
                Stack { thread: "0x2".into(), main: false, calls: vec![call(20, "poll")] },
            ],
            children: vec![Child { pid: 42, command: "sleep 60".into() }],
        }
    }

    #[test]
    fn it_reads_as_one_line_and_as_a_page() {
        let expected =
            "it was waiting at job.py:3 in wait, printed nothing for 12.35 s, had one child, 42 (sleep 60)";
        assert_eq!(stuck().summary(), expected);
        let page = "execution 7 has run for 30.00 s, and printed nothing for 12.35 s\n\
                    waiting: 0.00 processors over the last 900 ms\n\
                    12.0 MiB resident, 80 ms of processor time in all\n\
                    thread 0x1 (runs the code), most recent call first\n  job.py:3 in wait\n  job.py:9 in <module>\n\
                    thread 0x2 (another thread), most recent call first\n  job.py:20 in poll\n\
                    child 42: sleep 60";
        assert_eq!(stuck().to_string(), page);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(Activity::default().summary(), "");
        assert_eq!(Activity::default().to_string(), "nothing runs");
        let stopped = Vitals { memory: 1, cpu_time: Duration::ZERO, stopped: true };
        let stopped = Activity { vitals: Some(stopped), ..Activity::default() };
        assert_eq!(stopped.summary(), "it was stopped");
    }
}
