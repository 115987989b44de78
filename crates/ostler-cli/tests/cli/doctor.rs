//! `ostler doctor`.

use serde_json::Value;

use crate::program::Scratch;

#[test]
fn everything_is_there_where_the_tests_run() {
    let ended = Scratch::new().ostler(&["doctor", "--json", "--grace", "200ms"]).run("").expect(0);
    let report: Value = serde_json::from_str(ended.out()).unwrap();
    assert_eq!((&report["ok"], &report["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    let findings = report["findings"].as_array().unwrap();
    let names: Vec<&str> = findings.iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    let expected = [
        "system",
        "open files",
        "processes",
        "memory",
        "temp folder",
        "interpreter",
        "start",
        "execution",
        "round trip",
        "interrupt",
        "restart",
        "kill",
    ];
    assert_eq!(names, expected);
    for timed in ["start", "execution", "round trip", "interrupt", "restart", "kill"] {
        let finding = findings.iter().find(|finding| finding["name"] == timed).unwrap();
        assert_eq!(finding["state"], "ok", "{finding}");
        assert!(finding["milliseconds"].as_f64().unwrap() > 0.0, "{finding}");
    }
}

#[test]
fn an_interpreter_that_is_missing_is_said_with_what_to_do() {
    let ended = Scratch::new().ostler(&["doctor", "--python", "/no/such/python"]).run("").expect(1);
    assert!(
        ended.out().contains("interpreter  missing worker program `/no/such/python` was not found"),
        "{}",
        ended.out()
    );
    assert!(ended.out().contains("-> install Python 3.9 or newer"), "{}", ended.out());
    assert!(ended.out().ends_with("Something essential is missing: see above.\n"), "{}", ended.out());
}

#[test]
fn a_program_that_is_no_python_is_said() {
    let scratch = Scratch::new();
    let fake = scratch.file("fake", "#!/bin/sh\necho not a python >&2\nexit 3\n");
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = scratch.ostler(&["doctor", "--python", "./fake"]).run("").expect(1);
    assert!(ended.out().contains("not a python"), "{}", ended.out());
}
