//! How a report is gathered while the code runs, within its limit.

use bytes::{Bytes, BytesMut};

use super::{
    Report, Rest,
    spill::{Spill, Spilled},
};
use crate::{
    config::{ITEM_MIN, REPORT_TAIL},
    outcome::{Display, Event, Outcome, SessionRestored},
    protocol::{ExecutionId, Stream},
    request::Label,
};

/// Gathers a report.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Bytes that may still be kept of beginnings and displays.
    room: usize,
    streams: [Kept; 2],
    displays: Vec<Display>,
    restored: Option<Box<SessionRestored>>,
    left: Vec<String>,
    dropped: u64,
    /// Bytes that may still go to disk.
    disk: u64,
}

/// What is kept of one stream.
#[derive(Debug)]
struct Kept {
    head: BytesMut,
    tail: BytesMut,
    /// Bytes of the end that are kept.
    tail_len: usize,
    total: u64,
    spill: Option<Spill>,
}

impl Kept {
    fn new(tail_len: usize) -> Self {
        Self { head: BytesMut::new(), tail: BytesMut::new(), tail_len, total: 0, spill: None }
    }

    /// Keeps the end of `data`. It is cut to its length now and then, not each time.
    fn follow(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(self.tail_len)..];
        self.tail.extend_from_slice(data);
        if self.tail.len() > 2 * self.tail_len {
            drop(self.tail.split_to(self.tail.len() - self.tail_len));
        }
    }

    fn finish(mut self) -> (Bytes, Rest, u64) {
        let excess = self.tail.len().saturating_sub(self.tail_len);
        let tail = self.tail.split_off(excess).freeze();
        let spilled = self.spill.and_then(Spill::finish);
        let on_disk = spilled.as_ref().map_or(self.head.len() as u64, Spilled::end);
        let dropped = (self.total - tail.len() as u64).saturating_sub(on_disk);
        (self.head.freeze(), Rest { total: self.total, tail, spilled }, dropped)
    }
}

impl Collector {
    /// Keeps `limit` bytes in memory, and up to `disk` bytes of what does not fit in files.
    pub(crate) fn new(limit: usize, disk: u64) -> Self {
        let tail_len = REPORT_TAIL.min(limit / 8);
        let streams = [Kept::new(tail_len), Kept::new(tail_len)];
        Self {
            room: limit - 2 * tail_len,
            streams,
            displays: Vec::new(),
            restored: None,
            left: Vec::new(),
            dropped: 0,
            disk,
        }
    }

    /// Takes one event. Waits for the disk, if something goes there.
    pub(crate) async fn take(&mut self, event: Event) {
        match event {
            Event::Output { stream, data } => self.output(stream, data).await,
            Event::SessionRestored(mut news) => {
                // Its worker died before it started it, and it was restored once more.
                if let Some(earlier) = self.restored.take() {
                    *news = news.after(&earlier);
                }
                self.restored = Some(news);
            }
            Event::Display(display) => {
                let held = size_of::<Display>() + display.heap_size();
                let price = held.max(ITEM_MIN);
                if price <= self.room {
                    self.room -= price;
                    self.displays.push(*display);
                } else {
                    self.dropped += display.mime.weight() as u64;
                }
            }
            Event::Dropped { bytes } => self.dropped += bytes,
            Event::Left { what } => self.left = what,
            Event::Started { .. } | Event::Input(_) | Event::Notification { .. } | Event::Asked(_) => {}
        }
    }

    async fn output(&mut self, stream: Stream, mut data: Bytes) {
        let kept = match stream {
            Stream::Stdout => &mut self.streams[0],
            Stream::Stderr => &mut self.streams[1],
        };
        // Once something did not fit, all that follows comes behind it.
        let is_cut = kept.total > kept.head.len() as u64;
        kept.total += data.len() as u64;
        let fits = if is_cut { 0 } else { data.len().min(self.room) };
        self.room -= fits;
        kept.head.extend_from_slice(&data.split_to(fits));
        if data.is_empty() {
            return;
        }
        kept.follow(&data);
        let goes = usize::try_from(self.disk).map_or(data.len(), |disk| data.len().min(disk));
        self.disk -= goes as u64;
        if goes > 0 {
            let start = kept.head.len() as u64;
            kept.spill.get_or_insert_with(|| Spill::new(start)).write(&data[..goes]).await;
        }
    }

    pub(crate) fn finish(self, id: ExecutionId, label: Option<Label>, outcome: Outcome) -> Report {
        let [(stdout, out, out_dropped), (stderr, err, err_dropped)] = self.streams.map(Kept::finish);
        let dropped = self.dropped + out_dropped + err_dropped;
        let (displays, restored, left) = (self.displays, self.restored, self.left);
        Report { id, label, outcome, stdout, stderr, displays, restored, left, dropped, rest: [out, err] }
    }
}
