//! JSON that others write, read as values. A parser has seen before that it is JSON; here nothing in it is rounded, and
//! half a surrogate pair is no reason to lose the rest.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::number;
use crate::{DEPTH_MAX, FRAME_LEN_MAX, Value};

/// Reads a part of a message.
///
/// # Errors
/// What is too deep or too large about it.
pub(super) fn read(json: &RawValue) -> Result<Value, String> {
    let mut from = Json { text: json.get(), at: 0, budget: FRAME_LEN_MAX };
    from.value(0)
}

/// The text that a part of a message is, if it is one.
pub(super) fn text(json: &str) -> Option<String> {
    json.strip_prefix('"')?.strip_suffix('"').map(unescaped)
}

/// Takes the members of an object, none of them looked into.
pub(super) fn members<'a>(
    json: &'a str,
    take: impl FnMut(&str, &'a RawValue),
) -> Result<(), serde_json::Error> {
    let mut from = serde_json::Deserializer::from_str(json);
    Members(take).deserialize(&mut from)?;
    from.end()
}

struct Members<F>(F);

impl<'de, F: FnMut(&str, &'de RawValue)> DeserializeSeed<'de> for Members<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(&text(name.get()).unwrap_or_default(), value);
        }
        Ok(())
    }
}

/// JSON, and how far it was read.
struct Json<'a> {
    text: &'a str,
    at: usize,
    /// The bytes of memory that lists may still take.
    budget: usize,
}

impl<'a> Json<'a> {
    /// The next byte that is no blank; 0 at the end.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    /// Takes what goes on for as long as its bytes are `part` of it.
    fn take(&mut self, part: impl Fn(&u8) -> bool) -> &'a str {
        let start = self.at;
        self.at += self.text.as_bytes()[start..].iter().take_while(|byte| part(byte)).count();
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        Ok(match self.peek() {
            b'"' => Value::Str(self.string()),
            b'[' => Value::List(self.entries(depth, Self::value)?),
            b'{' => Value::Map(last_of_each(self.entries(depth, Self::entry)?)),
            b'-' | b'0'..=b'9' => {
                number::value(self.take(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)))
            }
            _word => match self.take(u8::is_ascii_lowercase) {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::None,
                _no_json => return Err(format!("not JSON at byte {}", self.at)),
            },
        })
    }

    fn entry(&mut self, depth: usize) -> Result<(Value, Value), String> {
        self.peek();
        let key = Value::Str(self.string());
        self.peek();
        self.at += 1;
        Ok((key, self.value(depth)?))
    }

    /// What stands between brackets.
    fn entries<T>(
        &mut self,
        depth: usize,
        read: impl Fn(&mut Self, usize) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        if depth == DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} lists and maps at {}", self.at));
        }
        let mut all = Vec::new();
        self.at += 1;
        while !matches!(self.peek(), b']' | b'}') {
            let left = self.budget.checked_sub(size_of::<T>());
            self.budget = left.ok_or("expected lists that fit into 64 MiB of memory")?;
            all.push(read(self, depth + 1)?);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        all.shrink_to_fit();
        Ok(all)
    }

    fn string(&mut self) -> String {
        let start = self.at + 1;
        let mut end = start;
        let bytes = self.text.as_bytes();
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.at = end + 1;
        unescaped(self.text.get(start..end).unwrap_or_default())
    }
}

/// Of two entries with one key the last counts, as for whoever reads JSON into a map of their own.
fn last_of_each(entries: Vec<(Value, Value)>) -> Vec<(Value, Value)> {
    /// So many are compared with each other.
    const FEW: usize = 8;
    let name = |at: usize| entries[at].0.as_str().unwrap_or_default();
    let twice = if entries.len() <= FEW {
        (1..entries.len()).any(|at| (0..at).any(|before| name(before) == name(at)))
    } else {
        let mut names = HashSet::with_capacity(entries.len());
        !(0..entries.len()).all(|at| names.insert(name(at)))
    };
    if !twice {
        return entries;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut last: Vec<(Value, Value)> = Vec::new();
    for (key, value) in entries {
        let place = *places.entry(key.as_str().unwrap_or_default().to_owned()).or_insert(last.len());
        match last.get_mut(place) {
            Some((_, old)) => *old = value,
            None => last.push((key, value)),
        }
    }
    last
}

/// What a string in JSON says. Half a surrogate pair says U+FFFD.
fn unescaped(mut json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    while let Some((plain, escape)) = json.split_once('\\') {
        text.push_str(plain);
        let (sign, rest) = escape.split_at_checked(1).unwrap_or((escape, ""));
        json = rest;
        match sign {
            "u" => {
                let (unit, rest) = code_unit(json);
                let second = rest.strip_prefix("\\u").map(code_unit);
                match (char::decode_utf16([unit, second.map_or(0, |(unit, _)| unit)]).next(), second) {
                    (Some(Ok(letter)), Some((_, behind))) if letter > '\u{FFFF}' => {
                        text.push(letter);
                        json = behind;
                    }
                    (letter, _) => {
                        text.push(letter.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
                        json = rest;
                    }
                }
            }
            "b" => text.push('\u{8}'),
            "f" => text.push('\u{c}'),
            "n" => text.push('\n'),
            "r" => text.push('\r'),
            "t" => text.push('\t'),
            itself => text.push_str(itself),
        }
    }
    text.push_str(json);
    text.shrink_to_fit();
    text
}

/// The four digits at the beginning, and what is behind them.
fn code_unit(json: &str) -> (u16, &str) {
    let (digits, rest) = json.split_at_checked(4).unwrap_or((json, ""));
    (u16::from_str_radix(digits, 16).unwrap_or(0xFFFD), rest)
}
