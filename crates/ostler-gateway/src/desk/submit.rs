//! How code is submitted: once for each key, and whether or not its caller waits.

use std::sync::Arc;

use ostler::{Restored, SubmitError};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Desk,
    keys::{Answer, Claim},
    principal::Principal,
    run::Run,
    session::Use,
    time,
};
use crate::{
    config::LOG_MAX,
    wire::{form::Form, handle::Kind, problem::Problem, run::RunBody},
};

/// An execution that was accepted, now or before.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) run: Arc<Run>,
    /// What came back of a session that slept.
    pub(crate) woke: Option<Restored>,
    /// An earlier request with the same key was this one.
    pub(crate) is_repeated: bool,
}

/// The key of a request, and what the request says in all.
pub(crate) type Keyed = (Arc<str>, blake3::Hash);

impl Desk {
    /// Submits code, or finds the execution that the same key stands for. What was begun goes on when the future is dropped:
    /// a caller who has gone may come back with its key.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        body: RunBody,
        form: Form,
        keyed: Option<Keyed>,
    ) -> Result<Submitted, Problem> {
        let Some((key, digest)) = keyed else { return self.begin(who, body, form, None).await };
        let claim = self.tables().keys.claim(&who.name, &key, digest);
        match claim {
            Claim::First(told) => self.begin(who, body, form, Some((key, told))).await,
            Claim::Other => Err(Problem::new(
                422,
                "key-reused",
                format!("the key `{key}` stands for another request; give each request a key of its own"),
            )
            .at("Idempotency-Key")),
            Claim::Again(mut answer) => {
                let handle = match answer.wait_for(Option::is_some).await {
                    Ok(answer) => answer.clone().unwrap_or_else(|| Err(Problem::draining()))?,
                    Err(_its_task_is_gone) => return Err(Problem::draining()),
                };
                Ok(Submitted { run: self.run(who, &handle)?, woke: None, is_repeated: true })
            }
        }
    }

    /// Submits in a task of its own, so that nobody's leaving is between the code and its handle.
    async fn begin(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        body: RunBody,
        form: Form,
        keyed: Option<(Arc<str>, tokio::sync::watch::Sender<Answer>)>,
    ) -> Result<Submitted, Problem> {
        let (told, answer) = oneshot::channel();
        let (desk, who) = (Arc::clone(self), Arc::clone(who));
        drop(tokio::spawn(async move {
            let accepted = desk.accept(&who, body, form).await;
            if let Some((key, told)) = keyed {
                let mut tables = desk.tables();
                match &accepted {
                    Ok((submitted, _)) => tables.keys.is(&who.name, &key, &submitted.run.handle),
                    Err(_) => tables.keys.free(&who.name, &key),
                }
                drop(tables);
                let answer = accepted.as_ref().map(|(submitted, _)| Arc::clone(&submitted.run.handle));
                told.send_replace(Some(answer.map_err(Clone::clone)));
            }
            let (submitted, used) = match accepted {
                Ok(accepted) => accepted,
                Err(problem) => return drop(told.send(Err(problem))),
            };
            let run = Arc::clone(&submitted.run);
            // Whoever does not wait for it finds it by its handle.
            let _ = told.send(Ok(submitted));
            run.log.ended().await;
            drop(used);
            desk.tables().runs.end(&run.handle, run.log.held(), Instant::now());
        }));
        answer.await.unwrap_or_else(|_its_task_is_gone| Err(Problem::draining()))
    }

    async fn accept(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        body: RunBody,
        form: Form,
    ) -> Result<(Submitted, Option<Use>), Problem> {
        if self.is_draining() {
            return Err(Problem::draining());
        }
        self.tables().runs.reserve(&who.name, who.executions).map_err(|max| {
            let detail = format!(
                "{max} of {max} executions of `{}` wait or run; wait for one of them, or cancel one",
                who.name
            );
            Problem::too_many("executions", detail, None)
        })?;
        let accepted = self.execute(who, body, form).await;
        match &accepted {
            Ok((submitted, _)) => {
                let run = Arc::clone(&submitted.run);
                self.tables().runs.insert(Arc::clone(&run.handle), Arc::clone(&who.name), run);
            }
            Err(_) => self.tables().runs.give_back(&who.name),
        }
        accepted
    }

    async fn execute(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        mut body: RunBody,
        form: Form,
    ) -> Result<(Submitted, Option<Use>), Problem> {
        let handle = self.new_handle(Kind::Execution, who)?;
        let session = body.session.take();
        let request = body.request(form);
        let (execution, used, woke) = match session {
            None => {
                let [_, _, sessions] = self.counts();
                if sessions > 0 {
                    self.make_room().await;
                }
                (self.runtime_of(who).execute(request).await?, None, None)
            }
            Some(session) => {
                let (used, woke) = self.awake(who, &session).await?;
                let execution = match used.session.execute(request).await {
                    Ok(execution) => execution,
                    Err(SubmitError::SessionEnded { why }) => {
                        return Err(self.has_ended(&used.entry, &why).await);
                    }
                    Err(error) => return Err(error.into()),
                };
                (execution, Some(used), woke)
            }
        };
        let log = execution.into_log(LOG_MAX);
        let session = used.as_ref().map(|used| Arc::clone(&used.entry.handle));
        let run = Arc::new(Run::new(handle, log, session, time::now()));
        Ok((Submitted { run, woke, is_repeated: false }, used))
    }
}
