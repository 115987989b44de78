//! One picture of a pool.

use ostler::monitor::{SessionLine, Snapshot};
use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Borders, Paragraph, Row, Table},
};

use crate::top::text;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, pool: &Snapshot) {
    if pool.version == 0 && pool.pid == 0 {
        frame.render_widget(Paragraph::new("waiting for the pool …"), frame.area());
        return;
    }
    let head = text::head(pool);
    let lines = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let [top, sessions, events, keys] = Layout::vertical([
        Constraint::Length(lines(head.len())),
        Constraint::Length(lines(pool.sessions.len() + 2).max(4)),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let colour = if pool.failed.is_some() { bold.fg(Color::Red) } else { bold };
    let head = head.into_iter().enumerate().map(|(at, line)| match at {
        0 => Line::styled(line, colour),
        _ => Line::from(line),
    });
    frame.render_widget(Paragraph::new(head.collect::<Vec<_>>()), top);
    let rows = pool.sessions.iter().map(|session| Row::new(text::row(session)).style(style(session)));
    let widths = text::COLUMNS.map(|(_, width)| Constraint::Min(width));
    let table = Table::new(rows, widths)
        .header(Row::new(text::COLUMNS.map(|(name, _)| name)).style(bold))
        .block(Block::new().borders(Borders::TOP));
    frame.render_widget(table, sessions);
    let lines: Vec<Line<'_>> = text::events(pool).map(Line::from).collect();
    frame.render_widget(
        Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title(" events ")),
        events,
    );
    frame.render_widget(Paragraph::new("q quits").style(Style::new().add_modifier(Modifier::DIM)), keys);
}

fn style(session: &SessionLine) -> Style {
    match session.state.as_str() {
        _ if session.unresponsive => Style::new().fg(Color::Yellow),
        "busy" => Style::new().fg(Color::Green),
        "terminated" => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn picture(pool: &Snapshot) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 16)).unwrap();
        terminal.draw(|frame| draw(frame, pool)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_picture_has_the_pool_the_sessions_and_the_events() {
        let picture = picture(&text::tests::sample());
        for expected in [
            "pool of process 77, seen for 90.0 s",
            "running   p50 12.0 ms, p90 100.0 ms, p99 1.5 s, max 2.0 s",
            "SLOT GEN  PID      STATE",
            "1    3    4242     busy           61.5 s   7      3.0 MiB    100%   unresponsive signal 9, SIGKILL",
            "60.0 s ago  slot 1: worker 4242 started, generation 3",
            "q quits",
        ] {
            assert!(picture.contains(expected), "no {expected:?} in\n{picture}");
        }
    }

    #[test]
    fn before_the_first_snapshot_it_says_so() {
        assert!(picture(&Snapshot::default()).contains("waiting for the pool …"));
    }
}
