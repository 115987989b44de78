//! The keys, what is read and what is refused.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::config::{RecyclePolicy, RestartPolicy};

/// The names of all fields; a field that is missing here stops the build.
macro_rules! fields {
    ($of:ident { $($field:ident),* $(,)? }) => {{
        let $of { $($field: _),* } = $of::default();
        [$(stringify!($field)),*]
    }};
}

fn keys_of(section: &str) -> BTreeSet<String> {
    let name = |key: &Key| key.path.strip_prefix(section)?.strip_prefix('.').map(str::to_owned);
    KEYS.iter().filter_map(name).collect()
}

fn names<const N: usize>(names: [&str; N], without: &[&str]) -> BTreeSet<String> {
    names.iter().filter(|name| !without.contains(name)).map(|name| (*name).to_owned()).collect()
}

fn refused(text: &str) -> String {
    Settings::from_toml(text).unwrap_err().to_string()
}

#[test]
fn every_field_has_a_key_and_every_key_a_field() {
    let pool = fields!(PoolConfig {
        name,
        min_idle,
        max_sessions,
        in_flight,
        queue,
        queue_bytes,
        tenant_queue,
        tenant_weights,
        share_workers,
        queue_timeout,
        session_queue,
        deadline,
        grace,
        ready_timeout,
        warmup,
        warmup_timeout,
        lease_timeout,
        session_timeout,
        max_report_bytes,
        max_checkpoint_bytes,
        checkpoint_timeout,
        heartbeat_timeout,
        surge,
        idle_timeout,
        max_starting,
        start_rate,
        state_dir,
        save_every,
        save_interval,
        on_death,
        record,
        soft_memory,
        hard_memory,
        restart,
        recycle,
    });
    assert_eq!(keys_of("pool"), names(pool, &["restart", "recycle"]));
    let restart =
        fields!(RestartPolicy { min_backoff, max_backoff, intensity, window, stable_after, probe_after });
    assert_eq!(keys_of("restart"), names(restart, &[]));
    assert_eq!(
        keys_of("recycle"),
        names(fields!(RecyclePolicy { max_executions, max_age, max_memory, jitter }), &[])
    );
    let worker = fields!(WorkerSettings {
        python,
        node,
        command,
        args,
        dialect,
        env,
        inherit_env,
        cwd,
        transport,
        codec,
        preload
    });
    assert_eq!(keys_of("worker"), names(worker, &[]));
    // `program` of a spec is `python`, `node`, or `command` and `args`.
    let WorkerSpec {
        program: _,
        env: _,
        inherit_env: _,
        cwd: _,
        transport: _,
        codec: _,
        preload: _,
        language: _,
        server: _,
    } = WorkerSettings::default().spec();
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let defaults = Settings::default();
    let read = Settings::from_toml(&defaults.to_toml()).unwrap();
    assert_eq!((&read.pool, &read.worker), (&defaults.pool, &defaults.worker));
    let mut other = Settings::default();
    other.pool.max_sessions = 1234;
    other.pool.deadline = None;
    other.pool.warmup = Some("print(\"a\\b\t'c'\u{7f}é\")\n".into());
    other.pool.max_report_bytes = 1_500;
    other.pool.tenant_weights = [("a b".into(), 3), ("c".into(), 1)].into();
    other.pool.queue_timeout = Some(Duration::from_millis(1500));
    other.pool.recycle.max_memory = Some(3 << 30);
    other.pool.recycle.max_executions = Some(10);
    other.pool.restart.window = Duration::from_millis(90_500);
    other.worker.node = Some("/opt/node".into());
    other.worker.command = Some("/bin/worker".into());
    other.worker.dialect = Dialect::Mcp;
    other.pool.in_flight = 3;
    other.worker.args = vec!["--a".into(), "b c".into()];
    other.worker.env = [("A.B".to_owned(), "x = y".to_owned())].into();
    other.worker.transport = Some(Transport::Socket);
    other.worker.codec = Codec::Json;
    other.worker.preload = Some(vec!["numpy".into()]);
    let read = Settings::from_toml(&other.to_toml()).unwrap();
    assert_eq!((&read.pool, &read.worker), (&other.pool, &other.worker), "{}", other.to_toml());
}

#[test]
fn the_defaults_of_the_worker_are_those_of_its_spec() {
    assert_eq!(WorkerSettings::default().spec(), WorkerSpec::python());
    let settings =
        Settings::from_toml("[worker]\ncommand = 'w'\nargs = ['-x']\ncwd = '/srv'\ninherit_env = true");
    let expected = WorkerSpec::command("w").arg("-x").cwd("/srv").inherit_env();
    assert_eq!(settings.unwrap().worker.spec(), expected);
    for (preload, expected) in [
        ("['numpy', 'a.b']", WorkerSpec::python().preload(["numpy", "a.b"])),
        ("[]", WorkerSpec::python().preload::<String>([])),
        ("'none'", WorkerSpec::python()),
    ] {
        let settings = Settings::from_toml(&format!("[worker]\npreload = {preload}")).unwrap();
        assert_eq!(settings.worker.spec(), expected);
    }
}

#[test]
fn times_and_sizes_have_units_and_limits_can_be_taken_away() {
    let settings = Settings::from_toml(
        "[pool]\ndeadline = 'never'\ngrace = '1m 30s'\nmax_report_bytes = '64 kB'\nmax_sessions = 'auto'
[recycle]\nmax_memory = '512MiB'\nmax_executions = 'none'\nmax_age = '2h'\njitter = 0",
    )
    .unwrap();
    assert_eq!((settings.pool.deadline, settings.pool.grace), (None, Duration::from_secs(90)));
    assert_eq!(settings.pool.max_report_bytes, 64_000);
    assert_eq!(settings.pool.max_sessions, PoolConfig::default().max_sessions);
    let recycle = &settings.pool.recycle;
    assert_eq!((recycle.max_memory, recycle.max_executions), (Some(512 << 20), None));
    assert_eq!((recycle.max_age, recycle.jitter), (Some(Duration::from_secs(7200)), 0.0));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_is_right() {
    for (text, expected) in [
        (
            "[pool]\n\n  max_sessions = 'four'",
            "line 3, column 3: `pool.max_sessions` is the text \"four\"; give a whole number, such as 4, or \"auto\" for \
             the number of processors, at least 2",
        ),
        (
            "[pool]\ngrace = 30",
            "line 2, column 1: `pool.grace` is the number 30; give a time with its unit, such as \"500ms\", \"30s\" or \
             \"1m 30s\"",
        ),
        (
            "[recycle]\nmax_memory = '12 parsecs'",
            "line 2, column 1: `recycle.max_memory` is the text \"12 parsecs\"; give a size with its unit, such as \
             \"512MiB\" or \"2GB\", or \"none\"",
        ),
        (
            "[pool]\nqueue = -1",
            "line 2, column 1: `pool.queue` is the number -1; give a whole number, such as 4",
        ),
        ("pool = 3", "line 1, column 1: unknown key `pool`; did you mean the section `[pool]`?"),
        (
            "[pool.restart]\n",
            "line 1, column 7: unknown key `pool.restart`; did you mean the section `[restart]`?",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    let syntax = refused("[pool]\nqueue = = 4");
    assert!(syntax.starts_with("line 2, column 9: not valid TOML: "), "{syntax}");
    let twice = refused("[pool]\nqueue = 4\nqueue = 5");
    assert!(twice.starts_with("line 3, column 1: not valid TOML: "), "{twice}");
}

#[test]
fn the_first_mistake_of_a_file_is_the_one_that_is_told() {
    assert!(refused("[pool]\nzebra = 1\nant = 2").contains("`pool.zebra`"));
}

#[test]
fn variables_come_over_the_file_and_only_ours_are_looked_at() {
    let mut settings = Settings::from_toml("[pool]\nmax_sessions = 3\nqueue = 7").unwrap();
    let vars = [
        ("OSTLER_POOL_MAX_SESSIONS", "4"),
        ("OSTLER_RESTART_WINDOW", "30s"),
        ("OSTLER_WORKER_ARGS", "['a', 'b']"),
        ("OSTLER_WORKER_ENV", "{ A = '1' }"),
        ("OSTLER_WORKER_INHERIT_ENV", "true"),
        ("OSTLER_POOL_WARMUP", "42"),
        ("OSTLER_TAG", "7-a"),
        ("OSTLER_CONFIG", "x.toml"),
        ("POOL_QUEUE", "9"),
    ];
    settings.apply_env("OSTLER_", vars.map(|(name, value)| (name.into(), value.into()))).unwrap();
    assert_eq!((settings.pool.max_sessions, settings.pool.queue), (4, 7));
    assert_eq!(settings.pool.restart.window, Duration::from_secs(30));
    assert_eq!(settings.pool.warmup.as_deref(), Some("42"));
    assert_eq!(settings.worker.args, ["a", "b"]);
    assert_eq!((settings.worker.env["A"].as_str(), settings.worker.inherit_env), ("1", true));
    assert_eq!(settings.given("pool.max_sessions").unwrap().to_string(), "variable OSTLER_POOL_MAX_SESSIONS");
    assert_eq!(settings.given("pool.queue").unwrap().to_string(), "line 3, column 1");
    assert_eq!(settings.given("pool.session_queue"), None);
}

#[test]
fn a_variable_that_is_wrong_is_said_too() {
    for (name, value, expected) in [
        (
            "OSTLER_POOL_QUEU",
            "1",
            "variable OSTLER_POOL_QUEU: unknown key `pool.queu`; did you mean `pool.queue`?",
        ),
        (
            "OSTLER_POOL_QUEUE",
            "many",
            "variable OSTLER_POOL_QUEUE: `pool.queue` is the text \"many\"; give a whole number, such as 4",
        ),
    ] {
        let error = Settings::default().apply_env("OSTLER_", [(name.into(), value.into())]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn settings_that_do_not_work_together_are_said_with_their_place() {
    let settings = Settings::from_toml("[pool]\nmax_sessions = 2\nmin_idle = 3").unwrap();
    let expected =
        "line 3, column 1: invalid setting `min_idle`: it is 3, more than `max_sessions`, 2".to_owned();
    assert_eq!(settings.check().unwrap_err().to_string(), expected);
    let settings = Settings::from_toml("[worker]\ncommand = 'w'\npreload = ['numpy']").unwrap();
    let told = settings.check().unwrap_err().to_string();
    assert!(told.starts_with("line 3, column 1: invalid setting `preload`: expected the shipped"), "{told}");
    let settings = Settings::from_toml("[restart]\nwindow = '0s'").unwrap();
    assert!(
        settings
            .check()
            .unwrap_err()
            .to_string()
            .starts_with("line 2, column 1: invalid setting `restart.window`")
    );
    assert!(Settings::default().check().is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::from_file("/no/such.toml").unwrap_err().to_string();
    assert_eq!(error, "cannot read settings file `/no/such.toml`");
}

/// Whatever a number, a time or a size may be written as, it has bounds: every such key is refused by its name, or its
/// value cannot be said.
#[test]
fn no_number_is_without_bounds() {
    let huge = [
        ("a whole number", "4294967296"),
        ("a whole number", "9223372036854775807"),
        ("a time", "'4000000000s'"),
        ("a time", "'500000000000y'"),
        ("a size", "'1025TiB'"),
        ("a size", "'16777215TiB'"),
        ("a number", "nan"),
        ("a number", "inf"),
        ("a number", "-0.1"),
        ("a number", "1.1"),
        ("a table of whole numbers", "{ a = 4294967296 }"),
    ];
    let mut seen = 0;
    // A deadline that no clock can count is none.
    for key in KEYS.iter().filter(|key| key.path != "pool.deadline") {
        for (_, value) in huge.iter().filter(|(kind, _)| (key.expected)().starts_with(kind)) {
            let (section, name) = key.path.split_once('.').unwrap();
            let text = format!("[{section}]\n{name} = {value}");
            let told = match Settings::from_toml(&text) {
                Ok(settings) => settings.check().expect_err(&text).to_string(),
                Err(error) => error.to_string(),
            };
            assert!(told.starts_with("line 2, column 1: ") && told.contains(name), "{text}: {told}");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
    let told = |text: &str| Settings::from_toml(text).unwrap().check().unwrap_err().to_string();
    for (text, expected) in [
        ("max_sessions = 4294967295", "`max_sessions`: it is 4294967295; give 1 to 65536"),
        ("queue_timeout = '101y'", "`queue_timeout`: it is 3187317600s; give 0ns to 3153600000s"),
        (
            "hard_memory = '2048TiB'",
            "`hard_memory`: it is 2251799813685248 bytes; give 1 bytes to 1125899906842624 bytes",
        ),
    ] {
        assert_eq!(told(&format!("[pool]\n{text}")), format!("line 2, column 1: invalid setting {expected}"));
    }
}
