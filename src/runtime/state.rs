//! Sessions whose state is saved and brought back.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{Job, Retract, Runtime, Shared, keeper::Kept, next_id};
use crate::{
    actor::{
        mailbox::mailbox,
        messages::{ForkRequest, LeaseRequest, SupervisorMsg},
        question::{Answer, Question},
        sink::feed,
    },
    blocking::apart,
    checkpoint::{Checkpoint, Restored},
    config::VARS_MAX,
    error::{StateError, SubmitError},
    machine::{
        session::Question as Asked,
        supervisor::{LeaseId, Moment},
    },
    outcome::{Failure, Generation, Outcome},
    protocol::{self, EncodeError, ExecutionId, FromWorker, ToWorker},
    request::Limits,
    session::{Session, Variables},
    worker::Delivery,
};

/// Bytes of the data of one `restore`, well below the frame limit.
const PART: usize = 4 << 20;
/// Bytes that are copied and checked in no time.
const INLINE: usize = 64 << 10;
/// The exception by which the shipped worker says that a namespace is too large.
const TOO_LARGE: &str = "CheckpointTooLarge";
/// The exception by which the shipped worker says that it must not be forked.
const FORK_REFUSED: &str = "ForkRefused";
/// How long a copy may take from the fork until it is ready: the worker has answered, so this is milliseconds.
const FORK_LIMIT: Duration = Duration::from_secs(10);

impl Runtime {
    /// Leases a session, as [`session`](Self::session) does, and brings a saved state back into it.
    ///
    /// # Errors
    /// There is no session, or the state did not come back: see [`Session::restore`]. The session is given back then.
    pub async fn session_from(&self, checkpoint: &Checkpoint) -> Result<(Session, Restored), StateError> {
        let session = self.session().await?;
        let restored = session.begin_with(checkpoint, Some(checkpoint.clone())).await?;
        Ok((session, restored))
    }
}

/// What a session is asked, and on whose behalf.
struct Purpose {
    asked: Asked,
    /// The supervisor's.
    state_job: bool,
    expects: Option<Generation>,
}

impl Shared {
    /// Returns which state it is, too.
    pub(crate) async fn save(
        self: Arc<Self>,
        lease: LeaseId,
        state_job: bool,
    ) -> Result<(Checkpoint, Moment), StateError> {
        let end = Instant::now() + self.checkpoint_timeout;
        let max_bytes = self.max_checkpoint_bytes as u64;
        let delivery = self.spawner.delivery();
        let frames = |codec: protocol::Codec, id| {
            let mut message = protocol::Checkpoint::new(id);
            message.max_bytes = Some(max_bytes);
            if let Some(delivery) = &delivery {
                message.mode = protocol::CheckpointMode::Fork;
                message.address = Some(delivery.address().into());
                message.secret = Some(delivery.secret().into());
            }
            let mut frame = BytesMut::new();
            codec.encode(&ToWorker::Checkpoint(message), &mut frame).map(|()| frame.freeze())
        };
        let purpose = Purpose { asked: Asked::Save { max_bytes }, state_job, expects: None };
        let answer = Arc::clone(&self).ask(lease, purpose, "checkpoint", frames).await?;
        let Answer { mut messages, speaker, moment } = answer;
        if let (Some(FromWorker::Forked(_)), Some(delivery)) = (messages.last(), delivery) {
            messages = vec![self.delivered(delivery, end).await?];
        }
        let size: usize = messages.iter().map(part_len).sum();
        let gather = move || Checkpoint::gathered(messages, speaker.language, speaker.version);
        // Off the runtime's threads if it takes a while to copy.
        let gathered = match size > INLINE {
            true => apart(gather).await.unwrap_or(Err(StateError::Cancelled))?,
            false => gather()?,
        };
        Ok((gathered, moment))
    }

    /// The state that a copy of the worker sends, while the worker goes on.
    async fn delivered(&self, delivery: Delivery, end: Instant) -> Result<FromWorker, StateError> {
        let limit = self.max_checkpoint_bytes;
        let receive = delivery.receive(self.codec, limit as u64);
        match timeout_at(end, receive).await {
            Ok(Ok(FromWorker::Error(error))) => {
                let (kind, text) = error.exception.map_or_else(
                    || (String::new(), "it did not say why".into()),
                    |exception| (exception.type_name, exception.message),
                );
                Err(match kind == TOO_LARGE {
                    true => StateError::TooLarge { limit },
                    false => StateError::Refused { why: format!("{kind}: {text}") },
                })
            }
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => {
                let expected = "a state from a copy of the worker".into();
                Err(StateError::Damaged { expected, got: error.to_string() })
            }
            Err(_elapsed) => Err(StateError::TimedOut { after: self.checkpoint_timeout }),
        }
    }

    /// Returns the state that it led to, too. `state_job`: the supervisor asked for it, in this generation.
    pub(crate) async fn restore(
        self: Arc<Self>,
        lease: LeaseId,
        checkpoint: &Checkpoint,
        state_job: Option<Generation>,
    ) -> Result<(Restored, Moment), StateError> {
        let data = checkpoint.data();
        let frames = |codec, id| encode_parts(codec, id, data);
        let purpose = Purpose { asked: Asked::Restore, state_job: state_job.is_some(), expects: state_job };
        let mut answer = self.ask(lease, purpose, "restore", frames).await?;
        match answer.messages.pop() {
            Some(FromWorker::Restored(protocol::Restored { names, failed, .. })) => {
                Ok((checkpoint.restored(names, failed), answer.moment))
            }
            Some(_) | None => Err(StateError::Refused { why: "it sent no answer".into() }),
        }
    }

    /// A copy of the session `of`.
    pub(crate) async fn fork(self: Arc<Self>, of: LeaseId) -> Result<Session, StateError> {
        let lease = LeaseId(next_id());
        let (events, background) = feed(&self.ledger);
        let (granted, answer) = oneshot::channel();
        let (told, order) = oneshot::channel();
        let (tend, duties) = mailbox();
        // A copy gets the worker that its session forks.
        let request = LeaseRequest { lease, tenant: None, events, duties: tend, granted };
        let fork = SupervisorMsg::Fork(Box::new(ForkRequest { of, request, order: told }));
        self.supervisor.cast(fork).map_err(|_gone| SubmitError::ShuttingDown)?;
        let waiting = Retract::new(&self.supervisor, SupervisorMsg::Release(lease));
        // Without an order the answer says why there is none.
        let after = self.lease_timeout;
        let Ok(order) = timeout(after, order).await else { return Err(self.no_session(after).await.into()) };
        if let Ok(order) = order {
            let Some(folder) = order.folder.to_str().map(str::to_owned) else {
                let why =
                    format!("the name of its copy's folder, {:?}, is no UTF-8; set `TMPDIR`", order.folder);
                return Err(StateError::NotForked { why });
            };
            let purpose = Purpose { asked: Asked::Fork, state_job: false, expects: None };
            let frames = |codec: protocol::Codec, id| {
                let mut frame = BytesMut::new();
                let mut message = protocol::Fork::new(id, order.address, order.tag, folder);
                message.secret = Some(order.secret);
                codec.encode(&ToWorker::Fork(message), &mut frame).map(|()| frame.freeze())
            };
            Arc::clone(&self).ask(of, purpose, "fork", frames).await?;
        }
        let granted = match timeout(FORK_LIMIT, answer).await {
            Ok(Ok(Ok(granted))) => granted,
            Ok(Ok(Err(SubmitError::SessionEnded { why }))) => return Err(StateError::NotForked { why }),
            Ok(Ok(Err(error))) => return Err(error.into()),
            Ok(Err(_gone)) => return Err(SubmitError::ShuttingDown.into()),
            Err(_elapsed) => {
                return Err(StateError::NotForked {
                    why: format!("its copy was not there within {FORK_LIMIT:?}"),
                });
            }
        };
        waiting.answered();
        Ok(self.tended(lease, granted, background, Kept::default(), duties))
    }

    pub(crate) async fn vars(self: Arc<Self>, lease: LeaseId) -> Result<Variables, StateError> {
        let frames = |codec: protocol::Codec, id| {
            let mut message = protocol::Vars::new(id);
            message.max = Some(VARS_MAX as u64);
            let mut frame = BytesMut::new();
            codec.encode(&ToWorker::Vars(message), &mut frame).map(|()| frame.freeze())
        };
        let purpose = Purpose { asked: Asked::Names, state_job: false, expects: None };
        let mut answer = self.ask(lease, purpose, "vars", frames).await?;
        match answer.messages.pop() {
            Some(FromWorker::VarsResult(protocol::VarsResult { vars: list, total, .. })) => {
                let total = total.and_then(|total| usize::try_from(total).ok()).unwrap_or(list.len());
                Ok(Variables { total, list })
            }
            Some(_) | None => Err(StateError::Refused { why: "it sent no answer".into() }),
        }
    }

    /// Asks a session about its state, when what was submitted to it before has ended.
    async fn ask(
        self: Arc<Self>,
        lease: LeaseId,
        purpose: Purpose,
        label: &str,
        frames: impl FnOnce(protocol::Codec, ExecutionId) -> Result<Bytes, EncodeError>,
    ) -> Result<Answer, StateError> {
        if self.server.is_some() {
            let why = "a JSON-RPC server has no state that can be saved".into();
            return Err(StateError::Refused { why });
        }
        let id = ExecutionId(next_id());
        let frame = frames(self.codec, id).map_err(|error| StateError::Refused { why: error.to_string() })?;
        let Purpose { asked, state_job, expects } = purpose;
        let question = Question::new(asked);
        let (after, limit) = (self.checkpoint_timeout, self.max_checkpoint_bytes);
        let job = Job {
            id,
            label: Some(label.into()),
            tenant: None,
            affinity: None,
            frame,
            deadline: Some(after),
            limits: Limits::default(),
            terms: Default::default(),
            script: None,
            question: Some(question.clone()),
            state_job,
            expects,
        };
        let execution = self.dispatch(job, Some(lease), crate::execution::Handling::default()).await?;
        match execution.outcome().await {
            Outcome::Completed(_) => Ok(question.take()),
            Outcome::Failed(Failure::Exception(exception)) if exception.type_name == TOO_LARGE => {
                Err(StateError::TooLarge { limit })
            }
            Outcome::Failed(Failure::Exception(exception)) if exception.type_name == FORK_REFUSED => {
                Err(StateError::NotForked { why: exception.message })
            }
            Outcome::Failed(Failure::Exception(exception)) => {
                let why = format!("{}: {}", exception.type_name, exception.message);
                Err(StateError::Refused { why })
            }
            Outcome::Failed(failure) => Err(StateError::Refused { why: failure.to_string() }),
            Outcome::Cancelled(_) => Err(StateError::Cancelled),
            Outcome::TimedOut(_) => Err(StateError::TimedOut { after }),
            Outcome::Lost(lost) => Err(StateError::Lost(lost)),
        }
    }
}

fn part_len(message: &FromWorker) -> usize {
    if let FromWorker::CheckpointData(part) = message { part.data.len() } else { 0 }
}

fn encode_parts(codec: protocol::Codec, id: ExecutionId, data: &Bytes) -> Result<Bytes, EncodeError> {
    let parts = data.len().div_ceil(PART).max(1);
    let (mut frames, mut frame) = (BytesMut::with_capacity(data.len() + 256 * parts), BytesMut::new());
    for part in 0..parts {
        let mut message = protocol::Restore::new(id);
        message.data = data.slice(part * PART..data.len().min((part + 1) * PART));
        message.part = part as u64;
        message.last = part + 1 == parts;
        codec.encode(&ToWorker::Restore(message), &mut frame)?;
        frames.extend_from_slice(&frame.split());
    }
    Ok(frames.freeze())
}
