//! What the session shows, and where the cursor is: a prompt begins a line.

use bytes::Bytes;
use ostler::Stream;

use crate::output::{self, Console};

/// Most of an unfinished line that is remembered.
const REST_MAX: usize = 1024;

/// The terminal, or what stands for it.
#[derive(Debug)]
pub(crate) struct Screen {
    console: Console,
    /// What stands in the line of the cursor.
    rest: Vec<u8>,
    coloured: bool,
}

impl Screen {
    pub(crate) fn new(console: Console) -> Self {
        Self { console, rest: Vec::new(), coloured: output::colours(Stream::Stderr) }
    }

    /// Resolves when nobody has what is shown any more.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let console = self.console.clone();
        async move { console.closed().await }
    }

    /// Writes what the code prints.
    pub(crate) async fn write(&mut self, to: Stream, data: impl Into<Bytes>) {
        let data = data.into();
        // Only what a terminal shows moves its cursor.
        if output::is_terminal(to) {
            follow(&mut self.rest, &data);
        }
        self.console.write(to, data).await;
    }

    /// Writes a line of our own.
    pub(crate) async fn say(&mut self, text: &str) {
        self.begin_line().await;
        let line = self.line(text);
        self.write(Stream::Stderr, line).await;
    }

    /// A line of our own, as it looks.
    pub(crate) fn line(&self, text: &str) -> String {
        if self.coloured { format!("\x1b[33mostler: {text}\x1b[0m\n") } else { format!("ostler: {text}\n") }
    }

    /// Notes that the terminal shows the key that interrupts.
    pub(crate) fn key_shown(&mut self) {
        if output::is_terminal(Stream::Stdout) {
            self.rest.extend_from_slice(b"^C");
        }
    }

    /// Ends an unfinished line.
    pub(crate) async fn begin_line(&mut self) {
        if !self.rest.is_empty() {
            self.write(Stream::Stdout, "\n").await;
        }
    }

    /// Hands the line of the cursor over to a prompt, which writes it again.
    pub(crate) async fn take_line(&mut self) -> String {
        self.console.flush().await;
        let rest = std::mem::take(&mut self.rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Waits until everything is written.
    pub(crate) async fn flush(&self) {
        self.console.flush().await;
    }
}

/// Keeps what stands in the last line.
fn follow(rest: &mut Vec<u8>, data: &[u8]) {
    match data.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(at) => *rest = data[at + 1..].to_vec(),
        None => rest.extend_from_slice(data),
    }
    rest.truncate(REST_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_cursor_is_known() {
        let mut rest = Vec::new();
        for (data, expected) in
            [("one\ntwo", "two"), (" three", "two three"), ("x\n", ""), ("10%\r20%", "20%")]
        {
            follow(&mut rest, data.as_bytes());
            assert_eq!(rest, expected.as_bytes(), "{data:?}");
        }
    }
}
