//! The command line, as it is typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Run Python code on a supervised pool of worker processes.
#[derive(Debug, Parser)]
#[command(name = "ostler", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tells on stderr what the pool does; twice for every step
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run files, a piece of code or standard input, as `python FILE ARGS` would
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Type code line by line into one worker that keeps its state
    #[command(after_help = REPL_HELP)]
    Repl(ReplArgs),
    /// Check the interpreter, the limits of this machine and a test execution
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
}

/// `ostler run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Files to run; `-` is standard input. Several run at the same time
    #[arg(value_name = "FILE", required_unless_present = "code", conflicts_with = "code")]
    pub(crate) files: Vec<PathBuf>,
    /// Run this code instead of files
    #[arg(short, long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// What the code finds in `sys.argv[1:]`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    /// Most workers at once [default: one per file, at most one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Stop each file after this time, waiting included, such as 30s or 2m [default: never]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Print one JSON event a line instead of the plain output
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only what the code prints: no progress, no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// `ostler repl`.
#[derive(Debug, Args)]
pub(crate) struct ReplArgs {
    /// Run this file in the session before the first prompt, and again in every new session
    #[arg(long, value_name = "FILE")]
    pub(crate) startup: Option<PathBuf>,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// `ostler doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print the findings as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// What the commands have in common: the workers.
#[derive(Debug, Args)]
pub(crate) struct PoolArgs {
    /// The interpreter: a path, or a name looked up in PATH
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Code that each worker runs before it is used; `@FILE` reads it from a file
    #[arg(long, value_name = "CODE|@FILE")]
    pub(crate) warmup: Option<String>,
    /// Time that stopped code has before its worker is killed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub(crate) grace: Duration,
}

/// Reads a time such as `30s` or `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => {
            Err("it is 0, so it would always have passed; give a longer time, such as 30s".into())
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it with its unit, such as 500ms, 30s or 2m")),
    }
}

const EXAMPLES: &str = "\
Examples:
  ostler run hello.py                   as `python3 hello.py`, in a supervised worker
  ostler run jobs/*.py --deadline 30s   many files at the same time
  ostler repl                           a session that survives Ctrl-C and crashes
  ostler doctor                         is everything there, and how fast is it?";

const RUN_HELP: &str = "\
The code finds what `python FILE ARGS` would give it: __file__, __name__, sys.argv, sys.path, your working folder,
your environment, and standard input through input() and sys.stdin. Output goes to stdout and stderr as it comes. With
several files each line carries the name of its file, and a summary follows.

Ctrl-C raises KeyboardInterrupt in what runs; what has not ended after --grace, or at a second Ctrl-C, is killed. A TERM
signal lets it run for the grace, then kills it. Nothing stays behind.

Exit codes:
  0    all completed
  1    some code failed (with a single file, the code given to sys.exit)
  2    wrong usage; nothing ran
  3    a worker was lost
  4    a deadline passed
  5    no worker could be started; nothing ran
  129, 130, 143   stopped by a hangup, by Ctrl-C, by a TERM signal
  141  nobody reads the output any more
When several hold, the first of: a stop, 3, 4, 1.

JSON events (--json), one object a line; `event`, `id` and `label` are in each:
  started  pid, generation
  output   stream, and text (or base64, when it is not UTF-8)
  display  mime, the value by type
  input    prompt, password
  dropped  bytes, output that was discarded after a stop
  outcome  outcome (completed, failed, cancelled, timed_out, lost), duration in seconds, message, and as it applies
           exit_code, exception {type, message}, traceback, rung (queued, interrupt, force, kill), phase, started
Two have no id: refused (label, message), a file that was never accepted, and the last one, summary (a count for each
outcome, refused, not_run, duration, exit_code).

Examples:
  ostler run hello.py
  ostler run primes.py -- 1000
  ostler run jobs/*.py --workers 4 --deadline 30s
  ostler run -c 'import sys; print(sys.version)'
  echo 'print(6 * 7)' | ostler run -
  ostler run report.py --json | jq -r 'select(.event == \"output\").text'";

const REPL_HELP: &str = "\
Ctrl-C interrupts the code that runs and keeps the state; at the prompt it clears the input. Ctrl-D or exit() ends. When
the worker dies, its cause is shown and a new session begins. The history is kept in $XDG_STATE_HOME/ostler/history
(~/.local/state/ostler/history).

Standard input that is no terminal is read statement by statement, without prompts; the exit code is then 0 when all
completed, 1 when some failed, 3 when the worker died.

Examples:
  ostler repl
  ostler repl --warmup 'import numpy as np'
  ostler repl --startup prelude.py
  printf 'x = 41\\nx + 1\\n' | ostler repl";

const DOCTOR_HELP: &str = "\
Exit code 0 when everything essential is there, 1 when something is missing.

Examples:
  ostler doctor
  ostler doctor --python .venv/bin/python --json";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_code() {
        let cli = Cli::parse_from(["ostler", "run", "a.py", "b.py", "--", "-x", "--json"]);
        let Command::Run(run) = cli.command else { panic!("expected run") };
        assert_eq!(run.files, [PathBuf::from("a.py"), PathBuf::from("b.py")]);
        assert_eq!(run.args, ["-x", "--json"]);
        assert!(!run.json);
    }

    #[test]
    fn a_time_needs_a_unit_and_is_not_zero() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("0s").is_err_and(|why| why.contains("longer")));
        assert!(duration("30").is_err_and(|why| why.contains("30s")));
    }
}
