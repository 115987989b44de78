//! `ostler doctor`: what is there, what it can do, what is missing and what to do about it.

mod machine;
mod trial;

use std::fmt::Write as _;

use ostler::Stream;
use serde::Serialize;

use crate::{
    args::DoctorArgs,
    exit::{Exit, Fatal},
    output::{self, Console},
    pool,
    signals::Signals,
};

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// It works, and may not be enough.
    Warning,
    /// Without it nothing runs.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    ok: bool,
    findings: Vec<Finding>,
}

impl Finding {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), milliseconds: None, advice: None }
    }

    pub(crate) fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warning, advice: Some(advice.into()), ..Self::ok(name, found) }
    }

    pub(crate) fn missing(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Missing, advice: Some(advice.into()), ..Self::ok(name, found) }
    }

    pub(crate) fn took(mut self, time: std::time::Duration) -> Self {
        self.milliseconds = Some((time.as_secs_f64() * 1e6).round() / 1e3);
        self
    }
}

/// Looks at everything, and says how the program is to end.
pub(crate) async fn run(args: DoctorArgs, console: Console) -> Result<Exit, Fatal> {
    let cwd = pool::working_folder()?;
    let mut signals = Signals::listen().map_err(Fatal::not_started)?;
    let settings = pool::settings(&args.pool, &cwd)?;
    let mut findings = machine::look();
    tokio::select! {
        trials = trial::look(&settings) => findings.extend(trials),
        // What was started ends with the future.
        signal = signals.next() => return Ok(Exit::Signal(signal)),
    }
    let ok = findings.iter().all(|finding| finding.state != State::Missing);
    let report = Report { version: env!("CARGO_PKG_VERSION"), ok, findings };
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(Fatal::not_started)? + "\n"
    } else {
        report.text(output::colours(Stream::Stdout))
    };
    console.write(Stream::Stdout, text).await;
    console.flush().await;
    Ok(if ok { Exit::Completed } else { Exit::Failed })
}

impl Report {
    /// The findings for a person.
    fn text(&self, coloured: bool) -> String {
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { name, state, found, milliseconds, advice } in &self.findings {
            let (word, colour) = match state {
                State::Ok => ("ok     ", 32),
                State::Warning => ("warning", 33),
                State::Missing => ("missing", 31),
            };
            let word = if coloured { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
            let time = milliseconds.map(|time| format!("{time:.3} ms, ")).unwrap_or_default();
            let indent = format!("\n{:width$}          ", "");
            let lines: Vec<&str> = found.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            let found = lines.join(&indent);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:width$}  {word} {time}{found}");
            if let Some(advice) = advice {
                let _ = writeln!(text, "{}-> {advice}", &indent[1..]);
            }
        }
        text.push_str(if self.ok {
            "Everything essential is there.\n"
        } else {
            "Something essential is missing: see above.\n"
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_table_with_advice_below() {
        let took = std::time::Duration::from_micros(8_250);
        let findings = vec![
            Finding::ok("start", "process 12").took(took),
            Finding::missing("interpreter", "no\nsuch", "install it"),
        ];
        let report = Report { version: "0.1.0", ok: false, findings };
        let expected = "\
start        ok      8.250 ms, process 12
interpreter  missing no
                     such
                     -> install it
Something essential is missing: see above.
";
        assert_eq!(report.text(false), expected);
    }
}
