//! The house rules that a compiler does not check: who may import whom, how long a file may be, and that what the
//! documents name exists (A9, D5, E1).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LINES_MAX: usize = 400;

/// Every `.rs` file below `folder`, by its path from the root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "nothing found below {folder}");
    found.sort();
    found
}

/// The part of a file before its unit tests, without comments.
fn code(text: &str) -> String {
    // A module of its own file (`mod tests;`) ends nothing.
    let inline = text.find("\nmod tests {").and_then(|at| text[..at].rfind("#[cfg(test)]"));
    let body = &text[..inline.unwrap_or(text.len())];
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    body.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that a file names in paths that begin with `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    members(&code(text), "crate::")
}

/// The first segments behind `prefix`, alone or in a group.
fn members(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(group_heads(group));
        } else {
            names.extend(head(rest));
        }
    }
    names
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first segment of each member of `use crate::{ … }`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                heads.extend(head(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    heads
}

const VALUES: [&str; 5] = ["config", "error", "outcome", "request", "status"];

/// What a file of each folder may import from this crate.
fn allowed(file: &str) -> Option<Vec<&'static str>> {
    let with = |more: &[&'static str]| Some([&VALUES[..], &["protocol"], more].concat());
    match file.split('/').nth(1)? {
        "machine" => with(&["machine"]),
        "worker" => with(&["worker", "recording", "log"]),
        "store" => with(&["store", "checkpoint", "log", "blocking"]),
        "conform" | "conform.rs" => with(&["conform", "worker"]),
        "actor" => with(&["actor", "machine", "worker", "session", "runtime", "log"]),
        "config.rs" | "error.rs" | "outcome.rs" | "request.rs" | "status.rs" => with(&[]),
        _surface => None,
    }
}

#[test]
fn folders_import_only_what_they_may() {
    for (file, text) in sources("src") {
        let Some(allowed) = allowed(&file).filter(|_| !file.contains("/tests")) else { continue };
        for import in imports(&text) {
            assert!(
                allowed.contains(&import.as_str()),
                "{file} imports crate::{import}; it may import {allowed:?}"
            );
        }
    }
}

/// A face of the gateway knows the desk, the desk knows the wire, and none knows what is above it.
#[test]
fn the_layers_of_the_gateway_look_only_down() {
    for (layer, above) in
        [("wire", &["desk", "rest", "serve"][..]), ("desk", &["rest", "serve"]), ("rest", &["serve"])]
    {
        for (file, text) in sources(&format!("crates/ostler-gateway/src/{layer}")) {
            let wrong = above.iter().find(|it| imports(&text).contains(**it));
            assert!(wrong.is_none(), "{file} imports crate::{wrong:?}");
            assert!(layer != "wire" || !code(&text).contains("tokio"), "{file} names tokio");
        }
    }
}

#[test]
fn machines_know_no_clock_no_task_no_channel_and_no_log() {
    for (file, text) in sources("src/machine") {
        if file.contains("/tests") {
            continue;
        }
        for banned in
            ["tokio", "ractor", "tracing", "Instant::now", "rand::", "std::fs", "std::sync", ".await"]
        {
            assert!(!code(&text).contains(banned), "{file} names `{banned}`");
        }
    }
}

/// What it depends on says the rest: see its Cargo.toml.
#[test]
fn the_protocol_is_pure() {
    for (file, text) in sources("crates/ostler-protocol/src") {
        for banned in ["std::io", "std::fs", "std::time"] {
            assert!(!code(&text).contains(banned), "{file} names `{banned}`");
        }
    }
}

/// Fault 62: nothing here can notice that somebody sets the clock, or that the machine slept: the clock on the wall is
/// read nowhere, neither by the library nor by the worker that comes with it.
#[test]
fn f62_nobody_reads_the_clock_on_the_wall() {
    for (file, text) in
        ["src", "crates/ostler-protocol/src", "crates/ostler-worker/src"].into_iter().flat_map(sources)
    {
        for banned in ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "chrono"] {
            assert!(!code(&text).contains(banned), "{file} names `{banned}`");
        }
    }
    let worker = Path::new(ROOT).join("workers/python");
    let parts = fs::read_to_string(worker.join("parts.txt")).unwrap();
    assert!(parts.lines().count() > 20, "{parts}");
    for part in parts.lines() {
        let text = fs::read_to_string(worker.join(part)).unwrap();
        for banned in ["time.time", "import datetime", "localtime", "gmtime", "CLOCK_REALTIME"] {
            assert!(!text.contains(banned), "{part} names `{banned}`");
        }
    }
}

/// Fault 70: what the host does with our words may panic. `log.rs` names `tracing`, and nobody else does.
#[test]
fn f70_the_log_of_the_host_is_called_through_one_door() {
    for (file, text) in sources("src") {
        let may = file == "src/log.rs" || file.contains("/tests");
        assert!(may || !code(&text).contains("tracing::"), "{file} names `tracing`: use `crate::log`");
    }
}

/// What a stranger's code panicked with may panic when it is dropped: `contain.rs` knows, and nobody else catches one.
#[test]
fn panics_are_caught_in_one_place() {
    for (file, text) in ["src", "crates"].into_iter().flat_map(sources) {
        let may = file == "crates/ostler-protocol/src/contain.rs" || file.ends_with("tidy.rs");
        assert!(may || !code(&text).contains("catch_unwind"), "{file} catches a panic: use `contained`");
    }
}

/// Fault 83: where no thread can be started, tokio's panics or waits for ever. `blocking.rs` does without.
#[test]
fn f83_no_thread_is_asked_of_tokio() {
    for (file, text) in sources("src") {
        let may = file == "src/blocking.rs" || file.contains("/tests");
        for banned in ["spawn_blocking", "block_in_place"] {
            assert!(may || !code(&text).contains(banned), "{file} names `{banned}`: use `crate::blocking`");
        }
    }
}

#[test]
fn only_worker_touches_processes_and_signals() {
    for (file, text) in sources("src") {
        // The modes of the store's files are no descriptors.
        let may = ["src/worker/", "src/store/"];
        if may.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for banned in ["std::process::Command", "rustix", "tokio::process", "std::os::fd", "std::os::unix"] {
            assert!(!code(&text).contains(banned), "{file} names `{banned}`");
        }
    }
}

#[test]
fn actors_import_each_other_only_through_messages() {
    for (file, text) in sources("src/actor") {
        let starts_others = file == "src/actor/supervisor.rs" || file.starts_with("src/actor/supervisor/");
        let named = members(&code(&text), "actor::");
        for actor in ["session", "execution", "supervisor"] {
            let own = file.starts_with(&format!("src/actor/{actor}"));
            assert!(own || starts_others || !named.contains(actor), "{file} imports actor::{actor}");
        }
    }
}

#[test]
fn the_program_uses_only_the_public_api() {
    for (file, text) in ["crates/ostler-cli/src", "crates/ostler-gateway/src"].into_iter().flat_map(sources) {
        assert!(!code(&text).contains("ostler::testing"), "{file} uses the test seam");
    }
}

#[test]
fn files_stay_short() {
    for folder in ["src", "crates", "tests", "examples", "benches"] {
        for (file, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX, "{file} has {lines} lines, more than {LINES_MAX}: split it");
        }
    }
}

#[test]
fn nothing_is_ignored_or_silently_allowed() {
    for folder in ["src", "crates", "tests", "examples", "benches"] {
        for (file, text) in sources(folder) {
            if file.ends_with("tidy.rs") {
                continue;
            }
            for banned in ["#[ignore", "#[allow(", "#![allow(", "todo!(", "unimplemented!(", "should_panic"] {
                assert!(!text.contains(banned), "{file} contains `{banned}`");
            }
        }
    }
}

/// Every row of the acceptance table names tests that exist.
#[test]
fn the_tests_that_the_acceptance_table_names_exist() {
    let table = fs::read_to_string(Path::new(ROOT).join("tests/ACCEPTANCE.md")).unwrap();
    let mut all = String::new();
    for folder in ["src", "crates", "tests", "examples", "benches"] {
        for (_, text) in sources(folder) {
            all.push_str(&text);
        }
    }
    for entry in fs::read_dir(Path::new(ROOT).join("workers/python")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let last_cells = table.lines().filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    for name in last_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.contains('_') && !name.contains(['.', '/', ' ', ':']))
    {
        let found = all.contains(&format!("fn {name}(")) || all.contains(&format!("def {name}("));
        assert!(found, "tests/ACCEPTANCE.md names `{name}`, and there is no such test");
    }
}

/// The last text in each call of this macro: what the event is called.
fn events<'a>(code: &'a str, macro_name: &'a str) -> impl Iterator<Item = &'a str> {
    code.split(macro_name).skip(1).map(|call| {
        let (mut depth, mut quoted, mut from, mut last) = (1, false, 0, "");
        for (at, letter) in call.char_indices() {
            match letter {
                '"' if quoted => (quoted, last) = (false, &call[from..at]),
                '"' => (quoted, from) = (true, at + 1),
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        last
    })
}

/// E12: what is logged has the names that the book lists, and no others.
#[test]
fn the_list_of_events_is_complete() {
    const LEVELS: [&str; 5] = ["any", "trace", "debug", "info", "warn"];
    let page = fs::read_to_string(Path::new(ROOT).join("docs/src/operating.md")).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows = cells.filter(|(level, _)| LEVELS.contains(level));
    let listed: BTreeSet<_> =
        rows.flat_map(|(_, rest)| rest.split('|').next().unwrap().split('`').skip(1).step_by(2)).collect();
    let sources: Vec<_> = sources("src").into_iter().filter(|(file, _)| file != "src/log.rs").collect();
    let code: String = sources.iter().map(|(_, text)| code(text)).collect();
    let logged: BTreeSet<_> =
        ["trace!(", "debug!(", "info!(", "warn!("].iter().flat_map(|name| events(&code, name)).collect();
    assert!(logged.len() > 20, "{logged:?}");
    assert_eq!(logged, listed);
}

/// The map of the architecture page names every folder, and the files that documents for developers name exist.
#[test]
fn the_code_map_is_complete() {
    let root = Path::new(ROOT);
    let read = |name| fs::read_to_string(root.join(name)).unwrap();
    let map = read("ARCHITECTURE.md");
    for parent in ["src", "crates", "workers", "tests"] {
        let entries = fs::read_dir(root.join(parent)).unwrap().map(|entry| entry.unwrap());
        for folder in entries.filter(|entry| entry.path().is_dir()) {
            let name = format!("{parent}/{}", folder.file_name().to_str().unwrap());
            assert!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name the folder `{name}`");
        }
    }
    for (page, text) in [("ARCHITECTURE.md", &map), ("CONTRIBUTING.md", &read("CONTRIBUTING.md"))] {
        let paths = text.split('`').skip(1).step_by(2).filter(|name| {
            let is_path = name.contains('/') || name.ends_with(".rs") || name.ends_with(".md");
            is_path && !name.starts_with('/') && !name.contains(|letter: char| " :()*…".contains(letter))
        });
        for path in paths {
            assert!(root.join(path).exists(), "{page} names `{path}`, which does not exist");
        }
    }
}

/// The names of all public errors, and those that derive `Debug` as well.
fn errors(folder: &Path, names: &mut BTreeSet<String>, derived: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            errors(&entry, names, derived);
            continue;
        }
        let text = fs::read_to_string(&entry).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let by_hand = code.split("impl std::error::Error for ").skip(1);
        names.extend(by_hand.filter_map(|rest| rest.split([' ', '{']).next()).map(Into::into));
        for derive in code.split("#[derive(").skip(1).filter(|derive| is_error(derive)) {
            let public = derive
                .lines()
                .find_map(|line| line.strip_prefix("pub enum ").or_else(|| line.strip_prefix("pub struct ")));
            let Some(name) = public.and_then(|rest| rest.split(['(', ' ', ';']).next()) else { continue };
            names.insert(name.into());
            if derive.lines().next().is_some_and(|line| line.contains("Debug")) {
                derived.push(format!("{name} in {}", entry.display()));
            }
        }
    }
}

fn is_error(derive: &str) -> bool {
    derive.lines().next().is_some_and(|line| line.contains("thiserror::Error"))
}

#[test]
fn every_error_of_the_library_reads_well() {
    let (mut names, mut derived) = (BTreeSet::new(), Vec::new());
    let mut listed = BTreeSet::new();
    for crate_root in ["", "crates/ostler-protocol", "crates/ostler-worker"] {
        let root = Path::new(ROOT).join(crate_root).join("src");
        errors(&root, &mut names, &mut derived);
        let text = fs::read_to_string(root.join("readable.rs"))
            .or_else(|_| fs::read_to_string(root.join("error.rs")));
        let text = text.unwrap();
        let list = text.split("readable! {\n").nth(1).unwrap().split('}').next().unwrap();
        listed.extend(
            list.lines()
                .filter_map(|line| Some(line.trim().rsplit("::").next()?.strip_suffix(',')?.to_owned())),
        );
    }
    assert!(
        derived.is_empty(),
        "take `Debug` out of `derive`, and list the type in `readable!`: {derived:?}"
    );
    assert_eq!(listed, names);
    assert!(names.len() > 15, "{names:?}");
}
