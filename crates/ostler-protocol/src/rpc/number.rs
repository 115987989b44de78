//! Numbers as JSON writes them, however long they are: none is rounded.

use crate::Value;

/// Decimal digits that a float tells apart.
const FLOAT_DIGITS: usize = 17;

/// Numbers that JSON lacks, as many servers write them (Python's `json` does), and numbers of JSON that nobody writes.
const LACKING: [(&str, &str, f64); 2] =
    [("NaN", "0E+4294967295", f64::NAN), ("Infinity", "1E+4294967295", f64::INFINITY)];

/// The same JSON with the numbers that it lacks spelled in a way that a parser reads, if there are any.
pub(super) fn spell_out(json: &str) -> Option<String> {
    LACKING.iter().any(|(word, ..)| json.contains(word)).then_some(())?;
    let (mut spelled, mut rest, mut found) = (String::with_capacity(json.len()), json, false);
    while let Some(at) = rest.find(['"', 'N', 'I']) {
        let (before, from) = rest.split_at(at);
        spelled.push_str(before);
        let word = LACKING.iter().find(|(word, ..)| from.starts_with(word));
        let taken = match word {
            Some((word, spelling, _)) => {
                spelled.push_str(spelling);
                found = true;
                word.len()
            }
            None => {
                let end = if from.starts_with('"') { end_of_text(from) } else { 1 };
                spelled.push_str(&from[..end]);
                end
            }
        };
        rest = &from[taken..];
    }
    spelled.push_str(rest);
    found.then_some(spelled)
}

/// Where the text ends that begins here.
fn end_of_text(from: &str) -> usize {
    let mut escaped = false;
    let end = from.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(from.len(), |end| end + 2)
}

/// The value of a number in JSON: its text, where no number of a machine holds it.
pub(super) fn value(text: &str) -> Value {
    let (negative, amount) = text.strip_prefix('-').map_or((false, text), |amount| (true, amount));
    if let Some((.., float)) = LACKING.iter().find(|(_, spelling, _)| *spelling == amount) {
        return Value::Float(if negative { -float } else { *float });
    }
    if let Ok(whole) = text.parse::<i64>() {
        return if whole == 0 && text.starts_with('-') { Value::Float(-0.0) } else { Value::Int(whole) };
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Value::UInt(whole);
    }
    let kept = || Value::Number(text.into());
    if !text.contains(['.', 'e', 'E']) {
        return kept();
    }
    let digits = Decimal::of(text).digits;
    match text.parse::<f64>() {
        Ok(float) if digits.is_empty() => Value::Float(float),
        Ok(float) if float.is_finite() && float != 0.0 && digits.len() <= FLOAT_DIGITS => Value::Float(float),
        Ok(_) | Err(_) => kept(),
    }
}

/// The whole number that a text says, in whichever way: `2`, `2.0`, `20e-1`.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| whole_decimal(text))
}

/// The code of an error, in JSON: a whole number, or a text that says one.
pub(super) fn code(json: &str) -> Option<i64> {
    let text = json.trim_matches('"');
    let (sign, amount) = text.strip_prefix('-').map_or((1, text), |amount| (-1, amount));
    i64::try_from(whole(amount)?).ok()?.checked_mul(sign)
}

fn whole_decimal(text: &str) -> Option<u64> {
    // A text may hold anything.
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !is_number || text.parse::<f64>().is_err() {
        return None;
    }
    let Decimal { negative, digits, exponent } = Decimal::of(text);
    if digits.is_empty() {
        return Some(0);
    }
    let zeros = 10_u64.checked_pow(u32::try_from(exponent).ok()?)?;
    digits.parse::<u64>().ok().filter(|_| !negative)?.checked_mul(zeros)
}

/// A number as `digits` times ten to the `exponent`, without zeros at either end of the digits.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // One that is too long for a number makes the value zero or endless, and either is no whole one.
        let exponent = exponent.parse::<i32>().unwrap_or(i32::MIN);
        let negative = mantissa.starts_with('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole.trim_start_matches('-'), fraction].concat();
        let digits = all.trim_end_matches('0');
        let behind = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let zeros = i64::try_from(all.len() - digits.len()).unwrap_or(i64::MAX);
        let exponent = i64::from(exponent).saturating_sub(behind).saturating_add(zeros);
        Self { negative, digits: digits.trim_start_matches('0').to_owned(), exponent }
    }
}
