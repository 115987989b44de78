//! `ostler replay`: what a recording tells, and the same code again.

use std::collections::{BTreeMap, VecDeque};

use anyhow::anyhow;
use ostler::{
    Entry, Event, Execution, ExecutionId, Passed, Recording, Request, Runtime, Session, Stream,
    protocol::{Exception, Execute, FromWorker, ToWorker},
};

use crate::{
    args::ReplayArgs,
    exit::{Exit, Fatal},
    output::Console,
    pool,
};

/// Characters of a line that are shown.
const LINE_MAX: usize = 160;

/// Shows or repeats, and says how the program is to end.
pub(crate) async fn run(args: ReplayArgs, console: Console) -> Result<Exit, Fatal> {
    let recording = Recording::read(&args.file).map_err(Fatal::usage)?;
    let exit = if args.run {
        again(&recording, &args, &console).await?
    } else {
        let Recording { tag, codec, .. } = &recording;
        let mut page = format!("worker {tag}, {codec:?}\n");
        page.extend(recording.entries.iter().map(line));
        console.write(Stream::Stdout, page).await;
        Exit::Completed
    };
    console.flush().await;
    Ok(exit)
}

/// One entry: when, who, what.
fn line(entry: &Entry) -> String {
    let (who, what) = match &entry.what {
        Passed::ToWorker(message) => ("host  ", asked(message)),
        Passed::FromWorker(message) => ("worker", said(message)),
        Passed::Output { stream, data } => (
            if *stream == Stream::Stdout { "stdout" } else { "stderr" },
            format!("{:?}", String::from_utf8_lossy(data)),
        ),
        Passed::Malformed(why) => ("worker", format!("no message: {why}")),
        Passed::Exited(how) => ("worker", format!("ended: {how}")),
        Passed::Missing(bytes) => {
            ("      ", format!("{bytes} bytes are missing here: the disk was too slow"))
        }
        other => ("      ", format!("{other:?}")),
    };
    format!("{:>12.6}  {who}  {}\n", entry.at.as_secs_f64(), cut(&what))
}

fn cut(text: &str) -> String {
    let mut letters = text.chars();
    let kept: String = letters.by_ref().take(LINE_MAX).collect();
    if letters.next().is_some() { format!("{kept}...") } else { kept }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the name of any other message says enough")]
fn asked(message: &ToWorker) -> String {
    match message {
        ToWorker::Execute(execute) => format!("execute {}: {:?}", execute.id, execute.code),
        ToWorker::Cancel(cancel) if cancel.force => format!("cancel {}, by force", cancel.id),
        ToWorker::Cancel(cancel) => format!("cancel {}", cancel.id),
        ToWorker::InputResponse(answer) => match &answer.value {
            Some(value) => format!("input for {}: {value:?}", answer.id),
            None => format!("input for {}: its end", answer.id),
        },
        other => other.type_name().to_owned(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the name of any other message says enough")]
fn said(message: &FromWorker) -> String {
    match message {
        FromWorker::Ready(ready) => format!("ready: process {}", ready.pid),
        FromWorker::Started(started) => format!("started {}", started.id),
        FromWorker::Output(output) => {
            format!("{}: {:?}", output.stream, String::from_utf8_lossy(&output.data))
        }
        FromWorker::InputRequest(request) => format!("input wanted for {}: {:?}", request.id, request.prompt),
        FromWorker::Log(log) => format!("log: {}", log.message),
        other => match ending(other) {
            Some((id, how)) => format!("{} {id}: {how}", other.type_name()),
            None => other.type_name().to_owned(),
        },
    }
}

/// How an execution ended, if this message says so. The same words as for the outcome of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing else ends an execution")]
fn ending(message: &FromWorker) -> Option<(ExecutionId, String)> {
    match message {
        FromWorker::Result(result) => {
            Some((result.id, result.repr.clone().unwrap_or_else(|| "completed".into())))
        }
        FromWorker::Error(error) => {
            let raised = |exception: &Exception| format!("{}: {}", exception.type_name, exception.message);
            let how = error.exception.as_deref().map_or_else(|| format!("{:?}", error.kind), raised);
            Some((error.id, how))
        }
        _ => None,
    }
}

/// What is to be run again.
struct Plan<'a> {
    executes: Vec<&'a Execute>,
    inputs: BTreeMap<ExecutionId, VecDeque<Option<String>>>,
    endings: BTreeMap<ExecutionId, String>,
}

impl<'a> Plan<'a> {
    fn of(recording: &'a Recording) -> Self {
        let mut plan = Self { executes: Vec::new(), inputs: BTreeMap::new(), endings: BTreeMap::new() };
        for entry in &recording.entries {
            if let Passed::ToWorker(message) = &entry.what {
                plan.asked(message);
            } else if let Passed::FromWorker(message) = &entry.what {
                plan.endings.extend(ending(message));
            }
        }
        plan
    }

    fn asked(&mut self, message: &'a ToWorker) {
        if let ToWorker::Execute(execute) = message {
            self.executes.push(execute);
        } else if let ToWorker::InputResponse(answer) = message {
            self.inputs.entry(answer.id).or_default().push_back(answer.value.clone());
        }
    }
}

/// Runs the recorded code again, in its order, on a new worker, and compares how it ends.
async fn again(recording: &Recording, args: &ReplayArgs, console: &Console) -> Result<Exit, Fatal> {
    let mut plan = Plan::of(recording);
    if plan.executes.is_empty() {
        return Err(Fatal::usage(anyhow!("`{}` holds no execution", args.file.display())));
    }
    let settings = pool::settings(&args.pool, &pool::working_folder()?)?;
    let runtime = settings.builder().max_sessions(2).start().await.map_err(Fatal::not_started)?;
    let session = runtime.session().await.map_err(Fatal::not_started)?;
    let mut differences = 0;
    for execute in std::mem::take(&mut plan.executes) {
        let inputs = plan.inputs.remove(&execute.id).unwrap_or_default();
        let now = repeat(&runtime, &session, execute, inputs).await;
        let then = plan.endings.remove(&execute.id).unwrap_or_else(|| "no answer".into());
        let same = now == then;
        differences += usize::from(!same);
        let verdict = if same { "same   " } else { "differs" };
        let mut told = format!("{verdict}  {}: {}\n", execute.id, cut(&format!("{:?}", execute.code)));
        if !same {
            told.push_str(&format!("    then: {}\n     now: {}\n", cut(&then), cut(&now)));
        }
        console.write(Stream::Stdout, told).await;
    }
    runtime.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(if differences == 0 { Exit::Completed } else { Exit::Failed })
}

/// How it ends this time.
async fn repeat(
    runtime: &Runtime,
    session: &Session,
    execute: &Execute,
    mut inputs: VecDeque<Option<String>>,
) -> String {
    let request = Request::from(execute);
    let submitted = match execute.fresh {
        true => runtime.execute(request).await,
        false => session.execute(request).await,
    };
    let mut execution: Execution = match submitted {
        Ok(execution) => execution,
        Err(refused) => return refused.to_string(),
    };
    while let Some(event) = execution.next().await {
        if let Event::Input(asked) = event {
            match inputs.pop_front().flatten() {
                Some(line) => execution.input(asked.request, line),
                None => execution.end_of_input(asked.request),
            }
        }
    }
    execution.outcome().await.headline()
}
