//! When what was typed is a statement of JavaScript: as in Node's own REPL, when its parser would not meet the end of the
//! text while it expects more. Tokens, brackets and the few words after which more must come.

use std::{iter::Peekable, str::Chars};

/// Words that cannot be the last of a statement.
const WANT_MORE: [&str; 19] = [
    "await",
    "case",
    "catch",
    "const",
    "delete",
    "do",
    "else",
    "extends",
    "finally",
    "import",
    "in",
    "instanceof",
    "new",
    "of",
    "throw",
    "try",
    "typeof",
    "var",
    "void",
];
/// Words whose brackets are followed by a statement or a block.
const HEADS: [&str; 6] = ["if", "for", "while", "with", "switch", "catch"];

/// What stands last, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// Nothing, or the end of a statement.
    #[default]
    Nothing,
    /// Something that may be the end; a slash behind it divides.
    Value,
    /// An operator or a word behind which more must come; a slash behind it begins a pattern.
    Wants,
    /// A dot: the next word is a name.
    Dot,
    /// The block of a `do`.
    Done,
}

/// What is open: a bracket, the text of a template, or the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    /// A template's own text; its `${` opens a part that is not.
    template: bool,
    /// The brackets of an `if`, say.
    head: bool,
    /// The block of a `do`.
    done: bool,
    /// A word of [`HEADS`] waits for its brackets.
    next_is_head: bool,
    /// `class` or `function` waits for its block.
    body: bool,
    /// `try` waits for `catch` or `finally`.
    attempt: bool,
    /// So many `do` wait for their `while`.
    repeats: u32,
}

/// Reads lines, and knows what is open after each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// The whole, not in the list.
    base: Part,
    parts: Vec<Part>,
    last: Last,
    /// The quote of the string that goes on in the next line.
    string: Option<char>,
    /// In a comment of many lines.
    comment: bool,
}

impl Script {
    /// Brackets and templates that are open.
    pub(super) fn depth(&self) -> usize {
        self.parts.len()
    }

    /// Whether more must come.
    pub(super) fn open(&self) -> bool {
        let Part { next_is_head, body, attempt, repeats, .. } = self.base;
        let waits = next_is_head || body || attempt || repeats > 0;
        let within = !self.parts.is_empty() || self.string.is_some() || self.comment;
        within || waits || matches!(self.last, Last::Wants | Last::Dot)
    }

    /// Reads one line, without its end.
    pub(super) fn read(&mut self, line: &str) {
        if line.starts_with(':') && !self.open() {
            return; // a command of ours
        }
        let mut rest = line.chars().peekable();
        while rest.peek().is_some() {
            if self.comment {
                self.comment = !ends_comment(&mut rest);
            } else if let Some(quote) = self.string {
                self.in_string(quote, &mut rest);
            } else if self.part().template {
                self.in_template(&mut rest);
            } else if let Some(next) = rest.next() {
                self.token(next, &mut rest);
            }
        }
    }

    fn part(&mut self) -> &mut Part {
        self.parts.last_mut().unwrap_or(&mut self.base)
    }

    fn token(&mut self, next: char, rest: &mut Peekable<Chars<'_>>) {
        match next {
            _ if next.is_whitespace() => {}
            '/' if rest.next_if_eq(&'/').is_some() => rest.by_ref().for_each(drop),
            '/' if rest.next_if_eq(&'*').is_some() => self.comment = true,
            '/' if !matches!(self.last, Last::Value | Last::Done) => {
                pattern(rest);
                self.last = Last::Value;
            }
            '\'' | '"' => self.string = Some(next),
            '`' => self.parts.push(Part { template: true, ..Part::default() }),
            '(' | '[' | '{' => self.opens(next),
            ')' | ']' | '}' => self.closes(),
            ';' => self.last = Last::Nothing,
            '.' => self.last = if rest.next_if_eq(&'.').is_some() { Last::Wants } else { Last::Dot },
            // Behind a value they are its own.
            '+' | '-' if rest.next_if_eq(&next).is_some() => {
                if self.last != Last::Value {
                    self.last = Last::Wants;
                }
            }
            '0'..='9' => {
                while rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '.')).is_some() {}
                self.last = Last::Value;
            }
            _ if in_word(next) => {
                let mut word = String::from(next);
                while let Some(more) = rest.next_if(|c| in_word(*c)) {
                    word.push(more);
                }
                self.word(&word);
            }
            _ => self.last = Last::Wants,
        }
    }

    fn word(&mut self, word: &str) {
        if self.last == Last::Dot {
            self.last = Last::Value;
            return;
        }
        let part = self.part();
        let ends_a_do = word == "while" && part.repeats > 0;
        match word {
            "class" | "function" => part.body = true,
            "try" => part.attempt = true,
            "catch" | "finally" => part.attempt = false,
            "do" => part.repeats += 1,
            "while" if ends_a_do => part.repeats -= 1,
            _ => {}
        }
        if HEADS.contains(&word) && !ends_a_do {
            part.next_is_head = true;
        }
        let wants = WANT_MORE.contains(&word) || HEADS.contains(&word);
        self.last = if wants { Last::Wants } else { Last::Value };
    }

    fn opens(&mut self, bracket: char) {
        let done = bracket == '{' && self.last == Last::Wants && self.part().repeats > 0;
        let part = self.part();
        let head = bracket == '(' && part.next_is_head;
        if bracket == '{' {
            part.body = false;
        }
        part.next_is_head = false;
        self.parts.push(Part { head, done, ..Part::default() });
        self.last = Last::Nothing;
    }

    /// One that closes nothing is wrong, which the language says.
    fn closes(&mut self) {
        let closed = self.parts.pop().unwrap_or_default();
        self.last = match closed {
            Part { head: true, .. } => Last::Wants,
            Part { done: true, .. } => Last::Done,
            _ => Last::Value,
        };
    }

    fn in_string(&mut self, quote: char, rest: &mut Peekable<Chars<'_>>) {
        self.last = Last::Value;
        while let Some(next) = rest.next() {
            match next {
                // Nothing follows: the string goes on in the next line.
                '\\' if rest.next().is_none() => return,
                _ if next == quote => break,
                _ => {}
            }
        }
        // A string that its line does not end is wrong.
        self.string = None;
    }

    fn in_template(&mut self, rest: &mut Peekable<Chars<'_>>) {
        while let Some(next) = rest.next() {
            match next {
                '\\' => drop(rest.next()),
                '`' => return self.closes(),
                '$' if rest.next_if_eq(&'{').is_some() => return self.opens('{'),
                _ => {}
            }
        }
    }
}

fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$' | '#')
}

fn ends_comment(rest: &mut Peekable<Chars<'_>>) -> bool {
    while let Some(next) = rest.next() {
        if next == '*' && rest.next_if_eq(&'/').is_some() {
            return true;
        }
    }
    false
}

/// Goes on behind the end of a pattern, or to the end of the line.
fn pattern(rest: &mut Peekable<Chars<'_>>) {
    let mut class = false;
    while let Some(next) = rest.next() {
        match next {
            '\\' => drop(rest.next()),
            '[' => class = true,
            ']' => class = false,
            '/' if !class => break,
            _ => {}
        }
    }
    while rest.next_if(|c| in_word(*c)).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `node -i` does with each line but the last: it asks for more, or has run it.
    #[test]
    fn more_is_asked_for_where_node_asks_for_more() {
        for (text, open) in [
            ("1 +", true),
            ("1 +\n2", false),
            ("1 +\n\n// not yet\n", true),
            ("x =", true),
            ("x = 1;", false),
            ("a &&", true),
            ("a ?", true),
            ("a ? b :", true),
            ("a,", true),
            ("a.", true),
            ("a?.", true),
            ("1.", false),
            ("i++", false),
            ("++", true),
            ("i--\n", false),
            ("x => ", true),
            ("!", true),
            ("typeof", true),
            ("a.typeof", false),
            ("new", true),
            ("a in", true),
            ("const", true),
            ("let", false),
            ("if (x)", true),
            ("if (x) y()", false),
            ("if (x)\n  y()", false),
            ("if (x) {\n} else", true),
            ("for (const a of b)", true),
            ("for await (const a of b)", true),
            ("while (x)", true),
            ("do", true),
            ("do {\n} while (x)", false),
            ("do {\n}", true),
            ("do x(); while (y)", false),
            ("try {\n}", true),
            ("try {\n} catch", true),
            ("try {\n} catch {\n}", false),
            ("try {\n} catch (e) {\n} finally", true),
            ("p.catch(e => 1)", false),
            ("function f()", true),
            ("function f(a = {})\n{\n}", false),
            ("class A", true),
            ("class A extends B", true),
            ("class A extends B {\n}", false),
            ("f.class", false),
            ("/a+/", false),
            ("x = /[/(]'/g", false),
            ("a / b /", true),
            ("if (x) /(/.test(y)", false),
            ("`a ${f(`b", true),
            ("`a ${f(`b`)} (`", false),
            ("'goes \\", true),
            ("'goes \\\non'", false),
            ("// 1 +", false),
            ("/* 1 +", true),
            ("(1 + )", false),
            (")", false),
            (":save folder/", false),
            ("", false),
        ] {
            let mut script = Script::default();
            text.split('\n').for_each(|line| script.read(line));
            assert_eq!(script.open(), open, "{text}");
        }
    }
}
