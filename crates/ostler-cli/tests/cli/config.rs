//! `ostler config`, and what the settings do.

use crate::program::Scratch;

#[test]
fn the_printed_settings_can_be_used_as_they_are() {
    let scratch = Scratch::new();
    let printed = scratch.ostler(&["config", "--print-default"]).run("").expect(0);
    assert!(printed.out().contains("\n[recycle]\n"), "{}", printed.out());
    assert!(printed.out().contains("\ndeadline = \"never\"\n"), "{}", printed.out());
    scratch.file("o.toml", &printed.stdout);
    let checked = scratch.ostler(&["config", "--check", "o.toml"]).run("").expect(0);
    assert_eq!(checked.out(), "o.toml: the settings can work\n");
    let code = "import os; print(os.getcwd(), os.environ['SECRET'])";
    let ran =
        scratch.ostler(&["run", "-c", code, "--config", "o.toml"]).env("SECRET", "told").run("").expect(0);
    assert_eq!(ran.out(), format!("{} told\n", scratch.path().display()));
}

#[test]
fn a_wrong_file_is_refused_with_its_place_before_anything_runs() {
    let scratch = Scratch::new();
    scratch.file("o.toml", "[pool]\nmax_session = 3\n");
    let expected = "ostler: o.toml:2:1: unknown key `pool.max_session`; did you mean `pool.max_sessions`?\n";
    for args in [
        &["config", "--check", "o.toml"][..],
        &["run", "-c", "print(1)", "--config", "o.toml"],
        &["repl", "--config", "o.toml"],
        &["doctor", "--config", "o.toml"],
    ] {
        let ended = scratch.ostler(args).run("").expect(2);
        assert_eq!((ended.out(), ended.err()), ("", expected), "{args:?}");
    }
    scratch.file("o.toml", "[pool]\nmax_sessions = 2\nmin_idle = 3\n");
    let ended = scratch.ostler(&["config", "--check", "o.toml"]).run("").expect(2);
    let expected = "ostler: o.toml:3:1: invalid setting `min_idle`: it is 3, more than `max_sessions`, 2\n";
    assert_eq!(ended.err(), expected);
    let ended = scratch.ostler(&["run", "-c", "1", "--config", "none.toml"]).run("").expect(2);
    assert!(
        ended.err().starts_with("ostler: cannot read settings file `none.toml`: No such file"),
        "{}",
        ended.err()
    );
}

#[test]
fn an_option_comes_over_a_variable_and_that_over_the_file() {
    let scratch = Scratch::new();
    scratch.file(
        "o.toml",
        "[pool]\nwarmup = 'import builtins; builtins.FROM = \"file\"'\n[worker]\nenv = { A = 'f' }\n",
    );
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let args = [&["repl"], args].concat();
        let program =
            variables.iter().fold(scratch.ostler(&args), |program, (name, value)| program.env(name, value));
        program.run("import os; print(FROM, os.environ['A'])\n").expect(0).out().to_owned()
    };
    let file = ("OSTLER_CONFIG", "o.toml");
    let variable = ("OSTLER_POOL_WARMUP", "import builtins; builtins.FROM = 'variable'");
    let option = "import builtins; builtins.FROM = 'option'";
    assert_eq!(run(&[], &[file]), "file f\n");
    assert_eq!(run(&[], &[file, variable]), "variable f\n");
    assert_eq!(run(&["--warmup", option], &[file, variable]), "option f\n");
    scratch.file("other.toml", "[worker]\nenv = { A = 'other' }\n");
    assert_eq!(run(&["--config", "other.toml", "--warmup", option], &[file]), "option other\n");
}

#[test]
fn a_wrong_variable_is_refused_too() {
    let scratch = Scratch::new();
    let program = scratch.ostler(&["run", "-c", "1"]).env("OSTLER_POOL_GRACE", "soon");
    let ended = program.run("").expect(2);
    let expected = "ostler: variable OSTLER_POOL_GRACE: `pool.grace` is the text \"soon\"; give a time with its unit, such \
                    as \"500ms\", \"30s\" or \"1m 30s\"\n";
    assert_eq!(ended.err(), expected);
}
