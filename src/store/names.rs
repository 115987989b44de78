//! What the files of a state are called, and which files are ours by their names.

/// What is being written ends with this.
const NEW: &str = ".new";

pub(super) fn file_name(generation: u64) -> String {
    format!("{generation:08}")
}

/// What is written aside, for a generation, by an attempt of this number.
pub(super) fn aside_name(generation: u64, attempt: u64) -> String {
    format!("{}.{attempt}{NEW}", file_name(generation))
}

/// The generation that a file is by its name, if we would call it that: no sign, no other number of zeros, nothing around
/// it. The last number has none behind it.
pub(super) fn generation(file: &str) -> Option<u64> {
    let generation = file.parse().ok().filter(|generation| (1..u64::MAX).contains(generation))?;
    (file_name(generation) == file).then_some(generation)
}

/// Whether it is the name of a file that was written aside, also by an older host: those counted no attempts.
pub(super) fn is_aside(file: &str) -> bool {
    let Some(name) = file.strip_suffix(NEW) else { return false };
    let (of, attempt) = name.split_once('.').map_or((name, None), |(of, attempt)| (of, Some(attempt)));
    let is_ours = |attempt: &str| attempt.parse::<u64>().is_ok_and(|number| number.to_string() == attempt);
    generation(of).is_some() && attempt.is_none_or(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_would_call_it_is_a_generation() {
        for (file, expected) in [
            ("00000001", Some(1)),
            ("99999999", Some(99_999_999)),
            ("100000000", Some(100_000_000)),
            ("18446744073709551614", Some(u64::MAX - 1)),
            ("18446744073709551615", None),
            ("18446744073709551616", None),
            ("00000000", None),
            ("+0000001", None),
            ("-0000001", None),
            ("1", None),
            ("000000001", None),
            (" 00000001", None),
            ("x00000001", None),
            ("00000001x", None),
            ("00000001.new", None),
            ("1.new.5", None),
            ("0000_001", None),
            ("٠٠٠٠٠٠٠١", None),
            ("", None),
        ] {
            assert_eq!(generation(file), expected, "{file:?}");
        }
    }

    #[test]
    fn only_what_was_written_aside_is_swept() {
        for file in ["00000001.new", "00000001.1.new", "100000000.27.new"] {
            assert!(is_aside(file), "{file:?}");
        }
        for file in [
            "00000001",
            ".new",
            "1.new",
            "1.new.5",
            "00000001.+1.new",
            "00000001.01.new",
            "00000001.1.1.new",
            "00000001..new",
            "+0000001.1.new",
            "mine.new",
            "00000001.new.new",
        ] {
            assert!(!is_aside(file), "{file:?}");
        }
    }
}
