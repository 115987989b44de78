//! Lines of standard input for code that asks for them, one question at a time.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
    thread,
};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::sync::{mpsc, oneshot};

/// Reads standard input when it is asked to. Clones read the same.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    questions: mpsc::Sender<Question>,
}

/// Somebody waits for a line.
#[derive(Debug)]
struct Question {
    password: bool,
    answer: oneshot::Sender<Option<String>>,
}

impl Input {
    /// Starts the thread that reads. It ends with the last clone, or with the program: a read can't be called off.
    pub(crate) fn start() -> io::Result<Self> {
        let (questions, asked) = mpsc::channel(16);
        thread::Builder::new().name("input".into()).spawn(move || read_lines(asked))?;
        Ok(Self { questions })
    }

    /// The next line, without its end; `None` at the end of the input. A line that arrives after the future was
    /// dropped is the answer to the next question.
    pub(crate) async fn line(&self, password: bool) -> Option<String> {
        let (answer, line) = oneshot::channel();
        self.questions.send(Question { password, answer }).await.ok()?;
        line.await.ok().flatten()
    }
}

fn read_lines(mut asked: mpsc::Receiver<Question>) {
    let mut kept = None;
    while let Some(question) = asked.blocking_recv() {
        if question.answer.is_closed() {
            continue;
        }
        let line = kept.take().unwrap_or_else(|| read_line(question.password));
        if let Err(line) = question.answer.send(line) {
            kept = Some(line);
        }
    }
}

fn read_line(password: bool) -> Option<String> {
    let _hidden = if password { Hidden::start() } else { None };
    let mut line = Vec::new();
    match io::stdin().lock().read_until(b'\n', &mut line) {
        Err(_) | Ok(0) => return None,
        Ok(_) => {}
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    Some(
        String::from_utf8(line)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// How the terminal was before it was changed.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Remembers how the terminal is, for a program that lets an editor change it.
pub(crate) fn remember_terminal() {
    if let Ok(now) = termios::tcgetattr(io::stdin()) {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
    }
}

/// The terminal does not show what is typed while this lives.
struct Hidden;

impl Hidden {
    fn start() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        remember_terminal();
        let mut hidden = termios::tcgetattr(&stdin).ok()?;
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        termios::tcsetattr(&stdin, OptionalActions::Drain, &hidden).ok()?;
        Some(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Puts the terminal back as it was. Also for the end of the program, which does not wait for an answer.
pub(crate) fn restore_terminal() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &before);
        let _ = io::stderr().flush();
    }
}
