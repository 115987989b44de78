//! Conversations with a worker on a thread of this process.
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever was not expected fails the test")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    mem::ManuallyDrop,
    os::{fd::OwnedFd, unix::net::UnixStream},
    panic::panic_any,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::BytesMut;

use ostler_protocol::{
    Cancel, Codec, Decoder, ErrorKind, Execute, ExecutionError, ExecutionId, FRAME_LEN_MAX, FromWorker, Init,
    InputResponse, Mime, MimeData, Ping, Shutdown, ToWorker, VERSION, Value,
};

use super::{Error, Task, Worker, channel::Channel};

/// No answer takes so long: it is the limit of a hang.
const HANG: Duration = Duration::from_secs(60);

/// The host of such a worker.
struct Host {
    /// Never closed: a worker whose host is gone ends its process.
    channel: ManuallyDrop<UnixStream>,
    decoder: Decoder,
    codec: Codec,
    exit: mpsc::Receiver<u8>,
}

impl Host {
    fn of(serve: impl FnMut(&Task<'_>) -> Result<Value, Error> + Send + 'static) -> Self {
        let codec = Codec::MessagePack;
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(HANG)).unwrap();
        let file = |stream: UnixStream| File::from(OwnedFd::from(stream));
        let (incoming, outgoing) =
            Channel::over(file(theirs.try_clone().unwrap()), file(theirs), codec, false);
        let (exited, exit) = mpsc::channel();
        thread::spawn(move || {
            let code = Worker::new("test").run_on(incoming, outgoing, super::channel::now(), serve);
            exited.send(code)
        });
        let decoder = Decoder::new(FRAME_LEN_MAX);
        let mut host = Self { channel: ManuallyDrop::new(ours), decoder, codec, exit };
        assert!(matches!(host.next(), FromWorker::Ready(_)));
        host.send([ToWorker::Init(Init::new(VERSION))]);
        host
    }

    fn send(&mut self, messages: impl IntoIterator<Item = ToWorker>) {
        let mut frames = BytesMut::new();
        messages.into_iter().for_each(|message| self.codec.encode(&message, &mut frames).unwrap());
        self.channel.write_all(&frames).unwrap();
    }

    fn execute(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.send(ids.into_iter().map(|id| ToWorker::Execute(Execute::new(ExecutionId(id), "code"))));
    }

    fn next(&mut self) -> FromWorker {
        loop {
            if let Some(payload) = self.decoder.next().unwrap() {
                return self.codec.decode(payload).unwrap();
            }
            let mut bytes = [0; 4096];
            let len = self.channel.read(&mut bytes).expect("the worker says something in time");
            assert!(len > 0, "the worker closed its channel");
            self.decoder.buffer().extend_from_slice(&bytes[..len]);
        }
    }

    /// What comes until this has ended, and its end.
    fn until_the_end_of(&mut self, id: u64) -> (Vec<FromWorker>, FromWorker) {
        let mut before = Vec::new();
        loop {
            match self.next() {
                end @ (FromWorker::Result(_) | FromWorker::Error(_))
                    if end.execution_id() == Some(ExecutionId(id)) =>
                {
                    return (before, end);
                }
                other => before.push(other),
            }
        }
    }

    fn fails(&mut self, id: u64) -> ExecutionError {
        match self.until_the_end_of(id).1 {
            FromWorker::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn value(&mut self, id: u64) -> Value {
        match self.until_the_end_of(id).1 {
            FromWorker::Result(result) => result.value.unwrap_or_default(),
            other => panic!("{other:?}"),
        }
    }

    /// It answers at once, so whatever it did with the messages before is done.
    fn is_there(&mut self) {
        self.send([ToWorker::Ping(Ping::new(1_u64))]);
        while !matches!(self.next(), FromWorker::Heartbeat(_)) {}
    }

    fn exits(&mut self) -> u8 {
        while !matches!(self.next(), FromWorker::Bye) {}
        self.exit.recv_timeout(HANG).unwrap()
    }
}

fn answer(id: u64, request: u64, line: &str) -> ToWorker {
    let mut answer = InputResponse::new(ExecutionId(id), request);
    answer.value = Some(line.into());
    ToWorker::InputResponse(answer)
}

/// As many threads as asked, each with the answer to its own question, whatever the order of the answers.
#[test]
fn threads_that_ask_at_once_get_each_its_own_answer() {
    const THREADS: usize = 8;
    let mut host = Host::of(|task| {
        thread::scope(|scope| {
            let ask = |number: usize| scope.spawn(move || task.input(format!("{number}?")));
            let asked: Vec<_> = (0..THREADS).map(ask).collect();
            let answers = asked.into_iter().map(|thread| Ok(thread.join().expect("it only asks")?.into()));
            answers.collect::<Result<Vec<Value>, Error>>().map(Value::List)
        })
    });
    for id in [1, 2] {
        host.execute([id]);
        assert!(matches!(host.next(), FromWorker::Started(_)));
        let mut questions: Vec<_> = (0..THREADS)
            .map(|_| match host.next() {
                FromWorker::InputRequest(question) => (question.request, question.prompt),
                other => panic!("{other:?}"),
            })
            .collect();
        questions.sort_by_key(|(number, _)| number.wrapping_mul(7) % 5);
        // One that was never asked, and a second answer, are nobody's.
        host.send([answer(id, u64::MAX, "wrong"), answer(id + 1, questions[0].0, "wrong")]);
        host.send(questions.iter().map(|(number, prompt)| answer(id, *number, prompt)));
        host.send([answer(id, questions[0].0, "wrong")]);
        let expected = (0..THREADS).map(|number| Value::from(format!("{number}?"))).collect();
        assert_eq!(host.value(id), Value::List(expected));
    }
}

#[test]
fn a_cancel_ends_every_thread_that_asks_or_sleeps() {
    let mut host = Host::of(|task| {
        thread::scope(|scope| {
            let waits: [fn(&Task<'_>) -> bool; 4] = [
                |task| matches!(task.input("?"), Err(Error::Stopped)),
                |task| matches!(task.password("?"), Err(Error::Stopped)),
                |task| task.sleep(HANG * 2).is_err(),
                |task| task.input("!").is_err() && task.display(Mime::default()).is_err(),
            ];
            let stopped = waits.map(|wait| scope.spawn(move || wait(task)));
            let all = stopped.into_iter().all(|thread| thread.join().expect("it only waits"));
            if all { Err(Error::Stopped) } else { Ok("not all stopped".into()) }
        })
    });
    host.execute([1]);
    assert!(matches!(host.next(), FromWorker::Started(_)));
    for _ in 0..3 {
        assert!(matches!(host.next(), FromWorker::InputRequest(_)));
    }
    host.send([ToWorker::Cancel(Cancel::new(ExecutionId(1)))]);
    assert_eq!(host.fails(1).kind, ErrorKind::Cancelled);
}

/// One runs, as many wait as may, and one more is refused; and all of them before the first is begun.
#[test]
fn a_shutdown_is_heard_however_many_wait() {
    for held in [true, false] {
        let mut host = Host::of(move |task| {
            if held {
                task.sleep(HANG * 2)?;
            }
            Ok(Value::None)
        });
        host.execute([1]);
        if held {
            assert!(matches!(host.next(), FromWorker::Started(_)));
        }
        host.execute(2..=18);
        if held {
            let (before, end) = host.until_the_end_of(18);
            assert!(matches!(&before[..], [FromWorker::Started(_)]), "only this is refused: {before:?}");
            assert!(matches!(end, FromWorker::Error(error) if error.kind == ErrorKind::Request));
        }
        host.send([ToWorker::Shutdown(Shutdown::new())]);
        if held {
            let (before, end) = host.until_the_end_of(1);
            assert!(matches!(end, FromWorker::Error(error) if error.kind == ErrorKind::Cancelled));
            assert!(before.is_empty(), "what waits is dropped without an answer: {before:?}");
            assert!(matches!(host.next(), FromWorker::Bye));
            assert_eq!(host.exit.recv_timeout(HANG), Ok(0));
        } else {
            assert_eq!(host.exits(), 0);
        }
    }
}

#[test]
fn those_that_wait_run_in_their_order_and_can_be_cancelled_before() {
    let mut ran = Vec::new();
    let mut host = Host::of(move |task| {
        task.input("go?")?;
        ran.push(Value::from(task.id().to_string()));
        Ok(Value::List(ran.clone()))
    });
    host.execute(1..=3);
    assert!(matches!(host.next(), FromWorker::Started(_)));
    let FromWorker::InputRequest(first) = host.next() else { panic!("no question") };
    host.is_there();
    host.send([ToWorker::Cancel(Cancel::new(ExecutionId(2)))]);
    assert!(matches!(host.next(), FromWorker::CancelAck(ack) if ack.hit));
    host.send([answer(1, first.request, "")]);
    assert_eq!(host.value(1), Value::List(vec!["1".into()]));
    assert_eq!(host.fails(2).kind, ErrorKind::Cancelled);
    assert!(matches!(host.next(), FromWorker::Started(_)));
    let FromWorker::InputRequest(third) = host.next() else { panic!("no question") };
    host.send([answer(3, third.request, "")]);
    assert_eq!(host.value(3), Value::List(vec!["1".into(), "3".into()]));
}

/// What panics again and again when it is dropped.
struct Endless;

impl Drop for Endless {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

#[test]
fn a_panic_is_an_error_of_the_code_whatever_its_payload_does() {
    let mut host = Host::of(|task| match task.id().0 {
        1 => panic!("number {}", 1),
        2 => panic_any(Endless),
        _ => Ok("still here".into()),
    });
    host.execute(1..=3);
    for (id, message) in [(1, "number 1"), (2, "a panic without a text")] {
        let error = host.fails(id);
        let exception = error.exception.unwrap();
        assert_eq!((exception.type_name.as_str(), exception.message.as_str()), ("panic", message));
    }
    assert_eq!(host.value(3), "still here".into());
}

/// A prompt that was not sent would be waited for, for ever; a display that was not sent would be missed by nobody.
#[test]
fn what_fits_in_no_frame_is_an_error_of_the_code() {
    let long = || "x".repeat(FRAME_LEN_MAX + 1);
    let mut host = Host::of(move |task| match task.id().0 {
        1 => task.input(long()).map(|_line| Value::None),
        2 => task.display(Mime(vec![("text/plain".into(), MimeData::Text(long()))])).map(|()| Value::None),
        3 => Ok(long().into()),
        _ => Ok("still here".into()),
    });
    host.execute(1..=4);
    for id in 1..=3 {
        let exception = host.fails(id).exception.unwrap();
        assert_eq!(exception.type_name, "ValueTooLarge", "{id}: {}", exception.message);
    }
    assert_eq!(host.value(4), "still here".into());
}
