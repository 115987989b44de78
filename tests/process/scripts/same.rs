//! The same file, run by the interpreter and by the pool: bytes, exit code and effects are the same.

use std::{ffi::OsString, fs, path::Path, process::Command, time::Duration};

use ostler::{Failure, Outcome, Report, Script};

use super::{pool, python, spec, written};
use crate::support::wait::guarded;

/// How the interpreter itself ends a file.
struct Plain {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn plain(folder: &Path, args: &[&str]) -> Plain {
    let output = Command::new(python())
        .args(args)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    Plain {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    }
}

fn code(report: &Report) -> Option<i32> {
    match &report.outcome {
        Outcome::Completed(_) => Some(0),
        Outcome::Failed(Failure::Exit { code, .. }) => Some(*code),
        _other => None,
    }
}

/// Cases c01 to c05, c13, c14, c17 and their like: each ended in another way when a worker imitated the interpreter.
const FILES: &[(&str, &str)] = &[
    ("unflushed", "open('out', 'w').write('kept')\nopen('more', 'w').writelines(['x\\n'] * 10)"),
    (
        "library_exit",
        "import atexit, logging\natexit.register(print, 'registered by a library', flush=False)\nprint('work')",
    ),
    ("exit_order", "import atexit\nfor n in range(3): atexit.register(print, n)\nraise SystemExit('no')"),
    ("fork_exit", "import atexit, os\natexit.register(print, 'bye', flush=True)\nif os.fork(): os.wait()"),
    (
        "pool",
        "import concurrent.futures as f\nif __name__ == '__main__':\n    p = f.ProcessPoolExecutor(2)\n    print(list(p.map(abs, [0, -1, 4])))",
    ),
    (
        "outlives",
        "import multiprocessing as m, time\ndef late():\n    time.sleep(1.2); print('done', flush=True)\nif __name__ == '__main__':\n    m.Process(target=late).start(); print('main ends', flush=True)",
    ),
    (
        "exit_fails",
        "import atexit\natexit.register(print, 'first')\nclass Fails:\n    def __call__(self): 1 / 0\n    def __repr__(self): return 'fails'\natexit.register(Fails())\n@atexit.register\ndef gone(): print('gone')\natexit.unregister(gone)\natexit.register(print, 'last')\nprint('code')\n{}['x']",
    ),
    (
        "executor",
        "import concurrent.futures as f, time\np = f.ThreadPoolExecutor(2)\np.submit(lambda: (time.sleep(.1), print('worked')))\nprint('first')",
    ),
    (
        "threads",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print('from a thread'))).start()\nprint('first')",
    ),
    ("del", "class A:\n    def __del__(self): print('deleted')\na = A()"),
    (
        "hook",
        "import sys\nsys.excepthook = lambda t, v, tb: print('reported:', t.__name__, v, tb.tb_lineno)\n{}['x']",
    ),
    (
        "thread_hook",
        "import threading\nthreading.excepthook = lambda args: print('reported:', args.exc_value)\nthreading.Thread(target=lambda: 1 / 0).start()",
    ),
    (
        "unraisable",
        "import sys\nsys.unraisablehook = lambda it: print('reported:', it.exc_value)\nclass A:\n    def __del__(self): 1 / 0\nA()",
    ),
    ("traceback", "def f():\n    raise ValueError('from f')\nf()"),
    ("syntax", "x = = 1"),
    ("exit_text", "import sys; sys.exit('said on stderr')"),
    ("exit_big", "import sys; sys.exit(300)"),
    (
        "exec",
        "import os, sys\nprint('before', flush=True)\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"after\")'])",
    ),
    ("os_exit", "import os; os.write(1, b'raw'); os._exit(7)"),
    ("c_stdio", "import ctypes; ctypes.CDLL(None).printf(b'buffered by C\\n')"),
    (
        "main",
        "import sys, __main__\nprint(__name__, __main__.__dict__ is globals(), __spec__, sys.argv, sys.path[0] != '', sys.flags.isolated)",
    ),
    ("future", "from __future__ import annotations\ndef f(x: undefined): ...\nprint(f.__annotations__)"),
    ("pickle", "import pickle\nclass P: pass\nprint(pickle.loads(pickle.dumps(P)) is P)"),
    (
        "asyncio",
        "import asyncio\nasync def main():\n    await asyncio.sleep(0); print('ran')\nasyncio.run(main())",
    ),
    ("warnings", "import warnings\nwarnings.warn('careful')"),
    ("stdin", "import sys\nprint(repr(sys.stdin.read()), sys.stdin.isatty())"),
    ("builtins", "print([n for n in ('display', '_', 'get_ipython') if n in dir(__builtins__)])"),
    (
        "signals",
        "import signal\nprint(signal.getsignal(2) is signal.default_int_handler, signal.getsignal(15), signal.getsignal(signal.SIGURG), signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGSEGV), signal.getsignal(signal.SIGABRT))",
    ),
    (
        "switch",
        "import sys, faulthandler\nprint(sys.getswitchinterval(), faulthandler.is_enabled(), len(sys.meta_path), len(sys.path_hooks))",
    ),
    (
        "found",
        "import sys\nprint(sorted(globals()), __annotations__, sys.orig_argv[1:], sys._xoptions, sys.stdin, sys.stdout, sys.stderr)",
    ),
    (
        "mode",
        "import sys\nprint(sys.stdout.line_buffering, sys.stdout.encoding, sys.stderr.errors, sys.stdout.fileno())",
    ),
];

/// Files of other kinds, made beside a script that the interpreter runs first: a folder, a zip file and compiled code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_a_zip_file_and_compiled_code_are_run_as_the_interpreter_runs_them() {
    let make = "import os, py_compile, zipapp\nos.mkdir('tool')\ncode = 'import sys; print(__name__, __file__, sys.argv, sys.path[0]); 1 / 0'\n\
                open('tool/__main__.py', 'w').write(code)\nzipapp.create_archive('tool', 'tool.pyz')\n\
                py_compile.compile('tool/__main__.py', 'tool.pyc')";
    guarded(async {
        for forked in [false, true] {
            let folder = written(&[("make.py", make)]);
            assert_eq!(plain(folder.path(), &["make.py"]).code, Some(0));
            let spec = spec(folder.path());
            let spec = if forked { spec.preload(["json"]) } else { spec };
            let runtime = pool(spec).start().await.unwrap();
            for file in ["tool", "./tool", "tool.pyz", "./tool.pyc"] {
                let expected = plain(folder.path(), &[file]);
                let report = runtime.run(Script::file(file)).await.unwrap();
                assert_eq!(report.stdout_text(), expected.stdout, "stdout of {file}: {}", report.outcome);
                assert_eq!(report.stderr_text(), expected.stderr, "stderr of {file}");
                assert_eq!(code(&report), expected.code, "{file}: {}", report.outcome);
            }
            runtime.shutdown(Duration::from_secs(1)).await;
        }
    })
    .await;
}

/// What a fork of an interpreter cannot have of its own: flags, what the start of the interpreter has set, and the seed.
const STARTED_ONLY: &[&str] = &["main"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_does_what_it_does_under_the_interpreter() {
    guarded(async {
        for (name, text) in FILES {
            compare(name, text, false).await;
        }
    })
    .await;
}

/// The same in a process that was forked from the zygote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forked_file_does_what_it_does_under_the_interpreter() {
    guarded(async {
        for (name, text) in FILES.iter().filter(|(name, _)| !STARTED_ONLY.contains(name)) {
            compare(name, text, true).await;
        }
    })
    .await;
}

async fn compare(name: &str, text: &str, forked: bool) {
    let file = format!("{name}.py");
    let files = [(file.as_str(), text)];
    let by_python = written(&files);
    let by_pool = written(&files);
    let expected = plain(by_python.path(), &[&file]);
    let spec = spec(by_pool.path());
    let spec = if forked { spec.preload(["json"]) } else { spec };
    let runtime = pool(spec).start().await.unwrap();
    let report = runtime.run(Script::file(&file)).await.unwrap();
    let cut =
        |text: &str| text.replace(&*by_pool.path().to_string_lossy(), &by_python.path().to_string_lossy());
    assert_eq!(cut(&report.stdout_text()), expected.stdout, "stdout of {name}: {}", report.outcome);
    assert_eq!(cut(&report.stderr_text()), expected.stderr, "stderr of {name}");
    assert_eq!(code(&report), expected.code, "{name}: {}", report.outcome);
    assert_eq!(made(by_pool.path()), made(by_python.path()), "files of {name}");
    runtime.shutdown(Duration::from_secs(1)).await;
}

/// The files of a folder, and what is in them.
fn made(folder: &Path) -> Vec<(OsString, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().flatten().filter(|it| it.path().is_file());
    let mut files: Vec<_> = files.map(|it| (it.file_name(), fs::read(it.path()).unwrap())).collect();
    files.sort();
    files
}
