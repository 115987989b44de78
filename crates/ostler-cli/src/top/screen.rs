//! The terminal: one picture for each snapshot, and the keys.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use ostler::monitor::Snapshot;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::top::view;

/// How soon a key, a snapshot or a signal is noticed.
const TICK: Duration = Duration::from_millis(100);

/// Why nothing is shown any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody typed so, or the program was told to stop.
    Left,
    /// The terminal is gone.
    Gone,
    /// The pool ended, or cannot be understood: how.
    Pool(String),
}

/// Shows snapshots until that.
pub(super) fn show(snapshots: &Receiver<anyhow::Result<Snapshot>>, stop: &AtomicBool) -> anyhow::Result<End> {
    let keys = keys()?;
    let mut terminal = ratatui::try_init()?;
    let ended = draw(&mut terminal, &keys, snapshots, stop);
    let restored = ratatui::try_restore();
    if waits(&keys, Duration::ZERO)? == Waits::Gone {
        std::mem::forget(terminal); // its end would be told to the terminal
        return Ok(End::Gone); // with whatever went wrong by that
    }
    restored?;
    ended
}

fn draw(
    terminal: &mut ratatui::DefaultTerminal,
    keys: &OwnedFd,
    snapshots: &Receiver<anyhow::Result<Snapshot>>,
    stop: &AtomicBool,
) -> anyhow::Result<End> {
    let mut latest = Snapshot::default();
    while !stop.load(Relaxed) {
        loop {
            match snapshots.try_recv() {
                Ok(Ok(snapshot)) => latest = snapshot,
                Ok(Err(why)) => return Ok(End::Pool(format!("{why:#}"))),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(End::Pool("the pool has ended".into())),
            }
        }
        terminal.draw(|frame| view::draw(frame, &latest))?;
        match waits(keys, TICK)? {
            Waits::Gone => break,
            Waits::Nothing => {}
            Waits::Keys if ends()? => break,
            Waits::Keys => {}
        }
    }
    Ok(End::Left)
}

/// Whether what was typed ends the program.
fn ends() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What is to be read from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nothing,
    Keys,
    /// Never again anything: its window is closed.
    Gone,
}

/// Waits for keys. Not with the library, which never returns once the terminal is gone.
fn waits(keys: &OwnedFd, limit: Duration) -> io::Result<Waits> {
    let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    let mut polled = [PollFd::new(keys, PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&limit)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Waits::Nothing),
        Err(error) => return Err(error.into()),
    }
    let found = polled[0].revents();
    Ok(match found {
        _ if found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => Waits::Gone,
        _ if found.is_empty() => Waits::Nothing,
        _ => Waits::Keys,
    })
}

/// Where the library reads keys.
fn keys() -> io::Result<OwnedFd> {
    let input = rustix::stdio::stdin();
    if rustix::termios::isatty(input) {
        return Ok(rustix::io::dup(input)?);
    }
    File::open("/dev/tty").map(OwnedFd::from)
}
