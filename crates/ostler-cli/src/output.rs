//! The program's stdout and stderr: one thread writes both, in the order in which things were said.
//!
//! A reader that does not read blocks this thread and nothing else: the queue to it fills, the events of the
//! executions are not taken, and their workers wait. Signals are still heard.

use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd,
    thread,
};

use bytes::Bytes;
use ostler::Stream;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{bar::Bar, exit::Exit};

/// Writes that may wait; a chunk of output is at most what one read of a pipe brings.
const QUEUE: usize = 64;

/// The program's stdout and stderr. Clones write to the same.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    queue: mpsc::Sender<Piece>,
    broken: watch::Receiver<Option<Exit>>,
}

/// Something for the writing thread.
#[derive(Debug)]
enum Piece {
    Write {
        to: Stream,
        data: Bytes,
    },
    /// Shows a bar over so many steps.
    Bar {
        steps: u64,
    },
    /// So many steps of the bar are done; what runs now.
    Step {
        steps: u64,
        message: String,
    },
    /// The bar goes.
    BarDone,
    Flush(oneshot::Sender<()>),
}

impl Console {
    /// Starts the writing thread. It ends with the last clone.
    pub(crate) fn start() -> io::Result<Self> {
        let (queue, pieces) = mpsc::channel(QUEUE);
        let (gone, broken) = watch::channel(None);
        let writer = Writer { pieces, gone, bar: None };
        thread::Builder::new().name("output".into()).spawn(move || writer.run())?;
        Ok(Self { queue, broken })
    }

    /// Writes bytes as they are. Waits while the reader of the stream is behind.
    pub(crate) async fn write(&self, to: Stream, data: impl Into<Bytes>) {
        self.tell(Piece::Write { to, data: data.into() }).await;
    }

    /// Writes a line of the program's own to stderr.
    pub(crate) async fn say(&self, line: impl AsRef<str>) {
        self.write(Stream::Stderr, format!("{}\n", line.as_ref())).await;
    }

    /// Shows a progress bar on the terminal, below all lines.
    pub(crate) async fn bar(&self, steps: u64) {
        self.tell(Piece::Bar { steps }).await;
    }

    /// Moves the progress bar, and names what runs.
    pub(crate) async fn step(&self, steps: u64, message: String) {
        self.tell(Piece::Step { steps, message }).await;
    }

    /// Takes the progress bar away.
    pub(crate) async fn bar_done(&self) {
        self.tell(Piece::BarDone).await;
    }

    /// Waits until everything said before is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.tell(Piece::Flush(done)).await;
        // An error means that the thread has ended: nothing is left to write.
        let _ = written.await;
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.broken().is_some()
    }

    /// Why nobody has what was printed, as the program ends for it: it has no reader, or cannot be written.
    pub(crate) fn broken(&self) -> Option<Exit> {
        *self.broken.borrow()
    }

    /// Resolves when nobody reads stdout any more; never, while somebody does.
    pub(crate) async fn closed(&self) {
        let mut broken = self.broken.clone();
        if broken.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn tell(&self, piece: Piece) {
        // The thread ends with the last sender, so it is there.
        let _ = self.queue.send(piece).await;
    }
}

/// Whether the program may colour what it writes to this stream.
pub(crate) fn colours(on: Stream) -> bool {
    let no = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal(on) && !no("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether this stream is a terminal.
pub(crate) fn is_terminal(stream: Stream) -> bool {
    match stream {
        Stream::Stdout => io::stdout().is_terminal(),
        Stream::Stderr => io::stderr().is_terminal(),
    }
}

/// Whether what inherits standard input shares the terminal of this program, and its keys: as the library has it.
pub(crate) fn is_terminal_shared() -> bool {
    io::stdin().is_terminal() || is_terminal(Stream::Stdout) || is_terminal(Stream::Stderr)
}

/// The writing thread.
struct Writer {
    pieces: mpsc::Receiver<Piece>,
    gone: watch::Sender<Option<Exit>>,
    bar: Option<Bar>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(QUEUE);
        let mut writes = Vec::new();
        while self.pieces.blocking_recv_many(&mut batch, QUEUE) > 0 {
            for piece in batch.drain(..) {
                if let Piece::Write { to, data } = piece {
                    writes.push((to, data));
                } else {
                    self.write_all(&mut writes);
                    self.take(piece);
                }
            }
            self.write_all(&mut writes);
        }
    }

    /// Writes what is there at once, so that the bar is taken away once for all of it.
    fn write_all(&mut self, writes: &mut Vec<(Stream, Bytes)>) {
        if writes.is_empty() {
            return;
        }
        let bar = self.bar.take();
        let mut write = || writes.drain(..).for_each(|(to, data)| self.write(to, &data));
        match &bar {
            Some(bar) => bar.aside(write),
            None => write(),
        }
        self.bar = bar;
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Write { to, data } => self.write(to, &data),
            Piece::Bar { steps } => self.bar = Some(Bar::new(steps)),
            Piece::Step { steps, message } => {
                if let Some(bar) = &mut self.bar {
                    bar.step(steps, message);
                }
            }
            Piece::BarDone => {
                if let Some(mut bar) = self.bar.take() {
                    bar.hide();
                }
            }
            Piece::Flush(done) => {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
    }

    fn write(&self, to: Stream, data: &[u8]) {
        let written = match to {
            Stream::Stdout if self.gone.borrow().is_some() => return,
            Stream::Stdout => write_all(io::stdout(), data),
            // Whoever closed stderr does not want to hear about it.
            Stream::Stderr => return write_all(io::stderr(), data).unwrap_or_default(),
        };
        if let Err(error) = written {
            let mut exit = Exit::OutputClosed;
            if error.kind() != io::ErrorKind::BrokenPipe {
                exit = Exit::Failed;
                let said = format!("ostler: cannot write to standard output: {error}\n");
                write_all(io::stderr(), said.as_bytes()).unwrap_or_default();
            }
            // Whatever the error is, nobody gets what is printed from here on.
            self.gone.send_replace(Some(exit));
        }
    }
}

/// Writes all of it at once: std would keep back the end of a line that is not finished.
fn write_all(to: impl AsFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(&to, data) {
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            // Somebody who shares the terminal made it non-blocking; that is no reason to lose output.
            Err(Errno::AGAIN) => {
                // What goes wrong here goes wrong in the next write too.
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
