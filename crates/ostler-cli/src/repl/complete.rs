//! When what was typed is a statement: brackets, quotes, backslashes and blocks, and no more of a language than that.
//!
//! What is wrong counts as complete: the language itself says what is wrong with it.

mod javascript;

use self::javascript::Script;

/// Spaces of one level.
const LEVEL: usize = 4;

/// Words that begin a statement which may go on in further blocks.
const COMPOUND: [&str; 8] = ["if", "for", "while", "try", "with", "def", "class", "async"];
/// Words that go on with such a statement.
const FURTHER: [&str; 4] = ["else", "elif", "except", "finally"];
/// Words after which a block can have no further line.
const LEAVES: [&str; 5] = ["return", "pass", "break", "continue", "raise"];

/// What is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    /// Python.
    #[default]
    Python,
    /// JavaScript.
    JavaScript,
}

/// Reads lines, and knows what is open after each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanner {
    language: Language,
    script: Script,
    /// Closing brackets that are expected.
    brackets: usize,
    /// The quote of the string that goes on in the next line, and whether it is tripled.
    string: Option<(char, bool)>,
    /// The last line ends with a backslash.
    continued: bool,
    /// There is a block, which a blank line ends.
    block: bool,
    /// The last line is a decorator.
    decorator: bool,
    /// The last line is blank.
    blank: bool,
    /// Spaces that the next line should begin with.
    indent: usize,
}

impl Scanner {
    pub(crate) fn new(language: Language) -> Self {
        Self { language, ..Self::default() }
    }

    /// Reads one line, without its end.
    pub(crate) fn read(&mut self, line: &str) {
        if self.language == Language::JavaScript {
            self.script.read(line);
            self.indent = self.script.depth() * LEVEL / 2;
            return;
        }
        let inside = self.open();
        let last = self.scan(line);
        if inside {
            // Still the same statement; it may be the end of one that begins a block.
            self.blank = false;
        } else {
            self.blank = line.trim().is_empty();
            self.decorator = line.starts_with('@');
            self.block |= self.decorator || COMPOUND.contains(&first_word(line));
            self.indent = line.len() - line.trim_start().len();
        }
        if !self.open() && last == Some(':') {
            self.block = true;
            self.indent += LEVEL;
        } else if LEAVES.contains(&first_word(line)) && !self.open() {
            self.indent = self.indent.saturating_sub(LEVEL);
        }
    }

    /// Whether a bracket, a string or a line with a backslash goes on in the next line.
    pub(crate) fn open(&self) -> bool {
        self.script.open() || self.brackets > 0 || self.string.is_some() || self.continued
    }

    /// Whether a person who typed this is done: a blank line ends a block.
    pub(crate) fn complete(&self) -> bool {
        !self.open() && (!self.block || self.blank)
    }

    /// Spaces that the next line should begin with.
    pub(crate) fn indent(&self) -> usize {
        if self.open() && self.language == Language::Python { 0 } else { self.indent }
    }

    /// Follows strings, brackets and comments; returns the last character that means something.
    fn scan(&mut self, line: &str) -> Option<char> {
        self.continued = false;
        let mut last = None;
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            if let Some((quote, tripled)) = self.string {
                rest = self.scan_string(rest, quote, tripled);
                continue;
            }
            let mut skip = next.len_utf8();
            match next {
                '#' => return last,
                '\\' if rest.len() == skip => self.continued = true,
                '(' | '[' | '{' => self.brackets += 1,
                ')' | ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
                '\'' | '"' => {
                    let tripled = rest.chars().take(3).filter(|c| *c == next).count() == 3;
                    self.string = Some((next, tripled));
                    skip = if tripled { 3 } else { 1 };
                }
                _ => {}
            }
            if !next.is_whitespace() {
                last = Some(next);
            }
            rest = &rest[skip..];
        }
        if !self.continued && matches!(self.string, Some((_, false))) {
            // A string that its line does not end is wrong.
            self.string = None;
        }
        last
    }

    /// Goes on behind the end of the string, or to the end of the line.
    fn scan_string<'a>(&mut self, rest: &'a str, quote: char, tripled: bool) -> &'a str {
        let end = if tripled { quote.to_string().repeat(3) } else { quote.to_string() };
        let mut at = 0;
        while at < rest.len() {
            if rest[at..].starts_with(&end) {
                self.string = None;
                return &rest[at + end.len()..];
            }
            let mut chars = rest[at..].chars();
            let escaped = chars.next() == Some('\\');
            if escaped {
                // Whatever follows is no end; nothing follows: the line goes on in the next.
                self.continued = chars.next().is_none();
            }
            at = rest.len() - chars.as_str().len();
        }
        ""
    }
}

fn first_word(line: &str) -> &str {
    line.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Cuts a stream of lines into statements: a block ends where something else begins at the left.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    text: String,
    scanner: Scanner,
}

impl Statements {
    pub(crate) fn new(language: Language) -> Self {
        Self { text: String::new(), scanner: Scanner::new(language) }
    }

    /// Takes the next line, and returns the statements that are complete with it, at most two.
    pub(crate) fn take(&mut self, line: &str) -> Vec<String> {
        let mut done = Vec::new();
        if self.scanner.block && !self.scanner.open() && self.begins_another(line) {
            done.extend(self.finish());
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.scanner.read(line);
        if !self.scanner.open() && !self.scanner.block {
            done.extend(self.finish());
        }
        done
    }

    /// What is left at the end of the input.
    pub(crate) fn finish(&mut self) -> Option<String> {
        self.scanner = Scanner::new(self.scanner.language);
        let text = std::mem::take(&mut self.text);
        let says_something = |line: &str| !matches!(line.trim_start().chars().next(), None | Some('#'));
        text.lines().any(says_something).then_some(text)
    }

    fn begins_another(&self, line: &str) -> bool {
        let at_the_left = line.starts_with(|c: char| !c.is_whitespace() && c != '#');
        at_the_left && !FURTHER.contains(&first_word(line)) && !self.scanner.decorator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Scanner {
        let mut scanner = Scanner::default();
        text.split('\n').for_each(|line| scanner.read(line));
        scanner
    }

    #[test]
    fn a_statement_is_complete_when_nothing_is_open() {
        for (text, complete) in [
            ("1 + 1", true),
            ("f(1,", false),
            ("f(1,\n2)", true),
            ("f(']', # )", false),
            ("x = '''a", false),
            ("x = '''a\nb'''", true),
            ("x = '''a\nif b:\n'''", true),
            ("x = \"it's\"", true),
            ("x = 'it\\'s'", true),
            ("x = 'wrong", true),
            ("x = 'goes \\\non'", true),
            ("x = 'goes \\", false),
            ("x = 1 + \\", false),
            ("x = 1 + \\\n2", true),
            ("}", true),
            ("x = 1 # (", true),
            ("é = '€'", true),
        ] {
            assert_eq!(scanned(text).complete(), complete, "{text}");
        }
    }

    #[test]
    fn a_statement_of_javascript_is_complete_when_nothing_is_open() {
        for (text, complete) in [
            ("1 + 1", true),
            ("function f() {", false),
            ("function f() {\n  return 1;\n}", true),
            ("f(')', // (", false),
            ("x = `a", false),
            ("x = `a\n(` + 1", true),
            ("/* { ", false),
            ("/* {\n*/ 1", true),
            ("'it\\'s (' + \"(\"", true),
            ("'wrong (", true),
            ("if (x) {\n} else {", false),
            ("// (", true),
        ] {
            let mut scanner = Scanner::new(Language::JavaScript);
            text.split('\n').for_each(|line| scanner.read(line));
            assert_eq!(scanner.complete(), complete, "{text}");
        }
    }

    #[test]
    fn a_blank_line_ends_a_block() {
        for (text, complete) in [
            ("def f():", false),
            ("def f():\n    return 1", false),
            ("def f():\n    return 1\n", true),
            ("def f():\n    return 1\n    ", true),
            ("def f(a,\n      b):", false),
            ("def f():\n    '''one\n\n", false),
            ("for i in x: print(i)", false),
            ("for i in x: print(i)\n", true),
            ("@decorator", false),
            ("x = {1: 2}", true),
            ("x = lambda: 1", true),
            ("format = 1", true),
            ("match x:", false),
        ] {
            assert_eq!(scanned(text).complete(), complete, "{text}");
        }
    }

    #[test]
    fn the_next_line_is_indented_as_the_block_asks() {
        for (text, indent) in [
            ("def f():", 4),
            ("def f():  # why", 4),
            ("def f():\n    if x:", 8),
            ("def f():\n    if x:\n        return 1", 4),
            ("def f():\n    x = 1", 4),
            ("def f(a,", 0),
            ("def f(a,\n      b):", 4),
            ("x = 1", 0),
        ] {
            assert_eq!(scanned(text).indent(), indent, "{text}");
        }
    }

    #[test]
    fn a_file_is_cut_where_something_else_begins_at_the_left() {
        let text = "\
# a comment
x = 1
def f():
    a = 1

    return a
# between
@one
@two
class A:
    pass
if x:
    1
elif y:
    2

else:
    3
y = (1,
2)
for i in x: i";
        let mut statements = Statements::default();
        let mut cut: Vec<String> = text.lines().flat_map(|line| statements.take(line)).collect();
        cut.extend(statements.finish());
        let firsts: Vec<&str> = cut.iter().map(|statement| statement.lines().next().unwrap()).collect();
        assert_eq!(firsts, ["x = 1", "def f():", "@one", "if x:", "y = (1,", "for i in x: i"]);
        assert_eq!(cut[1], "def f():\n    a = 1\n\n    return a\n# between\n");
    }
}
