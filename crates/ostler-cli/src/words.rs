//! Outcomes in words, for a person who has seen the output.

use ostler::{Activity, Cancelled, Death, Failure, Lost, LostCause, Outcome, Rung, TimedOut};

/// The outcome in one line, without the traceback.
pub(crate) fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(_) => "completed".into(),
        Outcome::Failed(Failure::Exception(exception)) if exception.message.is_empty() => {
            exception.type_name.clone()
        }
        Outcome::Failed(Failure::Exception(exception)) => {
            format!("{}: {}", exception.type_name, exception.message)
        }
        Outcome::Failed(Failure::Exit { message: Some(message), .. }) => message.clone(),
        Outcome::Lost(lost) => self::lost(lost),
        // Not always at the end of the grace: a person may have been impatient.
        Outcome::Cancelled(Cancelled { rung: Rung::Kill, .. }) => {
            "cancelled: the code did not stop, so its worker was killed".into()
        }
        Outcome::TimedOut(timed_out) => TimedOut::new(timed_out.after, timed_out.phase).to_string(),
        Outcome::Failed(_) | Outcome::Cancelled(_) => outcome.to_string(),
    }
}

/// The line, and below it, if it is known, what the worker was doing.
pub(crate) fn page(outcome: &Outcome) -> String {
    let line = line(outcome);
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

/// How it was lost. What a worker wrote to stderr before its death was shown when it came, if code ran.
pub(crate) fn lost(lost: &Lost) -> String {
    if let LostCause::NotLaunched { why } = &lost.cause {
        return why.clone();
    }
    let Lost { started: true, cause: LostCause::Died(death) } = lost else { return lost.to_string() };
    let death = Death { stderr: String::new(), ..death.clone() };
    Lost { started: true, cause: LostCause::Died(death) }.to_string()
}

#[cfg(test)]
mod tests {
    use ostler::{DeathCause, Exit};

    use super::*;

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let death = Death {
            cause: DeathCause::Itself,
            exit: Exit::Signal(11),
            stderr: "Fatal Python error\n".into(),
            activity: None,
        };
        let ran = Lost { started: true, cause: LostCause::Died(death.clone()) };
        let expected = "lost while its code ran: the worker ended by itself (signal 11, SIGSEGV)";
        assert_eq!(lost(&ran), expected);
        let unstarted = Lost { started: false, cause: LostCause::Died(death) };
        assert!(lost(&unstarted).ends_with("Fatal Python error"));
    }
}
