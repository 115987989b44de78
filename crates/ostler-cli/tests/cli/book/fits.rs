//! Whether something printed fits the text of a page, in which `…` stands for anything.

/// A line that is only `…` stands for any number of lines; within a line `…` stands for any part of that line.
pub(super) fn fits(printed: &str, text: &str) -> bool {
    let (printed, text): (Vec<_>, Vec<_>) = (printed.lines().collect(), text.lines().collect());
    matches(&printed, &text, &"…", line_fits)
}

fn line_fits(printed: &&str, text: &&str) -> bool {
    let (printed, text): (Vec<_>, Vec<_>) = (printed.chars().collect(), text.chars().collect());
    matches(&printed, &text, &'…', char::eq)
}

/// Whether all of `items` fits `pattern`, in which `any` stands for any number of items.
fn matches<T: PartialEq>(items: &[T], pattern: &[T], any: &T, fits: fn(&T, &T) -> bool) -> bool {
    match pattern.split_first() {
        None => items.is_empty(),
        Some((first, rest)) if first == any => {
            (0..=items.len()).any(|skipped| matches(&items[skipped..], rest, any, fits))
        }
        Some((first, rest)) => items
            .split_first()
            .is_some_and(|(item, more)| fits(item, first) && matches(more, rest, any, fits)),
    }
}

#[test]
fn an_ellipsis_stands_for_a_part_of_a_line_or_for_lines() {
    for (printed, text, expected) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\nb\n", "a\n", false),
        ("a\n", "a\nb\n", false),
        ("run 7 of 9\n", "run … of …\n", true),
        ("run 7 or 9\n", "run … of …\n", false),
        ("a\nb\nc\n", "a\n…\nc\n", true),
        ("a\nc\n", "a\n…\nc\n", true),
        ("a\nb\n", "a …\n", false),
        ("a\nb\n", "…\nc\n", false),
        ("", "…\n", true),
    ] {
        assert_eq!(fits(printed, text), expected, "{printed:?} {text:?}");
    }
}
