//! Output of several files at once: whole lines, each with the name of its file.

use std::collections::HashSet;

/// Longest piece of a line that is kept back until its end comes.
const LINE_MAX: usize = 64 << 10;
/// Widest name in a prefix, in characters.
const NAME_MAX: usize = 24;

/// The colours of the names, taken in turn; readable on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Collects what one stream of one file prints, and gives it on in whole lines.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    prefix: Vec<u8>,
    /// What has no end yet.
    rest: Vec<u8>,
    /// Show of each line only what a terminal would show: what follows the last carriage return.
    collapse: bool,
}

impl Lines {
    pub(crate) fn new(prefix: &str, collapse: bool) -> Self {
        Self { prefix: prefix.as_bytes().to_vec(), rest: Vec::new(), collapse }
    }

    /// Takes what was printed, and returns the lines that are whole now, with their prefix.
    pub(crate) fn take(&mut self, data: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut pieces = data.split_inclusive(|byte| *byte == b'\n');
        for piece in &mut pieces {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= LINE_MAX {
                self.end_line(&mut whole);
            }
        }
        whole
    }

    /// What is left at the end, as a line.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        if !self.rest.is_empty() {
            self.end_line(&mut whole);
        }
        whole
    }

    fn end_line(&mut self, whole: &mut Vec<u8>) {
        let mut line = self.rest.strip_suffix(b"\n").unwrap_or(&self.rest);
        if self.collapse {
            line = line.strip_suffix(b"\r").unwrap_or(line);
            line = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
        }
        whole.extend_from_slice(&self.prefix);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        self.rest.clear();
    }
}

/// The names in front of the lines: as wide as the widest, coloured if asked.
pub(crate) fn prefixes(labels: &[String], coloured: bool) -> Vec<String> {
    let names: Vec<String> = names(labels).into_iter().map(short).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let prefix = |(at, name): (usize, &String)| {
        if coloured {
            format!("\x1b[{}m{name:width$} |\x1b[0m ", COLOURS[at % COLOURS.len()])
        } else {
            format!("{name:width$} | ")
        }
    };
    names.iter().enumerate().map(prefix).collect()
}

/// The names without their folders, if those tell all of them apart.
pub(crate) fn names(labels: &[String]) -> Vec<&str> {
    let short: Vec<&str> = labels.iter().map(|label| label.rsplit('/').next().unwrap_or(label)).collect();
    let distinct = short.iter().collect::<HashSet<_>>().len() == labels.iter().collect::<HashSet<_>>().len();
    if distinct { short } else { labels.iter().map(String::as_str).collect() }
}

/// The end of a name that is too long: what tells files of one folder apart.
fn short(label: &str) -> String {
    let len = label.chars().count();
    if len <= NAME_MAX {
        return label.to_owned();
    }
    std::iter::once('…').chain(label.chars().skip(len + 1 - NAME_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_given_on_when_they_are_whole() {
        let mut lines = Lines::new("a | ", false);
        assert_eq!(lines.take(b"one\ntw"), b"a | one\n");
        assert_eq!(lines.take(b"o\n\nthree"), b"a | two\na | \n");
        assert_eq!(lines.finish(), b"a | three\n");
        assert_eq!(lines.finish(), b"");
    }

    #[test]
    fn a_line_without_end_is_given_on_in_pieces() {
        let mut lines = Lines::new("a | ", false);
        let piece = vec![b'x'; LINE_MAX];
        assert_eq!(lines.take(&piece).len(), "a | \n".len() + LINE_MAX);
        assert_eq!(lines.finish(), b"");
    }

    #[test]
    fn a_line_drawn_over_itself_shows_its_last_state() {
        let mut lines = Lines::new("a | ", true);
        assert_eq!(lines.take(b"10%\r50%\r100%\ndos\r\n"), b"a | 100%\na | dos\n");
        let mut plain = Lines::new("a | ", false);
        assert_eq!(plain.take(b"10%\r100%\n"), b"a | 10%\r100%\n");
    }

    #[test]
    fn names_are_aligned_and_long_ones_keep_their_end() {
        let labels = ["a.py".to_owned(), "jobs/bee.py".to_owned()];
        assert_eq!(prefixes(&labels, false), ["a.py   | ", "bee.py | "]);
        assert_eq!(prefixes(&labels[..1], true), ["\x1b[36ma.py |\x1b[0m "]);
        let long = "a-very-long-way-to-the-file.py".to_owned();
        assert_eq!(prefixes(&[long], false), ["…long-way-to-the-file.py | "]);
    }

    #[test]
    fn folders_are_named_only_where_they_tell_files_apart() {
        let labels = ["a/x.py".to_owned(), "b/x.py".to_owned()];
        assert_eq!(names(&labels), ["a/x.py", "b/x.py"]);
        let labels = ["a/x.py".to_owned(), "a/x.py".to_owned(), "b/y.py".to_owned()];
        assert_eq!(names(&labels), ["x.py", "x.py", "y.py"]);
    }
}
