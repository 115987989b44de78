//! The kinds of values: how each is read, written and described.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::given::Given;
use crate::{
    config::{Dialect, OnDeath, PoolConfig, Transport},
    protocol::Codec,
    request::Tenant,
};

/// How a value of a kind is written for a field of type `T`.
pub(super) trait Kind<T> {
    /// What is expected, for an error message and for the printed file.
    const EXPECTED: &'static str;
    /// `None` when it is not of this kind.
    fn read(given: &Given) -> Option<T>;
    /// As TOML; reading it gives the same value.
    fn show(value: &T) -> String;
}

/// A count.
pub(super) struct Count;
/// A count for which `"auto"` stands for the number of processors.
pub(super) struct Processors;
/// A part of something, from 0 to 1.
pub(super) struct Part;
/// A time.
pub(super) struct Time;
/// A number of bytes.
pub(super) struct Size;
/// Yes or no.
pub(super) struct Switch;
/// Text; the empty one stands for none.
pub(super) struct Text;
/// Several texts.
pub(super) struct Texts;
/// Texts by name.
pub(super) struct Named;
/// Counts by name.
pub(super) struct Weights;
/// One of some words.
pub(super) struct Word;

/// What stands for no limit.
fn is_none(given: &Given) -> bool {
    matches!(given, Given::Text(text) if text == "none" || text == "never")
}

/// A text as TOML: JSON's escapes are TOML's, which wants one more.
pub(super) fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a text is always JSON");
    json.replace('\x7F', "\\u007F")
}

/// Names with their values, which are TOML already.
fn table<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> = entries.map(|(name, value)| format!("{} = {value}", quoted(name))).collect();
    if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn integer<T: TryFrom<i64>>(given: &Given) -> Option<T> {
    let Given::Integer(number) = given else { return None };
    (*number).try_into().ok()
}

fn words(given: &Given) -> Option<&str> {
    if let Given::Text(text) = given { Some(text) } else { None }
}

impl Kind<usize> for Count {
    const EXPECTED: &'static str = "a whole number, such as 4";
    fn read(given: &Given) -> Option<usize> {
        integer(given)
    }
    fn show(value: &usize) -> String {
        value.to_string()
    }
}

impl Kind<u32> for Count {
    const EXPECTED: &'static str = "a whole number, such as 4";
    fn read(given: &Given) -> Option<u32> {
        integer(given)
    }
    fn show(value: &u32) -> String {
        value.to_string()
    }
}

impl Kind<Option<u32>> for Count {
    const EXPECTED: &'static str = "a whole number, such as 1000, or \"none\"";
    fn read(given: &Given) -> Option<Option<u32>> {
        if is_none(given) { Some(None) } else { integer(given).map(Some) }
    }
    fn show(value: &Option<u32>) -> String {
        value.map_or_else(|| quoted("none"), |number| number.to_string())
    }
}

impl Kind<usize> for Processors {
    const EXPECTED: &'static str =
        "a whole number, such as 4, or \"auto\" for the number of processors, at least 2";
    fn read(given: &Given) -> Option<usize> {
        match words(given) {
            Some("auto") => Some(PoolConfig::default().max_sessions),
            Some(_) => None,
            None => integer(given),
        }
    }
    fn show(value: &usize) -> String {
        let auto = *value == PoolConfig::default().max_sessions;
        if auto { quoted("auto") } else { value.to_string() }
    }
}

impl Kind<f64> for Part {
    const EXPECTED: &'static str = "a number from 0 to 1, such as 0.1";
    fn read(given: &Given) -> Option<f64> {
        if let Given::Float(number) = given { Some(*number) } else { integer::<i32>(given).map(f64::from) }
    }
    fn show(value: &f64) -> String {
        format!("{value:?}")
    }
}

impl Kind<Duration> for Time {
    const EXPECTED: &'static str = "a time with its unit, such as \"500ms\", \"30s\" or \"1m 30s\"";
    fn read(given: &Given) -> Option<Duration> {
        humantime::parse_duration(words(given)?).ok()
    }
    fn show(value: &Duration) -> String {
        quoted(&humantime::format_duration(*value).to_string())
    }
}

impl Kind<Option<Duration>> for Time {
    const EXPECTED: &'static str = "a time with its unit, such as \"30s\" or \"5m\", or \"never\"";
    fn read(given: &Given) -> Option<Option<Duration>> {
        if is_none(given) { Some(None) } else { <Self as Kind<Duration>>::read(given).map(Some) }
    }
    fn show(value: &Option<Duration>) -> String {
        value.as_ref().map_or_else(|| quoted("never"), <Self as Kind<Duration>>::show)
    }
}

/// The units of sizes, the largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

fn size(given: &Given) -> Option<u64> {
    let text = words(given)?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

fn show_size(bytes: u64) -> String {
    let whole = |(_, unit): &&(&str, u64)| bytes.is_multiple_of(*unit) && bytes >= *unit;
    let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("B", 1));
    quoted(&format!("{}{name}", bytes / unit))
}

impl Kind<usize> for Size {
    const EXPECTED: &'static str = "a size with its unit, such as \"512MiB\", \"64kB\" or \"0B\"";
    fn read(given: &Given) -> Option<usize> {
        size(given)?.try_into().ok()
    }
    fn show(value: &usize) -> String {
        show_size(*value as u64)
    }
}

impl Kind<Option<u64>> for Size {
    const EXPECTED: &'static str = "a size with its unit, such as \"512MiB\" or \"2GB\", or \"none\"";
    fn read(given: &Given) -> Option<Option<u64>> {
        if is_none(given) { Some(None) } else { size(given).map(Some) }
    }
    fn show(value: &Option<u64>) -> String {
        value.map_or_else(|| quoted("none"), show_size)
    }
}

impl Kind<bool> for Switch {
    const EXPECTED: &'static str = "true or false";
    fn read(given: &Given) -> Option<bool> {
        if let Given::Bool(value) = given { Some(*value) } else { None }
    }
    fn show(value: &bool) -> String {
        value.to_string()
    }
}

impl Kind<String> for Text {
    const EXPECTED: &'static str = "a name, such as \"nightly\"";
    fn read(given: &Given) -> Option<String> {
        words(given).filter(|text| !text.is_empty()).map(str::to_owned)
    }
    fn show(value: &String) -> String {
        quoted(value)
    }
}

impl Kind<Option<String>> for Text {
    const EXPECTED: &'static str = "a text, such as \"import math\", or the empty text";
    fn read(given: &Given) -> Option<Option<String>> {
        words(given).map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
    }
    fn show(value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

impl Kind<PathBuf> for Text {
    const EXPECTED: &'static str = "a path or the name of a program, such as \".venv/bin/python\"";
    fn read(given: &Given) -> Option<PathBuf> {
        words(given).filter(|text| !text.is_empty()).map(PathBuf::from)
    }
    fn show(value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }
}

impl Kind<Option<PathBuf>> for Text {
    const EXPECTED: &'static str = "a path, such as \"/srv/work\", or the empty text";
    fn read(given: &Given) -> Option<Option<PathBuf>> {
        words(given).map(|text| Some(PathBuf::from(text)).filter(|_| !text.is_empty()))
    }
    fn show(value: &Option<PathBuf>) -> String {
        quoted(&value.as_deref().unwrap_or("".as_ref()).to_string_lossy())
    }
}

impl Kind<Vec<String>> for Texts {
    const EXPECTED: &'static str = "a list of texts, such as [\"--port\", \"0\"]";
    fn read(given: &Given) -> Option<Vec<String>> {
        let Given::List(values) = given else { return None };
        values.iter().map(|value| words(value).map(str::to_owned)).collect()
    }
    fn show(value: &Vec<String>) -> String {
        let texts: Vec<String> = value.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Kind<Option<Vec<String>>> for Texts {
    const EXPECTED: &'static str = "a list of texts, such as [\"numpy\"], or \"none\"";
    fn read(given: &Given) -> Option<Option<Vec<String>>> {
        if is_none(given) { Some(None) } else { <Self as Kind<Vec<String>>>::read(given).map(Some) }
    }
    fn show(value: &Option<Vec<String>>) -> String {
        value.as_ref().map_or_else(|| quoted("none"), <Self as Kind<Vec<String>>>::show)
    }
}

impl Kind<BTreeMap<String, String>> for Named {
    const EXPECTED: &'static str = "a table of texts, such as { LANG = \"C.UTF-8\" }";
    fn read(given: &Given) -> Option<BTreeMap<String, String>> {
        let Given::Table(entries) = given else { return None };
        let entry = |(name, value): &(String, Given)| Some((name.clone(), words(value)?.to_owned()));
        entries.iter().map(entry).collect()
    }
    fn show(value: &BTreeMap<String, String>) -> String {
        table(value.iter().map(|(name, value)| (name.as_str(), quoted(value))))
    }
}

impl Kind<BTreeMap<Tenant, u32>> for Weights {
    const EXPECTED: &'static str = "a table of whole numbers, such as { batch = 1, web = 4 }";
    fn read(given: &Given) -> Option<BTreeMap<Tenant, u32>> {
        let Given::Table(entries) = given else { return None };
        entries.iter().map(|(name, value)| Some((name.as_str().into(), integer(value)?))).collect()
    }
    fn show(value: &BTreeMap<Tenant, u32>) -> String {
        table(value.iter().map(|(name, weight)| (&**name, weight.to_string())))
    }
}

impl Kind<Option<Transport>> for Word {
    const EXPECTED: &'static str = "\"auto\", \"socket\" or \"stdio\"";
    fn read(given: &Given) -> Option<Option<Transport>> {
        match words(given)? {
            "auto" => Some(None),
            "socket" => Some(Some(Transport::Socket)),
            "stdio" => Some(Some(Transport::Stdio)),
            _ => None,
        }
    }
    fn show(value: &Option<Transport>) -> String {
        quoted(match value {
            None => "auto",
            Some(Transport::Socket) => "socket",
            Some(Transport::Stdio) => "stdio",
        })
    }
}

impl Kind<OnDeath> for Word {
    const EXPECTED: &'static str = "\"fail\" or \"restore\"";
    fn read(given: &Given) -> Option<OnDeath> {
        match words(given)? {
            "fail" => Some(OnDeath::Fail),
            "restore" => Some(OnDeath::Restore),
            _ => None,
        }
    }
    fn show(value: &OnDeath) -> String {
        quoted(match value {
            OnDeath::Fail => "fail",
            OnDeath::Restore => "restore",
        })
    }
}

impl Kind<Dialect> for Word {
    const EXPECTED: &'static str = "\"ostler\", \"json-rpc\", \"mcp\" or \"content-length\"";
    fn read(given: &Given) -> Option<Dialect> {
        match words(given)? {
            "ostler" => Some(Dialect::Ostler),
            "json-rpc" => Some(Dialect::JsonRpc),
            "mcp" => Some(Dialect::Mcp),
            "content-length" => Some(Dialect::ContentLength),
            _ => None,
        }
    }
    fn show(value: &Dialect) -> String {
        quoted(match value {
            Dialect::Ostler => "ostler",
            Dialect::JsonRpc => "json-rpc",
            Dialect::Mcp => "mcp",
            Dialect::ContentLength => "content-length",
        })
    }
}

impl Kind<Codec> for Word {
    const EXPECTED: &'static str = "\"msgpack\" or \"json\"";
    fn read(given: &Given) -> Option<Codec> {
        match words(given)? {
            "msgpack" => Some(Codec::MessagePack),
            "json" => Some(Codec::Json),
            _ => None,
        }
    }
    fn show(value: &Codec) -> String {
        quoted(match value {
            Codec::MessagePack => "msgpack",
            Codec::Json => "json",
        })
    }
}
