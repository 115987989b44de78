//! The one table of keys. What is read, printed, suggested and documented all comes from here.

use super::{
    Settings,
    given::Given,
    kind::{Count, Kind, Named, Part, Processors, Size, Switch, Text, Texts, Time, Weights, Word},
};

/// A setting.
pub(super) struct Key {
    /// Its section and its name.
    pub(super) path: &'static str,
    /// What it means.
    pub(super) about: &'static str,
    /// What it takes, with an example.
    pub(super) expected: fn() -> &'static str,
    /// Sets it; false when the value is of another kind.
    pub(super) read: fn(&mut Settings, &Given) -> bool,
    /// Its value, as TOML.
    pub(super) show: fn(&Settings) -> String,
}

impl Key {
    /// Whether an error of a validation means this one: there, what is of the pool and of the worker has no section.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let in_section = |section| self.path.strip_prefix(section) == Some(name);
        self.path == name || in_section("pool.") || in_section("worker.")
    }
}

/// The sections, in the order in which they are printed.
pub(super) const SECTIONS: [(&str, &str); 4] = [
    ("worker", "What to run as a worker."),
    ("pool", "How the pool behaves."),
    ("restart", "When dead workers are started again, and when the pool gives up."),
    ("recycle", "When workers that live are replaced: between two executions, never in the middle of one."),
];

fn expected<K: Kind<T>, T>(_field: fn(&Settings) -> &T) -> &'static str {
    K::EXPECTED
}

macro_rules! key {
    ($path:literal, $kind:ty, $($field:ident).+, $about:literal) => {
        Key {
            path: $path,
            about: $about,
            expected: || expected::<$kind, _>(|settings| &settings.$($field).+),
            read: |settings, given| match <$kind as Kind<_>>::read(given) {
                Some(value) => {
                    settings.$($field).+ = value;
                    true
                }
                None => false,
            },
            show: |settings| <$kind as Kind<_>>::show(&settings.$($field).+),
        }
    };
}

/// Every setting.
pub(super) static KEYS: &[Key] = &[
    key!(
        "worker.python",
        Text,
        worker.python,
        "The interpreter that runs the shipped worker: a path, or a name in PATH."
    ),
    key!(
        "worker.node",
        Text,
        worker.node,
        "The node that runs the JavaScript worker: a path, or a name in PATH. Empty: the Python worker."
    ),
    key!(
        "worker.command",
        Text,
        worker.command,
        "Another program, instead of the shipped worker. Empty: the shipped worker."
    ),
    key!(
        "worker.dialect",
        Word,
        worker.dialect,
        "What `command` speaks: the worker protocol, JSON-RPC one message a line, MCP, or JSON-RPC as language servers."
    ),
    key!("worker.args", Texts, worker.args, "The arguments of `command`."),
    key!("worker.env", Named, worker.env, "Variables of the worker's environment."),
    key!(
        "worker.inherit_env",
        Switch,
        worker.inherit_env,
        "Whether the worker has the whole environment of its host. Otherwise: PATH, HOME, LANG, LC_*, TZ, TMPDIR and \
         VIRTUAL_ENV."
    ),
    key!(
        "worker.cwd",
        Text,
        worker.cwd,
        "The worker's working folder, from that of its host. Empty: a private scratch folder, removed when it ends."
    ),
    key!(
        "worker.transport",
        Word,
        worker.transport,
        "How frames travel. \"auto\" is \"socket\" for the shipped worker and \"stdio\" for others."
    ),
    key!("worker.codec", Word, worker.codec, "How messages are encoded."),
    key!(
        "worker.preload",
        Texts,
        worker.preload,
        "Modules that are imported once, in a process from which workers are then forked within milliseconds. \"none\": \
         every worker starts on its own."
    ),
    key!("pool.name", Text, pool.name, "Names the pool in metrics."),
    key!("pool.min_idle", Count, pool.min_idle, "Sessions that are kept ready for the next request."),
    key!(
        "pool.max_sessions",
        Processors,
        pool.max_sessions,
        "Most workers alive at once, starting and dying ones included."
    ),
    key!(
        "pool.in_flight",
        Count,
        pool.in_flight,
        "Most requests that one JSON-RPC server has at once. Other workers have one at a time."
    ),
    key!("pool.queue", Count, pool.queue, "Most requests that wait for a session."),
    key!(
        "pool.queue_bytes",
        Size,
        pool.queue_bytes,
        "Most bytes of memory that the requests take that wait, here and in the queues of leased sessions."
    ),
    key!(
        "pool.tenant_queue",
        Count,
        pool.tenant_queue,
        "Most requests of one tenant that wait, so that none of them can take the whole queue."
    ),
    key!(
        "pool.tenant_weights",
        Weights,
        pool.tenant_weights,
        "How often a tenant is served in its turn, where another one is served once."
    ),
    key!(
        "pool.share_workers",
        Switch,
        pool.share_workers,
        "Whether a worker that has run code of one tenant may run code of another."
    ),
    key!(
        "pool.queue_timeout",
        Time,
        pool.queue_timeout,
        "How long a request may wait for a session; \"never\": until its deadline."
    ),
    key!(
        "pool.session_queue",
        Count,
        pool.session_queue,
        "Most executions that wait in a leased session while one runs; 0 refuses them."
    ),
    key!(
        "pool.deadline",
        Time,
        pool.deadline,
        "Time from submission to outcome for a request that names none."
    ),
    key!("pool.grace", Time, pool.grace, "Time from a cancel or a deadline until the worker is killed."),
    key!(
        "pool.ready_timeout",
        Time,
        pool.ready_timeout,
        "Time from the start of a worker until it is ready."
    ),
    key!("pool.warmup", Text, pool.warmup, "Code that a worker runs before it is offered. Empty: none."),
    key!("pool.warmup_timeout", Time, pool.warmup_timeout, "Time that the warmup may take."),
    key!("pool.lease_timeout", Time, pool.lease_timeout, "How long a caller waits for a session to lease."),
    key!(
        "pool.session_timeout",
        Time,
        pool.session_timeout,
        "A leased session that runs nothing for this long is ended."
    ),
    key!("pool.max_report_bytes", Size, pool.max_report_bytes, "Most output that is kept in one report."),
    key!("pool.max_checkpoint_bytes", Size, pool.max_checkpoint_bytes, "Most bytes of one saved state."),
    key!(
        "pool.checkpoint_timeout",
        Time,
        pool.checkpoint_timeout,
        "Time that saving or restoring a session may take."
    ),
    key!(
        "pool.heartbeat_timeout",
        Time,
        pool.heartbeat_timeout,
        "How long a worker that runs nothing may leave a question unanswered, and do nothing, before it is killed."
    ),
    key!(
        "pool.surge",
        Count,
        pool.surge,
        "Workers that may be alive beyond `max_sessions` while they replace others, so that no capacity is lost."
    ),
    key!(
        "pool.idle_timeout",
        Time,
        pool.idle_timeout,
        "Sessions beyond `min_idle` that nobody used for this long are ended."
    ),
    key!("pool.max_starting", Processors, pool.max_starting, "Most workers that start at once."),
    key!("pool.start_rate", Count, pool.start_rate, "Most workers that are started within one second."),
    key!(
        "restart.min_backoff",
        Time,
        pool.restart.min_backoff,
        "The first wait before a worker is started again; it doubles up to `max_backoff`."
    ),
    key!("restart.max_backoff", Time, pool.restart.max_backoff, "The longest wait."),
    key!(
        "restart.intensity",
        Count,
        pool.restart.intensity,
        "Deaths in a row, within `window`, that fail the pool."
    ),
    key!("restart.window", Time, pool.restart.window, "The sliding window of `intensity`."),
    key!(
        "restart.stable_after",
        Time,
        pool.restart.stable_after,
        "A worker that lived this long was a success."
    ),
    key!(
        "restart.probe_after",
        Time,
        pool.restart.probe_after,
        "How long a failed pool waits before it tries one worker; if that becomes ready, the pool serves again."
    ),
    key!(
        "pool.soft_memory",
        Size,
        pool.soft_memory,
        "Resident memory of a worker beyond which what it runs is stopped."
    ),
    key!(
        "pool.state_dir",
        Text,
        pool.state_dir,
        "The folder in which the states of named sessions are kept. Empty: none."
    ),
    key!(
        "pool.save_every",
        Count,
        pool.save_every,
        "Executions of a session behind which its state is saved."
    ),
    key!(
        "pool.save_interval",
        Time,
        pool.save_interval,
        "How long after its last save a session that ran something since is saved, once nothing runs in it."
    ),
    key!(
        "pool.on_death",
        Word,
        pool.on_death,
        "What becomes of a leased session when its worker dies: it ends, or is restored in a new one."
    ),
    key!(
        "pool.record",
        Text,
        pool.record,
        "A folder for recordings of everything that passes between a session and its worker. Empty: none."
    ),
    key!(
        "pool.hard_memory",
        Size,
        pool.hard_memory,
        "Resident memory of a worker beyond which it is killed."
    ),
    key!("recycle.max_executions", Count, pool.recycle.max_executions, "Executions that a worker may serve."),
    key!("recycle.max_age", Time, pool.recycle.max_age, "How old a worker may become."),
    key!(
        "recycle.max_memory",
        Size,
        pool.recycle.max_memory,
        "Resident memory that a worker may hold between executions, as the operating system counts it."
    ),
    key!(
        "recycle.jitter",
        Part,
        pool.recycle.jitter,
        "The part of each limit that chance may take off, so that workers of one age do not end together."
    ),
];
