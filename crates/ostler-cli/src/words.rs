//! Outcomes in words, for a person who has seen the output.

use ostler::{Activity, Outcome};

/// The line, and below it, if it is known, what the worker was doing.
pub(crate) fn page(outcome: &Outcome) -> String {
    let line = outcome.headline();
    match outcome.activity() {
        Some(activity) => format!("{line}\n{}", indented(activity)),
        None => line,
    }
}

/// Each line of it moved to the right.
pub(crate) fn indented(activity: &Activity) -> String {
    let text = activity.to_string();
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
