//! The terminal: one picture for each snapshot, and the keys.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use ostler::monitor::Snapshot;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use crate::top::view;

/// How soon a key, a snapshot or a signal is noticed.
const TICK: Duration = Duration::from_millis(100);

/// Shows snapshots until `q` or Ctrl-C is typed, the program is told to stop, or the pool ends: then, why.
pub(super) fn show(
    snapshots: &Receiver<anyhow::Result<Snapshot>>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<String>> {
    let mut terminal = ratatui::try_init()?;
    let ended = draw(&mut terminal, snapshots, stop);
    ratatui::try_restore()?;
    ended
}

fn draw(
    terminal: &mut ratatui::DefaultTerminal,
    snapshots: &Receiver<anyhow::Result<Snapshot>>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<String>> {
    let mut latest = Snapshot::default();
    while !stop.load(Relaxed) {
        loop {
            match snapshots.try_recv() {
                Ok(Ok(snapshot)) => latest = snapshot,
                Ok(Err(why)) => return Ok(Some(format!("{why:#}"))),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(Some("the pool has ended".into())),
            }
        }
        terminal.draw(|frame| view::draw(frame, &latest))?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
        {
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(None);
            }
        }
    }
    Ok(None)
}
