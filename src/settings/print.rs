//! Settings as a file that explains itself.

use std::fmt::Write as _;

use super::{
    Settings,
    keys::{KEYS, SECTIONS},
};

/// Widest line of an explanation.
const WIDTH: usize = 100;

/// Every key, with its meaning and its value.
pub(super) fn file(settings: &Settings) -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        if !text.is_empty() {
            text.push('\n');
        }
        comment(&mut text, about);
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "[{section}]");
        let keys =
            KEYS.iter().filter_map(|key| Some((key, key.path.strip_prefix(section)?.strip_prefix('.')?)));
        for (key, name) in keys {
            text.push('\n');
            comment(&mut text, key.about);
            comment(&mut text, &format!("Takes {}.", (key.expected)()));
            let _ = writeln!(text, "{name} = {}", (key.show)(settings));
        }
    }
    text
}

fn comment(text: &mut String, about: &str) {
    let mut line = String::from("#");
    for word in about.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
