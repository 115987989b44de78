//! Why a program says that it failed: what its interpreter writes to stderr of an error that nothing caught, or what the
//! program itself wrote last.

/// The first line of the error, with its type and its message, where the interpreter has shown one; else the last line.
pub(super) fn why(code: i32, stderr: &str) -> Option<String> {
    let lines: Vec<&str> = stderr.lines().map(str::trim_end).collect();
    let last = lines.iter().rposition(|line| !line.is_empty())?;
    let error = if lines[last].starts_with("Node.js v") {
        of_node(&lines[..last])
    } else if code == 1 {
        of_python(&lines)
    } else {
        None
    };
    Some(error.unwrap_or(lines[last]).to_owned())
}

/// It is behind the line that points at the place.
fn of_node<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let arrow =
        lines.iter().rposition(|line| line.ends_with('^') && line.trim_matches([' ', '^']).is_empty())?;
    lines[arrow + 1..].iter().copied().find(|line| !line.is_empty())
}

/// It is behind the calls, which are indented. What a thread or an exit handler raised did not end the program.
fn of_python<'a>(lines: &[&'a str]) -> Option<&'a str> {
    const HEAD: &str = "Traceback (most recent call last):";
    // Behind something that has no end of its line, such as a bar of progress. Errors of a group are behind a `|`.
    let is_head = |line: &str| line.ends_with(HEAD) && !line.trim_start().starts_with('|');
    let is_aside = |at: usize| at > 0 && lines[at - 1].starts_with("Exception ");
    let head = (0..lines.len()).rev().find(|&at| is_head(lines[at]) && !is_aside(at))?;
    let is_group = lines[head].trim_end_matches(HEAD).ends_with("  + Exception Group ");
    let margin = if is_group { "  | " } else { "" };
    let mut below = lines[head + 1..].iter().filter_map(|line| line.strip_prefix(margin));
    below.find(|line| !line.is_empty() && !line.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "50 % | Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ^^^\n\
                         ValueError: first\nsecond\n";

    #[test]
    fn an_error_is_told_by_the_line_with_its_type() {
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  \
                     | ExceptionGroup: two (1 sub-exception)\n  +-+---------------- 1 ----------------\n    \
                     | Traceback (most recent call last):\n    |   File \"a.py\", line 2, in f\n    | KeyError: 1\n    \
                     +------------------------------------\n";
        let aside = format!(
            "{PLAIN}Exception ignored in atexit callback: <f>\n{}",
            PLAIN.replace("Value", "Key").replace("50 % | ", "")
        );
        let node = "a.js:1\nf()\n  ^\n\nTypeError: first\nsecond\n    at f (a.js:1:2) {\n  code: 'X'\n}\n\nNode.js v20.1.0\n";
        let thrown = "\na.js:1\nthrow 5\n^\n5\n(Use `node --trace-uncaught ...`)\n\nNode.js v20.1.0\n";
        for (stderr, expected) in [
            (PLAIN, "ValueError: first"),
            (group, "ExceptionGroup: two (1 sub-exception)"),
            (&aside, "ValueError: first"),
            (node, "TypeError: first"),
            (thrown, "5"),
        ] {
            assert_eq!(why(1, stderr).as_deref(), Some(expected), "{stderr}");
        }
    }

    #[test]
    fn other_programs_are_told_by_what_they_said_last() {
        for (code, stderr, expected) in [
            (1, "", None),
            (1, "\n\n", None),
            (1, "one\ntwo  \n\n", Some("two")),
            // It was caught and shown, and is not why it ended.
            (3, PLAIN, Some("second")),
            (1, "Traceback (most recent call last):\n", Some("Traceback (most recent call last):")),
            (1, "Node.js v20.1.0\n", Some("Node.js v20.1.0")),
            (
                2,
                "  File \"a.py\", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n",
                Some("SyntaxError: invalid syntax"),
            ),
        ] {
            assert_eq!(why(code, stderr).as_deref(), expected, "{stderr}");
        }
    }
}
