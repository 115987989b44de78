//! A worker in Rust: it runs a language of a few words on numbers and lists, and keeps what they name.
//!
//! ```text
//! cargo build -p ostler-worker --example worker
//! ostler run --worker target/debug/examples/worker -c 'sum 40 2'
//! ```

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use ostler_worker::{Error, Task, Value, Worker};

/// The names of a session, and what they mean.
type Names = BTreeMap<String, Value>;

fn main() -> ExitCode {
    let mut names = Names::new();
    Worker::new("words").version("1").run(|task| match task.is_fresh() {
        true => run(task, &mut Names::new()),
        false => run(task, &mut names),
    })
}

/// Runs one line after another; the value of the last one is the value of all.
fn run(task: &Task<'_>, names: &mut Names) -> Result<Value, Error> {
    let mut value = Value::None;
    for line in task.code().lines().map(str::trim).filter(|line| !line.is_empty()) {
        // A long program can be cancelled between its lines.
        task.check()?;
        value = line_of(line, task, names)?;
    }
    Ok(value)
}

fn line_of(line: &str, task: &Task<'_>, names: &mut Names) -> Result<Value, Error> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "say" => task.print(format!("{rest}\n"))?,
        "warn" => task.print_error(format!("{rest}\n"))?,
        "ask" => {
            let line = task.input(rest)?.ok_or_else(|| Error::new("EndOfInput", "nobody answers"))?;
            task.print(format!("{line}\n"))?;
        }
        "keep" => {
            let (name, value) = rest.split_once(' ').ok_or_else(|| Error::syntax("keep NAME TEXT"))?;
            names.insert(name.into(), value.into());
        }
        "tell" => {
            let known = names.get(rest).or_else(|| task.arg(rest)).and_then(Value::as_str);
            task.print(format!("{}\n", known.ok_or_else(|| unknown(rest))?))?;
        }
        "get" => {
            let known = names.get(rest).or_else(|| task.arg(rest)).cloned();
            return known.ok_or_else(|| unknown(rest));
        }
        "sum" => {
            let numbers = rest.split_whitespace().map(str::parse::<i64>);
            // The error of a wrong number is the error of the code.
            return Ok(numbers.sum::<Result<i64, _>>()?.into());
        }
        "count" => {
            for number in 0..rest.parse::<u64>()? {
                task.print(format!("{number}\n"))?;
            }
        }
        "wait" => task.sleep(Duration::from_secs_f64(rest.parse()?))?,
        "mark" => leave_a_byte(rest)?,
        "die" => {
            leave_a_byte(rest)?;
            std::process::abort();
        }
        "child" => task.print(format!("{}\n", start_a_child()?))?,
        "spin" => loop {
            task.check()?;
        },
        "exit" => return Err(Error::Exit(rest.parse()?)),
        other => return Err(Error::syntax(format!("unknown word `{other}`"))),
    }
    Ok(Value::None)
}

fn leave_a_byte(file: &str) -> Result<(), Error> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
    Ok(file.and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))?)
}

/// A process of which nobody waits for the end.
fn start_a_child() -> Result<u32, Error> {
    #[expect(clippy::disallowed_methods, reason = "it is what the code of a worker may do")]
    let mut sleep = std::process::Command::new("sleep");
    Ok(sleep.arg("600").stdin(std::process::Stdio::null()).spawn()?.id())
}

fn unknown(name: &str) -> Error {
    Error::new("NameError", format!("nothing is kept as `{name}`"))
}
