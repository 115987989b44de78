//! What is called, and on which server, as the command line or a file says it.

use std::{fs, io::Read as _, path::Path};

use anyhow::{Context as _, anyhow, bail};
use ostler::{Dialect, Settings, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::CallArgs;

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// What it is called in messages: its method, or its line.
    pub(crate) label: String,
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// A line of a file of calls.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: String,
    params: Option<Box<RawValue>>,
    label: Option<String>,
}

impl Call {
    /// The call of the command line, or those of the file.
    pub(crate) fn all(args: &CallArgs) -> anyhow::Result<Vec<Self>> {
        if let Some(file) = &args.calls {
            return Self::file(file);
        }
        let method = args.method.clone().context("expected a METHOD, or --calls FILE")?;
        let params = match &args.params {
            None => Value::None,
            Some(json) => Value::from_json(json).with_context(|| {
                format!("the parameters are not JSON: `{json}`; quote them for the shell, as '{{\"name\": \"x\"}}'")
            })?,
        };
        Ok(vec![Self { label: method.clone(), method, params: parameters(params)? }])
    }

    fn file(path: &Path) -> anyhow::Result<Vec<Self>> {
        let name = path.display();
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        let text = text.with_context(|| format!("cannot read the calls in `{name}`"))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let calls: anyhow::Result<Vec<Self>> =
            lines.map(|(at, line)| Self::line(path, at + 1, line)).collect();
        match calls {
            Ok(calls) if calls.is_empty() => bail!("no calls in `{name}`; expected one JSON object a line"),
            calls => calls,
        }
    }

    fn line(path: &Path, at: usize, line: &str) -> anyhow::Result<Self> {
        let place = format!("{}:{at}", path.display());
        let Line { method, params, label } = serde_json::from_str(line).with_context(|| {
            format!("{place}: expected an object with `method`, and as needed `params` and `label`")
        })?;
        let params = params.map_or(Ok(Value::None), |params| Value::from_json(params.get()));
        let params =
            params.map_err(anyhow::Error::from).and_then(parameters).with_context(|| place.clone())?;
        Ok(Self { label: label.unwrap_or(place), method, params })
    }
}

fn parameters(params: Value) -> anyhow::Result<Value> {
    if matches!(params, Value::None | Value::Map(_) | Value::List(_)) {
        return Ok(params);
    }
    Err(anyhow!("the parameters are an object or a list in JSON-RPC, got `{params}`"))
}

/// The server that the options ask for, over the settings.
pub(crate) fn server(args: &CallArgs, settings: &mut Settings) -> anyhow::Result<()> {
    let worker = &mut settings.worker;
    if let Some(command) = &args.server {
        let mut words = words(command)?.into_iter();
        worker.command =
            Some(words.next().context("--server is empty; give it the command of the server")?.into());
        worker.args = words.collect();
        worker.dialect = Dialect::JsonRpc;
    }
    if let Some(time) = args.ready_timeout {
        settings.pool.ready_timeout = time;
    }
    if args.mcp {
        worker.dialect = Dialect::Mcp;
    }
    if args.content_length {
        worker.dialect = Dialect::ContentLength;
    }
    if worker.command.is_none() || worker.dialect == Dialect::Ostler {
        bail!(
            "no server to call: give --server 'COMMAND ARGS…', or a --config whose section [worker] has a `command` and its `dialect`"
        );
    }
    Ok(())
}

/// Splits a command as a shell would that expands nothing: at blanks, but for those in quotes or behind a backslash.
fn words(command: &str) -> anyhow::Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().with_context(|| format!("`{command}` ends in a backslash"))?;
                word.get_or_insert_default().push(next);
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        bail!("`{command}` opens a quote with {open} and does not close it");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        for (command, expected) in [
            ("server --flag  x", &["server", "--flag", "x"][..]),
            ("sh -c 'a \"b\"  c'", &["sh", "-c", "a \"b\"  c"]),
            (r#"a "b \" c" d\ e '' x'y'"z""#, &["a", "b \" c", "d e", "", "xyz"]),
            ("  ", &[]),
        ] {
            assert_eq!(words(command).unwrap(), expected, "{command}");
        }
        for wrong in ["a 'b", "a \"b", "a \\"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_of_a_file_says_where_it_is_wrong() {
        let path = Path::new("calls.jsonl");
        let call = Call::line(path, 3, r#"{"method": "m", "params": {"a": 1}}"#).unwrap();
        assert_eq!((&*call.label, &*call.method), ("calls.jsonl:3", "m"));
        assert_eq!(Call::line(path, 3, r#"{"method": "m", "label": "x"}"#).unwrap().label, "x");
        for wrong in
            ["{", r#"{"params": {}}"#, r#"{"method": "m", "params": 5}"#, r#"{"method": "m", "more": 5}"#]
        {
            let error = format!("{:#}", Call::line(path, 3, wrong).unwrap_err());
            assert!(error.starts_with("calls.jsonl:3: "), "{error}");
        }
    }
}
