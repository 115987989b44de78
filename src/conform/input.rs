//! How a worker asks for input.

use crate::protocol::{
    Cancel, ErrorKind, Execute, ExecutionId, FromWorker, InputRequest, InputResponse, Ping, ToWorker,
};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, Ran, Step, escaped, shown},
    probes::Probe,
    running::{completed, idle, says},
    stopping::Stopped,
};

items! {
    "asks for a line, and takes it" => "input_request" => takes_a_line;
    "takes the end of the input" => "input_response" => takes_the_end;
    "takes no answer to what it did not ask" => "input_response" => drops_a_wrong_answer;
    "answers `ping` while it waits for input" => "input_request" => answers_while_it_waits;
    "obeys `cancel` while it waits for input" => "input_request" => obeys_while_it_waits;
    "does not ask where the request allows no input" => "execute" => does_not_ask;
}

/// Text that no line of code contains by chance.
const ANSWER: &str = "an answer, Grüße";

/// Runs code that asks, up to its question.
async fn asked(kit: &Kit) -> Result<(Peer, ExecutionId, Ran, InputRequest), Fault> {
    kit.needs("input")?;
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::ask)?);
    let (id, mut ran) = (request.id, Ran::default());
    peer.send(&ToWorker::Execute(request)).await?;
    match peer.follow(id, &mut ran).await? {
        Step::Asks(request) => Ok((peer, id, ran, request)),
        other => Err(Fault::wrong("`input_request`", other.to_string())),
    }
}

fn line(id: ExecutionId, request: u64, text: &str) -> ToWorker {
    let mut answer = InputResponse::new(id, request);
    answer.value = Some(text.into());
    ToWorker::InputResponse(answer)
}

async fn takes_a_line(kit: &Kit) -> Result<(), Fault> {
    let (mut peer, id, mut ran, request) = asked(kit).await?;
    peer.send(&line(id, request.request, ANSWER)).await?;
    completed(peer.follow(id, &mut ran).await?)?;
    prints_the_answer(&ran)?;
    idle(&mut peer).await
}

fn prints_the_answer(ran: &Ran) -> Result<(), Fault> {
    let printed = String::from_utf8_lossy(&ran.stdout);
    ensure(printed.contains(ANSWER), format!("that it prints `{ANSWER}`"), || escaped(&ran.stdout))
}

async fn takes_the_end(kit: &Kit) -> Result<(), Fault> {
    let (mut peer, id, mut ran, request) = asked(kit).await?;
    let mut answer = InputResponse::new(id, request.request);
    answer.eof = true;
    peer.send(&ToWorker::InputResponse(answer)).await?;
    // Code may take it well or fail.
    if let Step::Asks(again) = peer.follow(id, &mut ran).await? {
        return Err(Fault::wrong("that code sees an end of file", format!("{again:?}")));
    }
    says(&mut peer, kit).await
}

async fn drops_a_wrong_answer(kit: &Kit) -> Result<(), Fault> {
    let (mut peer, id, mut ran, request) = asked(kit).await?;
    peer.send(&line(id, request.request + 1, "wrong")).await?;
    peer.send(&line(ExecutionId(id.0 + 1000), request.request, "wrong")).await?;
    peer.send(&line(id, request.request, ANSWER)).await?;
    peer.send(&line(id, request.request, "late")).await?;
    completed(peer.follow(id, &mut ran).await?)?;
    prints_the_answer(&ran)?;
    idle(&mut peer).await?;
    says(&mut peer, kit).await
}

async fn answers_while_it_waits(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`heartbeat`, also while it waits for input";
    let (mut peer, id, mut ran, request) = asked(kit).await?;
    peer.send(&ToWorker::Ping(Ping::new(9_u64))).await?;
    match peer.next(EXPECTED).await? {
        FromWorker::Heartbeat(heartbeat) if heartbeat.seq == Some(9) => {}
        other => return Err(Fault::wrong(EXPECTED, shown(&other))),
    }
    peer.send(&line(id, request.request, ANSWER)).await?;
    completed(peer.follow(id, &mut ran).await?)
}

async fn obeys_while_it_waits(kit: &Kit) -> Result<(), Fault> {
    kit.needs("cancel")?;
    let (mut peer, id, _, request) = asked(kit).await?;
    peer.send(&ToWorker::Cancel(Cancel::new(id))).await?;
    let ended = Stopped::follow(&mut peer, id, 1).await?;
    ensure(ended.kind == Some(ErrorKind::Cancelled), "`error` of kind `cancelled`", || format!("{ended:?}"))?;
    // Too late for anybody.
    peer.send(&line(id, request.request, "late")).await?;
    says(&mut peer, kit).await
}

async fn does_not_ask(kit: &Kit) -> Result<(), Fault> {
    let code = kit.probes.get(Probe::ask)?;
    kit.needs("input")?;
    let mut peer = Peer::greeted(kit).await?;
    let request = Execute { allow_stdin: false, ..peer.request(code) };
    match peer.run(request).await?.1 {
        Step::Asks(request) => {
            Err(Fault::wrong("an end of file for the code, and no question", format!("{request:?}")))
        }
        Step::Completed(_) | Step::Failed(_) => idle(&mut peer).await,
    }
}
