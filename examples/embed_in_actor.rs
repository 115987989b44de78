//! A service made of actors owns the runtime, and gets events in its own mailbox.
//!
//! `cargo run --example embed_in_actor`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use ostler::{
    Event, ExecutionId, Outcome, Request, Runtime, WorkerSpec,
    actor::{Host, Notice},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

/// What the service is told: by its callers, and by the pool.
enum ServiceMsg {
    Run(&'static str),
    Ostler(Notice),
}

impl From<Notice> for ServiceMsg {
    fn from(notice: Notice) -> Self {
        Self::Ostler(notice)
    }
}

struct Service;

struct State {
    runtime: Runtime,
    open: usize,
    log: Vec<(ExecutionId, String)>,
    done: Option<oneshot::Sender<Vec<(ExecutionId, String)>>>,
}

impl Actor for Service {
    type Msg = ServiceMsg;
    type State = State;
    type Arguments = oneshot::Sender<Vec<(ExecutionId, String)>>;

    async fn pre_start(
        &self,
        myself: ActorRef<ServiceMsg>,
        done: Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        // The pool's supervisor is a child of this actor: its end is told here, and ours ends it.
        let builder = Runtime::builder(WorkerSpec::python()).max_sessions(2).supervised_by(myself.get_cell());
        Ok(State { runtime: builder.start().await?, open: 0, log: Vec::new(), done: Some(done) })
    }

    async fn handle(
        &self,
        myself: ActorRef<ServiceMsg>,
        message: ServiceMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ServiceMsg::Run(code) => {
                // Admission answers at once; what follows comes as notices.
                let request = Request::python(code).label("from an actor");
                state.runtime.execute_for(request, Host::actor(myself)).await?;
                state.open += 1;
            }
            ServiceMsg::Ostler(Notice::Event { execution, event }) => {
                if let Event::Output { data, .. } = event.take() {
                    state.log.push((execution, String::from_utf8_lossy(&data).into_owned()));
                }
            }
            ServiceMsg::Ostler(Notice::Ended { execution, outcome }) => {
                state.log.push((execution, format!("{}: {outcome}", outcome.kind())));
                assert!(matches!(outcome, Outcome::Completed(_) | Outcome::Failed(_)));
                state.open -= 1;
                if state.open == 0 {
                    if let Some(done) = state.done.take() {
                        let _ = done.send(std::mem::take(&mut state.log));
                    }
                    myself.stop(None);
                }
            }
            ServiceMsg::Ostler(_) => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ServiceMsg>,
        event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        println!("the pool: {event:?}");
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (done, log) = oneshot::channel();
    let (service, task) = Actor::spawn(None, Service, done).await?;
    for code in ["print('first')\n1 + 1", "print('second')\n[][0]"] {
        service.cast(ServiceMsg::Run(code))?;
    }
    let log = log.await?;
    for (execution, line) in &log {
        println!("{execution}: {line}");
    }
    assert!(log.iter().any(|(_, line)| line == "first\n"));
    assert!(log.iter().any(|(_, line)| line == "completed: 2"));
    assert!(log.iter().any(|(_, line)| line.contains("IndexError")));
    task.await?;
    Ok(())
}
