//! JavaScript: files that end so, and `--node`.

use crate::program::Scratch;

/// Whether there is a `node`. In CI there has to be one.
#[expect(clippy::disallowed_methods, reason = "a test looks for a program")]
pub(crate) fn node_is_there() -> bool {
    let there = std::process::Command::new("node").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "`node` is not in PATH");
    there
}

#[test]
fn a_file_of_javascript_runs_as_with_node() {
    if !node_is_there() {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("lib.js", "module.exports = (x) => x * 2");
    scratch.file(
        "main.js",
        "const double = require('./lib.js')
setTimeout(() => console.log('later', require.main === module), 20)
console.log(double(21), process.argv.slice(2), require('fs').readFileSync(0, 'utf8'))",
    );
    scratch.file(
        "module.mjs",
        "import path from 'node:path'\nconsole.log(path.basename(process.argv[1]), await 7)",
    );
    let ended = scratch.ostler(&["run", "main.js", "--", "a", "b"]).run("typed").expect(0);
    assert_eq!(ended.out(), "42 [ 'a', 'b' ] typed\nlater true\n");
    assert_eq!(scratch.ostler(&["run", "module.mjs"]).run("").expect(0).out(), "module.mjs 7\n");
    scratch.file("wrong.js", "function f() { null.x }\n\nf()");
    let ended = scratch.ostler(&["run", "wrong.js"]).run("").expect(1);
    assert!(ended.err().contains("TypeError: Cannot read properties of null"), "{}", ended.err());
    assert!(ended.err().contains("wrong.js:3:1)"), "{}", ended.err());
    // Cases c20 to c24: it is Node, with its streams, its modules and its listeners.
    let heard = "process.on('unhandledRejection', (it) => console.log('heard', it)); Promise.reject(1);
setTimeout(() => console.log('goes on'), 50)";
    let child =
        "const { spawnSync } = require('child_process'); process.on('exit', () => console.log('three'));
console.log('one'); spawnSync('echo', ['two'], { stdio: 'inherit' })";
    let stdin = "process.stdin.on('data', (it) => console.log(JSON.stringify(String(it))))";
    for (name, code, input, expected) in [
        ("stdin.js", stdin, "a\nb\n", "\"a\\nb\\n\"\n"),
        ("heard.js", heard, "", "heard 1\ngoes on\n"),
        ("url.mjs", "console.log(import.meta.url.endsWith('/url.mjs'), await 1)", "", "true 1\n"),
        ("child.js", child, "", "one\ntwo\nthree\n"),
    ] {
        scratch.file(name, code);
        assert_eq!(scratch.ostler(&["run", name]).run(input).expect(0).out(), expected, "{name}");
    }
    scratch.file("exits.js", "process.exit(7)");
    scratch.ostler(&["run", "exits.js"]).run("").expect(7);
}

#[test]
fn one_run_has_one_language() {
    let scratch = Scratch::new();
    scratch.file("a.js", "");
    scratch.file("b.py", "");
    let ended = scratch.ostler(&["run", "a.js", "b.py"]).run("").expect(2);
    assert_eq!(
        ended.err(),
        "ostler: `a.js` is JavaScript and `b.py` is not, and one run has one kind of worker; run them apart\n"
    );
}

#[test]
fn a_session_of_javascript_keeps_its_names() {
    if !node_is_there() {
        return;
    }
    let scratch = Scratch::new();
    let typed =
        "let x = 1\nfunction f(y)\n{\n  return x + y\n}\nf(41)\nlet x = 2; await f(1)\nx +\n  40\n:vars\n";
    let ended = scratch.ostler(&["repl", "--node"]).run(typed).expect(0);
    assert!(ended.out().starts_with("42\n3\n42\n"), "{}", ended.out());
    let told = format!("{}{}", ended.out(), ended.err());
    assert!(told.contains("x") && told.contains("number"), "{told}");
    let ended = scratch.ostler(&["repl", "--node", "--session", "s"]).run("").expect(2);
    assert!(ended.err().contains("a JavaScript session cannot be saved"), "{}", ended.err());
}

/// As `node FOLDER` does.
#[test]
fn a_folder_with_an_index_is_run() {
    let scratch = Scratch::new();
    scratch.file("tool/index.js", "console.log(require('./beside').name)");
    scratch.file("tool/beside.js", "exports.name = 'beside'");
    assert_eq!(scratch.ostler(&["run", "tool"]).run("").expect(0).out(), "beside\n");
}
