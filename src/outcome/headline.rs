//! Outcomes in one line, for somebody who has seen the output.

use super::{CancelStage, Cancelled, Death, Failure, Lost, LostCause, Outcome, TimedOut};

impl Outcome {
    /// The outcome in one line, for somebody who has seen the output: without the traceback, and without what the worker was
    /// doing. [`Display`](std::fmt::Display) has both.
    #[must_use]
    pub fn headline(&self) -> String {
        match self {
            Self::Completed(_) => "completed".into(),
            Self::Failed(Failure::Exception(exception)) if exception.message.is_empty() => {
                exception.type_name.clone()
            }
            Self::Failed(Failure::Exception(exception)) => {
                format!("{}: {}", exception.type_name, exception.message)
            }
            Self::Failed(Failure::Exit { message: Some(message), .. }) => message.clone(),
            Self::Lost(lost) => lost.headline(),
            // Not always at the end of the grace: a person may have been impatient.
            Self::Cancelled(Cancelled { stage: CancelStage::Kill, .. }) => {
                "cancelled: the code did not stop, so its worker was killed".into()
            }
            Self::TimedOut(timed_out) => TimedOut::new(timed_out.after, timed_out.phase).to_string(),
            Self::Failed(_) | Self::Cancelled(_) => self.to_string(),
        }
    }
}

impl Lost {
    /// How it was lost, for somebody who has seen the output: what a worker wrote to stderr before its death came as output
    /// if its code ran, and is left out.
    #[must_use]
    pub fn headline(&self) -> String {
        if let LostCause::NotLaunched { why } = &self.cause {
            return why.clone();
        }
        let Self { started: true, cause: LostCause::Died(death) } = self else { return self.to_string() };
        let death = Death { stderr: String::new(), ..death.clone() };
        Self { started: true, cause: LostCause::Died(death) }.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{DeathCause, Exit};

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
        assert_eq!(ran.headline(), expected);
        let unstarted = Lost { started: false, cause: LostCause::Died(death) };
        assert!(unstarted.headline().ends_with("Fatal Python error"));
    }
}
