//! What a log holds, decided without a task or a clock.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::Logged;
use crate::{
    config::ITEM_MIN,
    json::Characters,
    outcome::{Event, Outcome},
    protocol::Stream,
};

/// Entries that stay, whatever they hold.
const KEPT_MIN: usize = 2;

/// The events of one execution: the first ones, and the newest ones.
#[derive(Debug)]
pub(super) struct Entries {
    /// Numbered from 1.
    head: Vec<Arc<Event>>,
    head_room: usize,
    /// Those behind the gap, with what each takes.
    tail: VecDeque<(Arc<Event>, usize)>,
    tail_len: usize,
    tail_max: usize,
    /// Whether the beginning is complete.
    is_head_full: bool,
    /// The number of the newest event.
    newest: u64,
    /// Bytes of output in what was dropped.
    dropped: u64,
    held: usize,
    /// The beginnings of characters, of stdout and of stderr.
    begun: [Characters; 2],
    ended: Option<(Arc<Outcome>, Duration)>,
}

impl Entries {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            head: Vec::new(),
            head_room: max_bytes / 2,
            tail: VecDeque::new(),
            tail_len: 0,
            tail_max: max_bytes - max_bytes / 2,
            is_head_full: false,
            newest: 0,
            dropped: 0,
            held: 0,
            begun: Default::default(),
            ended: None,
        }
    }

    /// Takes an event, and returns the number of the newest one.
    pub(super) fn push(&mut self, event: Event) -> u64 {
        match event {
            Event::Output { stream, data } => {
                let whole = self.begun[index(stream)].take(&data);
                if !whole.is_empty() {
                    self.insert(Event::Output { stream, data: whole.into() });
                }
            }
            Event::SessionRestored(_)
            | Event::Started { .. }
            | Event::Display(_)
            | Event::Input(_)
            | Event::Notification { .. }
            | Event::Asked(_)
            | Event::Left { .. }
            | Event::Dropped { .. } => self.insert(event),
        }
        self.newest
    }

    /// Takes the outcome, and returns its number.
    pub(super) fn end(&mut self, outcome: Outcome, duration: Duration) -> u64 {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.begun[index(stream)].finish();
            if !rest.is_empty() {
                self.insert(Event::Output { stream, data: rest.into() });
            }
        }
        self.ended = Some((Arc::new(outcome), duration));
        self.newest + 1
    }

    fn insert(&mut self, event: Event) {
        self.newest += 1;
        let price = event.heap_size() + ITEM_MIN;
        let event = Arc::new(event);
        self.held += price;
        if !self.is_head_full && price <= self.head_room {
            self.head_room -= price;
            self.head.push(event);
            return;
        }
        // Once something did not fit, all that follows comes behind it.
        self.is_head_full = true;
        self.tail_len += price;
        self.tail.push_back((event, price));
        while self.tail_len > self.tail_max && self.tail.len() > KEPT_MIN {
            let Some((dropped, price)) = self.tail.pop_front() else { break };
            self.tail_len -= price;
            self.held -= price;
            self.dropped += dropped.output() as u64;
        }
    }

    /// The entry behind the one of this number.
    pub(super) fn after(&self, after: u64) -> Option<Logged> {
        let head = self.head.len() as u64;
        let tail_first = self.newest + 1 - self.tail.len() as u64;
        let seq = after.saturating_add(1);
        if let Some(event) = place(seq, 1).and_then(|at| self.head.get(at)) {
            return Some(Logged::Event { seq, event: Arc::clone(event) });
        }
        if seq > head && seq < tail_first {
            return Some(Logged::Missed { first: seq, last: tail_first - 1, bytes: self.dropped });
        }
        if let Some((event, _)) = place(seq, tail_first).and_then(|at| self.tail.get(at)) {
            return Some(Logged::Event { seq, event: Arc::clone(event) });
        }
        let (outcome, duration) = self.ended.as_ref()?;
        // A place behind the end is at the end.
        let seq = self.newest + 1;
        (after < seq).then(|| Logged::Ended { seq, outcome: Arc::clone(outcome), duration: *duration })
    }

    pub(super) fn outcome(&self) -> Option<(Arc<Outcome>, Duration)> {
        self.ended.clone()
    }

    pub(super) fn held(&self) -> usize {
        self.held + size_of::<Self>()
    }
}

fn place(seq: u64, first: u64) -> Option<usize> {
    usize::try_from(seq.checked_sub(first)?).ok()
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Completion;

    fn output(text: &str) -> Event {
        Event::Output { stream: Stream::Stdout, data: text.to_owned().into() }
    }

    fn completed() -> Outcome {
        Outcome::Completed(Box::<Completion>::default())
    }

    /// Everything behind a number, in words.
    fn told(entries: &Entries, mut after: u64) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(entry) = entries.after(after) {
            after = entry.seq();
            told.push(match entry {
                Logged::Event { seq, event } => {
                    let Event::Output { data, .. } = &*event else { panic!("{event:?}") };
                    format!("{seq} {}", String::from_utf8_lossy(data))
                }
                Logged::Missed { first, last, bytes } => format!("missed {first} to {last}, {bytes} bytes"),
                Logged::Ended { seq, .. } => format!("{seq} ended"),
            });
        }
        told
    }

    #[test]
    fn a_reader_begins_anywhere_and_hears_each_event_once() {
        let mut entries = Entries::new(1 << 20);
        for text in ["a", "b", "c"] {
            entries.push(output(text));
        }
        assert_eq!(told(&entries, 0), ["1 a", "2 b", "3 c"]);
        assert_eq!(told(&entries, 2), ["3 c"]);
        assert_eq!(told(&entries, 3), [""; 0]);
        assert_eq!(entries.end(completed(), Duration::ZERO), 4);
        assert_eq!(told(&entries, 2), ["3 c", "4 ended"]);
        assert_eq!((told(&entries, 4), told(&entries, u64::MAX)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_does_not_fit_falls_out_of_the_middle_and_is_counted() {
        // Two events at each end.
        let mut entries = Entries::new(4 * (ITEM_MIN + 10));
        for number in 1..=9 {
            assert_eq!(entries.push(output(&format!("{number:010}"))), number);
        }
        let [first, second] = ["1 0000000001", "2 0000000002"];
        let [last, end] = ["8 0000000008", "9 0000000009"];
        assert_eq!(told(&entries, 0), [first, second, "missed 3 to 7, 50 bytes", last, end]);
        assert_eq!(told(&entries, 5), ["missed 6 to 7, 50 bytes", last, end]);
        assert_eq!(told(&entries, 7), [last, end]);
        assert!(entries.held() < 4 * (ITEM_MIN + 10) + size_of::<Entries>() + 1);
    }

    #[test]
    fn the_newest_stay_whatever_they_hold() {
        let mut entries = Entries::new(0);
        for text in ["a", "b", "c"] {
            entries.push(output(text));
        }
        assert_eq!(told(&entries, 0), ["missed 1 to 1, 1 bytes", "2 b", "3 c"]);
    }

    #[test]
    fn a_character_that_comes_in_two_pieces_is_in_one_event() {
        let mut entries = Entries::new(1 << 20);
        let euro = "€".as_bytes();
        let part = |data: &'static [u8]| Event::Output { stream: Stream::Stdout, data: data.into() };
        assert_eq!(entries.push(part(b"a\xE2")), 1);
        assert_eq!(entries.push(part(b"\x82")), 1, "nothing whole came");
        assert_eq!(entries.push(part(b"\xAC")), 2);
        entries.push(part(b"\xE2"));
        entries.end(completed(), Duration::ZERO);
        assert_eq!(euro.len(), 3);
        assert_eq!(told(&entries, 0), ["1 a", "2 €", "3 \u{FFFD}", "4 ended"]);
    }
}
