//! Values as Python prints them.

use std::fmt::{self, Write};

use super::Value;

/// How many bytes a value takes at most when it is printed, before it ends with an ellipsis.
const LEN_MAX: usize = 4096;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = Bounded { out: f, room: LEN_MAX, cut: false };
        match repr(self, &mut bounded) {
            Err(fmt::Error) if bounded.cut => bounded.out.write_char('…'),
            result => result,
        }
    }
}

/// Passes on what fits. What does not is an error, which stops the printing: a cut value costs no more than its text.
struct Bounded<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    room: usize,
    cut: bool,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = (0..=self.room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let fitting = &text[..end.unwrap_or(0)];
        self.out.write_str(fitting)?;
        self.room -= fitting.len();
        self.cut = fitting.len() < text.len();
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

fn repr(value: &Value, out: &mut Bounded<'_, '_>) -> fmt::Result {
    match value {
        Value::None => out.write_str("None"),
        Value::Bool(true) => out.write_str("True"),
        Value::Bool(false) => out.write_str("False"),
        Value::Int(value) => write!(out, "{value}"),
        Value::UInt(value) => write!(out, "{value}"),
        Value::Float(value) => float(*value, out),
        Value::Number(text) => out.write_str(text),
        Value::Str(text) => quoted(text, out),
        Value::Bytes(bytes) => quoted_bytes(bytes, out),
        Value::List(list) => {
            out.write_char('[')?;
            for (n, entry) in list.iter().enumerate() {
                out.write_str(if n == 0 { "" } else { ", " })?;
                repr(entry, out)?;
            }
            out.write_char(']')
        }
        Value::Map(map) => {
            out.write_char('{')?;
            for (n, (key, value)) in map.iter().enumerate() {
                out.write_str(if n == 0 { "" } else { ", " })?;
                repr(key, out)?;
                out.write_str(": ")?;
                repr(value, out)?;
            }
            out.write_char('}')
        }
    }
}

/// Python uses an exponent from 1e16 up and below 1e-4, with at least two digits.
fn float(value: f64, out: &mut Bounded<'_, '_>) -> fmt::Result {
    if value.is_nan() {
        return out.write_str("nan");
    }
    if value.is_infinite() || value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return write!(out, "{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("`{:e}` prints an exponent");
    let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
    write!(out, "{digits}e{sign}{size:0>2}")
}

fn quoted(text: &str, out: &mut Bounded<'_, '_>) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

fn quoted_bytes(bytes: &[u8], out: &mut Bounded<'_, '_>) -> fmt::Result {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    write!(out, "b{quote}")?;
    for byte in bytes {
        match byte {
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b'\\' => out.write_str("\\\\")?,
            byte if char::from(*byte) == quote => write!(out, "\\{quote}")?,
            b' '..=b'~' => out.write_char(char::from(*byte))?,
            byte => write!(out, "\\x{byte:02x}")?,
        }
    }
    out.write_char(quote)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn values_print_as_in_python() {
        let map: Value = [("a", Value::None), ("b", vec![1, -2].into())].into_iter().collect();
        for (value, printed) in [
            (Value::None, "None"),
            (true.into(), "True"),
            (u64::MAX.into(), "18446744073709551615"),
            (1.0.into(), "1.0"),
            ((0.1 + 0.2).into(), "0.30000000000000004"),
            (1e16.into(), "1e+16"),
            (9_999_999_999_999_998.0.into(), "9999999999999998.0"),
            (0.0001.into(), "0.0001"),
            (1.5e-5.into(), "1.5e-05"),
            (1e300.into(), "1e+300"),
            ((-0.0).into(), "-0.0"),
            (f64::NAN.into(), "nan"),
            (f64::NEG_INFINITY.into(), "-inf"),
            ("it's\n\\ \u{1b}é🦀\u{85}".into(), r#""it's\n\\ \x1bé🦀\x85""#),
            ("'\"".into(), r#"'\'"'"#),
            (Bytes::from_static(b"a'\"\\\n\x00\xff").into(), r#"b'a\'"\\\n\x00\xff'"#),
            (map, "{'a': None, 'b': [1, -2]}"),
        ] {
            assert_eq!(value.to_string(), printed);
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let printed = Value::from("é".repeat(1 << 20)).to_string();
        assert_eq!((printed.chars().last(), printed.len()), (Some('…'), LEN_MAX - 1 + '…'.len_utf8()));
        let printed = Value::from(vec![Value::from(vec![0; 1000]); 1000]).to_string();
        assert_eq!(printed.len(), LEN_MAX + '…'.len_utf8());
    }
}
