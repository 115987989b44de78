//! Every block of code in the README and in the book. Rust is compiled and run by `src/doctests.rs`; settings are read;
//! commands are run, and what they print is compared with the block below them. [`NOT_RUN`] lists the rest.

mod block;
mod fits;

use std::{fs, os::unix::fs::symlink, path::Path, thread};

use ostler::Settings;

use self::{
    block::{Block, blocks},
    fits::fits,
};
use crate::{
    node::node_is_there,
    program::{Program, Running, Scratch},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The blocks of commands that are marked `not-run`: the page, the programs, and why.
const NOT_RUN: [(&str, &str, &str); 6] = [
    ("README.md", "cargo cargo", "builds and tests this workspace"),
    ("README.md", "curl", "needs two terminals; docs/src/http.md does the same"),
    ("docs/src/getting-started.md", "cargo cargo cargo", "builds and tests this workspace"),
    ("docs/src/json-rpc.md", "ostler", "downloads a server"),
    ("docs/src/json-rpc.md", "cargo", "needs that server"),
    ("docs/src/operating.md", "ostler ostler", "needs two terminals"),
];

/// The README and the pages of the book, by their paths from the root.
fn pages() -> Vec<(String, String)> {
    let folder = fs::read_dir(Path::new(ROOT).join("docs/src")).unwrap();
    let mut names: Vec<_> = folder
        .map(|entry| format!("docs/src/{}", entry.unwrap().file_name().to_str().unwrap()))
        .chain(["README.md".to_owned()])
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(Path::new(ROOT).join(&name)).unwrap();
            (name, text)
        })
        .collect()
}

#[test]
fn every_block_of_code_of_the_readme_and_the_book_holds() {
    let pages = pages();
    let not_run: Vec<_> = thread::scope(|scope| {
        let checks: Vec<_> =
            pages.iter().map(|(name, text)| scope.spawn(move || Page::new(name).check(text))).collect();
        // A page that does not hold has said so by now.
        checks.into_iter().filter_map(|check| check.join().ok()).collect()
    });
    assert_eq!(not_run.len(), pages.len(), "some pages do not hold; see above");
    let not_run = not_run.concat();
    let listed = NOT_RUN.map(|(page, programs, _)| (page.to_owned(), programs.to_owned()));
    assert_eq!(not_run, listed, "the blocks that are marked `not-run`, and those that `NOT_RUN` lists");
}

/// One page: its blocks share a folder, with the files of the repository that a reader has.
struct Page<'a> {
    name: &'a str,
    scratch: Scratch,
    printed: Printed,
    not_run: Vec<(String, String)>,
    /// Runs until the end of the page.
    server: Option<Running>,
}

/// What the block before printed.
#[derive(Default)]
enum Printed {
    /// It has no commands.
    #[default]
    Nothing,
    /// Its commands need a program that is not here.
    Unknown,
    Text(String),
}

impl<'a> Page<'a> {
    fn new(name: &'a str) -> Self {
        let scratch = Scratch::new();
        for file in ["examples", "PROTOCOL.md"] {
            symlink(Path::new(ROOT).join(file), scratch.path().join(file)).unwrap();
        }
        Self { name, scratch, printed: Printed::Nothing, not_run: Vec::new(), server: None }
    }

    /// Checks all blocks, and returns those that cannot be run.
    fn check(mut self, text: &str) -> Vec<(String, String)> {
        for block in blocks(text) {
            let printed = std::mem::take(&mut self.printed);
            let info: Vec<_> = block.info.split(',').collect();
            match &info[..] {
                ["rust"] | ["rust", "no_run"] => self.is_a_doctest(),
                ["toml"] => self.is_settings(&block),
                ["toml", "cargo"] => self.is_dependencies(&block),
                ["sh"] => self.run(&block, 0),
                ["sh", "node"] if !node_is_there() => self.printed = Printed::Unknown,
                ["sh", "node"] => self.run(&block, 0),
                ["sh", "curl"] if !curl_is_there() => self.printed = Printed::Unknown,
                ["sh", "curl"] => self.run(&block, 0),
                ["sh", "server"] => self.serve(&block),
                ["sh", "not-run"] => self.not_run.push((self.name.to_owned(), block.programs())),
                ["text"] => self.was_printed(&block, printed),
                ["python" | "js", file] => drop(self.scratch.file(file, &block.text)),
                ["sh", exit] => match exit.strip_prefix("exit-").map(str::parse) {
                    Some(Ok(code)) => self.run(&block, code),
                    _not_a_number => self.is_unknown(&block),
                },
                _other => self.is_unknown(&block),
            }
        }
        self.not_run
    }

    fn is_unknown(&self, block: &Block) {
        panic!("{}:{}: nothing checks a block that is marked `{}`", self.name, block.line, block.info);
    }

    /// Rust is compiled and run where its page is included.
    fn is_a_doctest(&self) {
        let doctests = fs::read_to_string(Path::new(ROOT).join("src/doctests.rs")).unwrap();
        let included = doctests.contains(&format!("include_str!(\"../{}\")", self.name));
        assert!(included, "src/doctests.rs does not include {}", self.name);
    }

    fn is_settings(&self, block: &Block) {
        let settings = Settings::from_toml(&block.text).and_then(|settings| settings.check());
        settings.unwrap_or_else(|error| panic!("{}:{}: {error}", self.name, block.line));
    }

    /// Cargo can resolve them in a crate that stands beside this repository.
    fn is_dependencies(&self, block: &Block) {
        let package = "[workspace]\n[package]\nname = 'mine'\nversion = '0.0.0'\nedition = '2024'\n";
        self.scratch.file("crates/mine/Cargo.toml", format!("{package}{}", block.text));
        self.scratch.file("crates/mine/src/lib.rs", "");
        let lock = fs::read(Path::new(ROOT).join("Cargo.lock")).unwrap();
        self.scratch.file("crates/mine/Cargo.lock", lock);
        symlink(ROOT, self.scratch.path().join("crates/ostler")).unwrap();
        let args = ["update", "--workspace", "--offline", "--quiet"];
        Program::new(env!("CARGO"), &args, &self.scratch.path().join("crates/mine")).run("").expect(0);
    }

    /// Commands in the folder of the page, with the built program in the path.
    fn program(&self, commands: &str) -> Program {
        let program = Path::new(env!("CARGO_BIN_EXE_ostler")).parent().unwrap().display();
        let script = format!("exec 2>&1\nPATH='{program}':$PATH\n{commands}");
        let folder = self.scratch.path();
        Program::new("sh", &["-eu", "-c", &script], folder).env("XDG_RUNTIME_DIR", folder.to_str().unwrap())
    }

    fn run(&mut self, block: &Block, code: i32) {
        let ended = self.program(&block.text).run("");
        let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.code, Some(code), "{}:{}: {printed}", self.name, block.line);
        self.printed = Printed::Text(printed);
    }

    /// Starts `ostler serve`, at a port that is free, and waits until it says that it serves.
    fn serve(&mut self, block: &Block) {
        let mut server =
            self.program(&format!("exec {} --listen 127.0.0.1:0", block.text.trim_end())).start();
        let printed = server.until("\ntry: ") + &server.until("\n");
        (self.server, self.printed) = (Some(server), Printed::Text(printed));
    }

    fn was_printed(&self, block: &Block, printed: Printed) {
        let (name, line, text) = (self.name, block.line, &block.text);
        match printed {
            Printed::Nothing => panic!("{name}:{line}: no commands stand before this text"),
            Printed::Unknown => {}
            Printed::Text(printed) => {
                let says = format!("{name}:{line}: the page says\n{text}\nand printed was\n{printed}");
                assert!(fits(&printed, text), "{says}");
            }
        }
    }
}

/// Whether there is a `curl` that knows `--json`, which is so since 7.82.
#[expect(clippy::disallowed_methods, reason = "a test looks for a program")]
fn curl_is_there() -> bool {
    let help = std::process::Command::new("curl").args(["--help", "all"]).output();
    let there = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--json"));
    assert!(there || std::env::var_os("CI").is_none(), "a `curl` with `--json` is not in PATH");
    there
}
