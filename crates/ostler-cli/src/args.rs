//! The command line, as it is typed.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::help::{
    CALL_HELP, CONFIG_HELP, CONFORM_HELP, DOCTOR_HELP, EXAMPLES, REPL_HELP, REPLAY_HELP, RUN_HELP,
    SERVE_HELP, TOP_HELP,
};

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
    /// Offer a pool over HTTP, on this machine, to programs in any language
    #[command(after_help = SERVE_HELP)]
    Serve(crate::serve::ServeArgs),
    /// Call a JSON-RPC server, such as an MCP server, over a pool of its processes
    #[command(after_help = CALL_HELP)]
    Call(CallArgs),
    /// Type code line by line into one worker that keeps its state
    #[command(after_help = REPL_HELP)]
    Repl(ReplArgs),
    /// Check the interpreter, the limits of this machine and a test execution
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Print the settings, or check a file of them
    #[command(after_help = CONFIG_HELP)]
    Config(ConfigArgs),
    /// List the sessions whose state is kept, for `ostler repl --session NAME`
    Sessions(SessionsArgs),
    /// Show a recording of a worker, or run its code again
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Judge whether a program is a worker, check by check
    #[command(after_help = CONFORM_HELP)]
    Conform(ConformArgs),
    /// Show a pool that runs in another process, live
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
}

/// `ostler run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Files to run; `-` is standard input. Several run at the same time
    #[arg(value_name = "FILE", required_unless_present = "code", conflicts_with = "code")]
    pub(crate) files: Vec<PathBuf>,
    /// Run this code instead of files
    #[arg(short, long, value_name = "CODE")]
    pub(crate) code: Option<OsString>,
    /// What the code finds in `sys.argv[1:]`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
    /// Most workers at once [default: one per file, at most one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Stop each file after this time, waiting included, such as 30s or 2m [default: never]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Print one JSON event a line instead of the plain output
    #[arg(long)]
    pub(crate) json: bool,
    /// Print at the end how many requests ended how, how fast, and what became of the workers
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print only what the code prints: no progress, no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Who may look.
    #[command(flatten)]
    pub(crate) monitor: MonitorArgs,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// `ostler call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The method
    #[arg(value_name = "METHOD", required_unless_present = "calls", conflicts_with = "calls")]
    pub(crate) method: Option<String>,
    /// Its parameters: an object or a list [default: none]
    #[arg(value_name = "JSON")]
    pub(crate) params: Option<String>,
    /// The command of the server, with its arguments
    #[arg(short, long, value_name = "COMMAND")]
    pub(crate) server: Option<String>,
    /// It is an MCP server: initialise it first
    #[arg(long, conflicts_with = "content_length")]
    pub(crate) mcp: bool,
    /// It frames messages as language servers do, not as lines
    #[arg(long)]
    pub(crate) content_length: bool,
    /// Make the calls of this file, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) calls: Option<PathBuf>,
    /// Most processes of the server at once
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,
    /// Most calls that one process has at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: Option<u16>,
    /// Stop each call after this time, waiting included, such as 30s or 2m [default: never]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Time that the server has to start, what it installs first (npx, uvx) included [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ready_timeout: Option<Duration>,
    /// Print one JSON event a line instead of the results
    #[arg(long)]
    pub(crate) json: bool,
    /// Print at the end how many calls ended how, how fast, and what became of the processes
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print only results and errors: no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Take settings from this file; see `ostler config` [default: the variable OSTLER_CONFIG, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Time that a cancelled call has before it is abandoned [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
    /// Who may look.
    #[command(flatten)]
    pub(crate) monitor: MonitorArgs,
}

/// `ostler repl`.
#[derive(Debug, Args)]
pub(crate) struct ReplArgs {
    /// Run this file in the session before the first prompt, and again in every new session
    #[arg(long, value_name = "FILE")]
    pub(crate) startup: Option<PathBuf>,
    /// Keep the state of the session under this name: it is saved after each statement, and there again the next time
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Where states are kept.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Who may look.
    #[command(flatten)]
    pub(crate) monitor: MonitorArgs,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// `ostler sessions`.
#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// Where states are kept.
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Where the states of named sessions are kept.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// The folder with the states of named sessions [default: $XDG_STATE_HOME/ostler/sessions]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state_dir: Option<PathBuf>,
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

/// `ostler config`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigArgs {
    /// Print every setting with its meaning and its default, as a file to start from
    #[arg(long)]
    pub(crate) print_default: bool,
    /// Read this file and the environment, and say what is wrong
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

/// `ostler replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording: a file that a pool with the setting `pool.record` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Run the code again on a new worker, with the same input, and say what ends differently
    #[arg(long)]
    pub(crate) run: bool,
    /// The workers.
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// `ostler conform`.
#[derive(Debug, Args)]
pub(crate) struct ConformArgs {
    /// The worker, with its arguments [default: the Python worker that comes with Ostler]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
    /// Only this codec [default: both, one after the other]
    #[arg(long, value_name = "CODEC")]
    pub(crate) codec: Option<CodecArg>,
    /// How frames travel [default: stdio; for the Python worker, socket]
    #[arg(long, value_name = "TRANSPORT")]
    pub(crate) transport: Option<TransportArg>,
    /// How long the worker has for each answer [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) patience: Option<Duration>,
    /// Only the checks with these words in their names
    #[arg(long, value_name = "WORDS")]
    pub(crate) only: Option<String>,
    /// Code that prints the line `conform`
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) say: Option<String>,
    /// Code whose value is the number 42
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) value: Option<String>,
    /// Code that fails
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) fail: Option<String>,
    /// Code that computes until it is stopped
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) spin: Option<String>,
    /// Code that asks for one line of input, and prints that line
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) ask: Option<String>,
    /// Code that prints the numbers from 0 to 19999, each in a line
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) flood: Option<String>,
    /// Code that keeps a value in the session, for --kept
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) keep: Option<String>,
    /// Code that prints the line `conform` if what --keep kept is there
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) kept: Option<String>,
    /// Code that prints the line `conform` to its standard error
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) warn: Option<String>,
    /// Code that prints the argument `conform` in a line
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) arg: Option<String>,
    /// Code that asks to exit with 3
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) exit: Option<String>,
    /// Code that cannot be compiled
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) syntax: Option<String>,
    /// Code that appends a byte to the file `{file}`, which is put in its place
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) mark: Option<String>,
    /// Code that appends a byte to the file `{file}`, and ends its process at once
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) die: Option<String>,
    /// Code that leaves a thread which shows something large again and again
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) noise: Option<String>,
    /// Code that starts a process which lives for ten minutes, and prints its id in a line
    #[arg(long, value_name = "CODE", help_heading = PROBES)]
    pub(crate) child: Option<String>,
}

/// What the options of `ostler conform` for its code are called.
const PROBES: &str = "Code in the language of the worker; known for python and javascript";

/// How messages are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodecArg {
    Msgpack,
    Json,
}

/// How frames travel.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TransportArg {
    Stdio,
    Socket,
}

/// `ostler top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The socket of the pool [default: the newest of those started with --monitor]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Print one picture as plain text, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// Whether a pool shows itself.
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Show the pool to `ostler top` at this Unix socket, for this user alone [default PATH: in $XDG_RUNTIME_DIR/ostler]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) monitor: Option<Option<PathBuf>>,
}

/// What the commands have in common: the workers. An option comes over the environment, and that over the file.
#[derive(Debug, Args)]
pub(crate) struct PoolArgs {
    /// Take settings from this file; see `ostler config` [default: the variable OSTLER_CONFIG, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The interpreter: a path, or a name looked up in PATH [default: python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// Run JavaScript: with this node, a path or a name in PATH [default PATH: node; for files that end with .js, so by
    /// itself]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, conflicts_with = "python")]
    pub(crate) node: Option<Option<PathBuf>>,
    /// Code that each worker runs before it is used; `@FILE` reads it from a file
    #[arg(long, value_name = "CODE|@FILE")]
    pub(crate) warmup: Option<String>,
    /// Modules that are imported once, in a process from which workers are then forked, such as numpy,pandas
    #[arg(long, value_name = "MODULES", value_delimiter = ',')]
    pub(crate) preload: Option<Vec<String>>,
    /// Time that stopped code has before its worker is killed [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
}

/// Reads a time such as `30s` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => {
            Err("it is 0, so it would always have passed; give a longer time, such as 30s".into())
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it with its unit, such as 500ms, 30s or 2m")),
    }
}

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
