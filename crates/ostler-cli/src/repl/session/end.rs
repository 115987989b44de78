//! How the conversation ends: with the end of what the code has left running.

use ostler::{Session, SessionEvent};

use crate::{exit::Exit, repl::session::Repl};

impl Repl {
    /// Ends the session and its branches, shows what they print meanwhile, and saves the state of the one that has a name.
    /// A signal ends them at once, and is the end of the program.
    pub(crate) async fn end(&mut self) -> Option<Exit> {
        let others = std::mem::take(&mut self.others).into_iter().map(|branch| branch.session);
        let mut sessions: Vec<Session> = self.session.take().into_iter().chain(others).collect();
        for session in &sessions {
            if session.name().is_some()
                && let Err(error) = session.save().await
            {
                self.screen.say(&format!("the last state was not saved: {error}")).await;
            }
            session.close();
        }
        let mut exit = None;
        for session in &mut sessions {
            loop {
                tokio::select! {
                    event = session.next_event() => match event {
                        Some(event) => self.last_words(event).await,
                        None => break,
                    },
                    signal = self.signals.next(), if exit.is_none() => {
                        exit = Some(Exit::Signal(signal));
                        self.home.shutdown().await;
                    }
                }
            }
        }
        exit
    }

    async fn last_words(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Background { stream, data } => self.write(stream, data).await,
            SessionEvent::Ended { killed: true, .. } => {
                let text = "the code had left something running that did not end, so its worker was killed";
                self.screen.say(text).await;
            }
            SessionEvent::Ended { .. }
            | SessionEvent::Left { .. }
            | SessionEvent::Restored(_)
            | SessionEvent::Notification { .. } => {}
            // A later version may tell more.
            _ => {}
        }
    }
}
