//! What stands below the options in the help of each command.

pub(crate) const EXAMPLES: &str = "\
Examples:
  ostler run hello.py                   as `python3 hello.py`, in a supervised worker
  ostler run jobs/*.py --deadline 30s   many files at the same time
  ostler call --mcp -s 'uvx mcp-server-time' tools/list   a server, called
  ostler repl                           a session that survives Ctrl-C and crashes
  ostler doctor                         is everything there, and how fast is it?
  ostler top                            what does a pool do that runs elsewhere?
  ostler config --print-default         every setting, as a file for --config";

pub(crate) const RUN_HELP: &str = "\
Each file is `python FILE ARGS`, or `node FILE ARGS`: a process of its own, in your working folder and your environment,
which ends as the interpreter ends it. A folder or zip file with a __main__ is run by that. What it leaves running in its
process group is killed when it ends.

A single file has your standard streams themselves: what it reads and writes is between it and your terminal or pipe.
With several files or --json the output is taken piece by piece; each line carries the name of its file, and a summary
follows. Standard input is then theirs one after the other with --workers 1, and else nobody's.

Ctrl-C at a terminal reaches the code itself, as without Ostler. An INT signal from elsewhere is passed on, and a TERM
signal to code that handles it; other code may run on. No other file is begun then, and what has not ended after --grace,
or at a second of these signals, is killed. Nothing stays behind. A single file also hears USR1, USR2, and a HUP that it
handles, which then ends nothing.

With --preload each file is forked from a process that has imported these modules, within a few milliseconds. Where a
variable steers the start of the interpreter (PYTHONHASHSEED, PYTHONWARNINGS, ...), files start as without --preload.

Exit codes:
  0    all completed
  1    some code failed (with a single file, the code given to sys.exit)
  2    wrong usage; nothing ran
  3    a worker was lost (with a single file that a signal ended: 128 and its number)
  4    a deadline passed
  5    no worker could be started; nothing ran
  129, 130, 143   stopped by a hangup, by Ctrl-C, by a TERM signal
  141  nobody reads the output any more
When several hold, the first of: a stop, 3, 4, 1.

JSON events (--json), one object a line; `event`, `id` and `label` are in each:
  started  pid, generation
  output   stream, and text (or base64, when it is not UTF-8)
  dropped  bytes, output that was discarded after a stop
  outcome  outcome (completed, failed, cancelled, timed_out, lost), duration in seconds, message (of a file that failed:
           the line of its stderr that names the error, such as `KeyError: 'x'`, or the last one), and as it applies
           exit_code, stage (queued, interrupt, force, kill), phase, started,
           activity {running_for, silent_for, processors, memory, stacks, children}, what the worker was doing
Two have no id: refused (label, message), a file that was never accepted, and the last one, summary (a count for each
outcome, refused, not_run, duration, exit_code).

Examples:
  ostler run hello.py
  ostler run primes.py -- 1000
  ostler run jobs/*.py --workers 4 --deadline 30s
  ostler run jobs/*.py --preload numpy,pandas
  ostler run -c 'import sys; print(sys.version)'
  echo 'print(6 * 7)' | ostler run -
  ostler run report.py --json | jq -r 'select(.event == \"output\").text'";

pub(crate) const SERVE_HELP: &str = "\
It listens at a Unix socket for processes of your user, who need no token, and at 127.0.0.1 for whoever has the token. Both
stand in a file beside the socket (mode 0600), which is named at the start. Any other address needs --tokens, and TLS of a
proxy before it. There is no sandbox: whoever may run code has your rights.

A TERM signal ends it in order: /readyz is 503, nothing new is taken, what runs has --drain-timeout, sessions with a name are
saved. A second signal ends it at once. The book's page http.md has every path.

The tokens file is {\"principals\": [{\"name\": \"ci\", \"hash\": HASH, \"scopes\": [\"run\", \"read\"], \"weight\": 1,
\"sessions\": 8, \"executions\": 64}]}; `ostler serve --new-token` prints a token and its hash.

Examples:
  ostler serve
  ostler serve --listen 127.0.0.1:8080 --workers 4 --preload numpy,pandas
  curl --unix-socket $XDG_RUNTIME_DIR/ostler/serve.sock http://localhost/v1/run --json '{\"code\": \"6 * 7\"}'";

pub(crate) const REPL_HELP: &str = "\
Ctrl-C interrupts the code that runs and keeps the state; at the prompt it clears the input. Ctrl-D or exit() ends:
threads and exit handlers of the code then have --grace to end, and what they print is shown. A TERM signal lets a statement that runs end within --grace; a second one kills it. The exit code is then 143. When
the worker dies, its cause is shown and a new session begins. The history is kept in $XDG_STATE_HOME/ostler/history
(~/.local/state/ostler/history).

With --session NAME the state is kept: it is saved after each statement, is there again the next time, and after the
death of the worker; what could not be saved is said. `ostler sessions` lists the names.

:undo goes back to the state before the last statement, up to eight times, also after the death of the worker; :fork goes on
in a copy of the session and :branch changes between them; :vars shows the names of the session; :save FILE and :load FILE
keep its state in a file. :help lists all commands, Tab completes them. Statements of a pipe are undone behind `:undo on`.

Standard input that is no terminal is read statement by statement, without prompts; the exit code is then 0 when all
completed, 1 when some failed, 3 when the worker died.

Examples:
  ostler repl
  ostler repl --warmup 'import numpy as np'
  ostler repl --startup prelude.py
  ostler repl --session analysis
  printf 'x = 41\\nx + 1\\n' | ostler repl";

pub(crate) const CALL_HELP: &str = "\
The server speaks JSON-RPC 2.0 on its stdin and stdout: one message a line, or framed with --content-length. It is
started with your environment, in your working folder; one process answers many calls at once. A result goes to stdout
as JSON; what went wrong, to stderr.

A line of --calls is an object: {\"method\": …, \"params\": …, \"label\": …}; `params` and `label` may be left out. Results
come in the order of the lines, one line each. With one process the calls share it; --workers has more of them.

Exit codes:
  0    all were answered
  1    the server answered one with an error
  2    wrong usage; nothing was called
  3    a call was lost with its process, or not accepted
  4    a deadline passed
  5    the server could not be started; nothing was called
  129, 130, 143   stopped by a hangup, by Ctrl-C, by a TERM signal
  141  nobody reads the output any more

JSON events (--json), one object a line; `event` and `label` are in each:
  notification  id, method, params: what the server reported while it had no other call, or as the progress of this one
  outcome       id, method, and as for `ostler run`; with `result`, or with `error` {code, message, data}. Of a lost call
                `started` says whether it had been sent
  refused       method, message: a call that was not accepted
  summary       the last one, as for `ostler run`

Examples:
  ostler call --server 'uvx mcp-server-time' --mcp tools/list
  ostler call -s 'uvx mcp-server-time' --mcp tools/call '{\"name\": \"get_current_time\", \"arguments\": {\"timezone\": \"UTC\"}}'
  ostler call -s './server.py' --calls calls.jsonl --workers 4 --json";

pub(crate) const DOCTOR_HELP: &str = "\
Exit code 0 when everything essential is there, 1 when something is missing.

Examples:
  ostler doctor
  ostler doctor --python .venv/bin/python --json";

pub(crate) const CONFIG_HELP: &str = "\
Settings come from, the first that says something: an option, a variable of the environment, the file, the default.
The file is that of --config, or of the variable OSTLER_CONFIG. A variable is named by the section and the key:
OSTLER_POOL_MAX_SESSIONS=4, OSTLER_RESTART_WINDOW=30s, OSTLER_WORKER_ARGS='[\"-x\"]'.

Exit code 0 when the settings can work, 2 when they cannot.

Examples:
  ostler config --print-default > ostler.toml
  ostler config --check ostler.toml
  ostler run job.py --config ostler.toml";

pub(crate) const REPLAY_HELP: &str = "\
A pool writes recordings, one for each worker, into the folder that its setting `pool.record` names. They hold all that
the code was given and printed.

Exit code 0 when it was shown, or every ending is the same; 1 when one differs; 2 when the file is no recording.

Examples:
  OSTLER_POOL_RECORD=recordings ostler run job.py
  ostler replay recordings/*.ostlog
  ostler replay recordings/4242-0123456789abcdef.0.1.ostlog --run";

pub(crate) const CONFORM_HELP: &str = "\
Each check starts a worker of its own, drives it well or badly, and compares what it does with
PROTOCOL.md. A check that needs code in a language that is not known here is skipped, unless the
code is given.

Exit codes: 0 nothing failed, 1 something did, 2 wrong command line

Examples:
  ostler conform                                  the Python worker that comes with Ostler
  ostler conform node my-worker.js                another one
  ostler conform --say 'say conform' ./my-worker  a language of its own";

pub(crate) const TOP_HELP: &str = "\
It shows the pool, its sessions and what happened, once a second; q quits. A program that embeds Ostler shows its pool
with `ostler::monitor::serve`. When standard output is no terminal, it is as with --once.

Examples:
  ostler run jobs/*.py --monitor     and in another terminal: ostler top
  ostler top /run/service/pool.sock
  ostler top --once";
