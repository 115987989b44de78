//! What follows the death of a worker: the session goes on in a new one, or another session begins.

use std::time::Duration;

use ostler::{SessionEvent, SessionRestored};

use super::{Flow, Repl};
use crate::{
    exit::Exit,
    repl::{home, waits::next_event},
};

/// How long a session with a name may take to come back before another one is leased in its place.
const COMING_BACK: Duration = Duration::from_secs(30);

impl Repl {
    /// Goes on, and says with what: with the state that was saved last, if the session has a name; with nothing if not.
    pub(super) async fn renew(&mut self, why: &str) -> Flow {
        self.worst = Exit::Lost;
        self.tell(why).await;
        if let Some(exit) = self.leaving {
            return Flow::Leave(exit);
        }
        if self.home.name().is_some() {
            match tokio::time::timeout(COMING_BACK, self.comes_back()).await {
                Ok(Ok(Some(news))) => return self.goes_on(&news).await,
                Ok(Err(exit)) => return Flow::Leave(exit),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
        // A name is one session's at a time.
        self.session = None;
        let session = tokio::select! {
            session = self.home.lease() => session,
            signal = self.signals.next() => return Flow::Leave(Exit::Signal(signal)),
        };
        match session {
            Ok((session, Some(restored))) => {
                self.session = Some(session);
                self.tell(&restored).await;
                Flow::Go
            }
            Ok((session, None)) => {
                self.session = Some(session);
                let undo = if self.past.len() > 0 { "; :undo goes back to before it" } else { "" };
                self.tell(&format!("a new session begins; the names of the old one are gone{undo}")).await;
                self.start_up().await
            }
            Err(error) => {
                self.tell(&format!("no new session could be had: {error:#}")).await;
                Flow::Leave(Exit::Lost)
            }
        }
    }

    /// What is told of the session in its new worker; `None` if it has ended.
    async fn comes_back(&mut self) -> Result<Option<Box<SessionRestored>>, Exit> {
        loop {
            let event = tokio::select! {
                event = next_event(&mut self.session) => event,
                signal = self.signals.next() => return Err(Exit::Signal(signal)),
            };
            match event {
                Some(SessionEvent::Background { stream, data }) => self.write(stream, data).await,
                Some(SessionEvent::Restored(news)) => return Ok(Some(news)),
                Some(SessionEvent::Ended { .. }) | None => return Ok(None),
                // A later version may tell more.
                Some(_) => {}
            }
        }
    }

    /// The session is in a new worker.
    pub(super) async fn goes_on(&mut self, news: &SessionRestored) -> Flow {
        self.tell_once(news).await;
        // What the startup file made was lost with the rest, and nothing has taken its place.
        if news.from_checkpoint { Flow::Go } else { self.start_up().await }
    }

    /// The session says it, and so does the next statement.
    pub(super) async fn tell_once(&mut self, news: &SessionRestored) {
        if self.told.replace(news.generation) == Some(news.generation) {
            return;
        }
        let name = self.home.name().unwrap_or_default().to_owned();
        self.tell(&home::revived(&name, news)).await;
    }
}
