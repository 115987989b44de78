//! Code in the language of a worker, with which it is tried.

use super::fault::Fault;

/// Code with a known effect, in the language of the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    say: Option<String>,
    value: Option<String>,
    fail: Option<String>,
    spin: Option<String>,
    ask: Option<String>,
    flood: Option<String>,
    keep: Option<String>,
    kept: Option<String>,
    warn: Option<String>,
    arg: Option<String>,
    exit: Option<String>,
    syntax: Option<String>,
    mark: Option<String>,
    die: Option<String>,
    noise: Option<String>,
    child: Option<String>,
}

/// A thread of Python that sends for as long as its worker lives.
const NOISE: &str = "import threading
class Shown:
    def _repr_html_(self): return 'x' * (4 << 20)
def show():
    while True: display(Shown())
threading.Thread(target=show, daemon=True).start()";
/// How many lines the probe `flood` prints.
pub(super) const FLOOD_LINES: usize = 20_000;

/// Each probe: its name, as a method and as an error tells it, and what it is.
macro_rules! probes {
    ($($name:ident: $what:literal;)+) => {
        impl Probes {
            $(
                #[doc = $what]
                #[must_use]
                pub fn $name(mut self, code: impl Into<String>) -> Self {
                    self.$name = Some(code.into());
                    self
                }
            )+

            /// Takes from others what is not here.
            pub(super) fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name)),+ }
            }
        }

        /// Which one.
        #[derive(Debug, Clone, Copy)]
        #[expect(non_camel_case_types, reason = "the names of the methods")]
        pub(super) enum Probe { $($name),+ }

        impl Probes {
            pub(super) fn get(&self, probe: Probe) -> Result<&str, Fault> {
                let (code, name, what) = match probe {
                    $(Probe::$name => (&self.$name, stringify!($name), $what),)+
                };
                code.as_deref().ok_or_else(|| {
                    let what = what.trim_end_matches('.').replacen("Code", "code", 1);
                    Fault::Skip(format!("needs `{name}`, {what}"))
                })
            }
        }
    };
}

probes! {
    say: "Code that prints the line `conform` to its standard output.";
    value: "Code whose value is the number 42.";
    fail: "Code that fails.";
    spin: "Code that runs until it is stopped, and computes all the while.";
    ask: "Code that asks for one line of input, and prints that line.";
    flood: "Code that prints the numbers from 0 to 19999, each in a line.";
    keep: "Code that keeps a value in the session, for the probe `kept`.";
    kept: "Code that prints the line `conform` if what `keep` kept is there.";
    warn: "Code that prints the line `conform` to its standard error.";
    arg: "Code that prints the argument `conform` in a line.";
    exit: "Code that asks to exit with 3.";
    syntax: "Code that cannot be compiled.";
    mark: "Code that appends a byte to the file `{file}`, which is put in its place.";
    die: "Code that appends a byte to the file `{file}`, and ends its process at once.";
    noise: "Code that leaves a thread which shows something large again and again.";
    child: "Code that starts a process which lives for ten minutes, and prints its id in a line.";
}

impl Probes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known for a language.
    #[must_use]
    pub fn of(language: &str) -> Self {
        match language {
            "python" => Self::new()
                .say("print('conform')")
                .value("6 * 7")
                .fail("raise ValueError('as asked')")
                .spin("while True: pass")
                .ask("print(input('? '))")
                .flood("for number in range(20000): print(number)")
                .keep("conform = 'conform'")
                .kept("print(conform)")
                .warn("import sys; print('conform', file=sys.stderr)")
                .arg("print(conform)")
                .exit("raise SystemExit(3)")
                .syntax("1 +")
                .mark("with open('{file}', 'a') as file: file.write('x')")
                .die("import os\nwith open('{file}', 'a') as file: file.write('x')\nos._exit(3)")
                .noise(NOISE)
                .child("import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"),
            "javascript" => Self::new()
                .say("console.log('conform')")
                .value("6 * 7")
                .fail("throw new TypeError('as asked')")
                .spin("while (true) ;")
                .ask("console.log(prompt('? '))")
                .flood("for (let number = 0; number < 20000; number++) console.log(number)")
                .keep("let conform = 'conform'")
                .kept("console.log(conform)")
                .warn("console.error('conform')")
                .arg("console.log(conform)")
                .exit("process.exit(3)")
                .syntax("let 1")
                .mark("require('fs').appendFileSync('{file}', 'x')")
                .die("require('fs').appendFileSync('{file}', 'x'); process.kill(process.pid, 'SIGKILL')")
                .child(
                    "console.log(require('child_process').spawn('sleep', ['600'], { stdio: 'ignore' }).pid)",
                ),
            _ => Self::new(),
        }
    }
}
