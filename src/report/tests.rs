//! What a report keeps of output that is longer than it may be.

use bytes::Bytes;

use super::{Collector, Report};
use crate::{
    outcome::{Event, Outcome},
    protocol::{ExecutionId, Stream},
};

/// A report of so many bytes that tell their place, printed in pieces of `piece` bytes.
async fn report(limit: usize, disk: u64, printed: usize, piece: usize) -> (Report, Vec<u8>) {
    let all: Vec<u8> = (0..printed).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut collector = Collector::new(limit, disk);
    for data in all.chunks(piece) {
        let data = Bytes::copy_from_slice(data);
        collector.take(Event::Output { stream: Stream::Stdout, data }).await;
    }
    (collector.finish(ExecutionId(1), None, Outcome::Completed(Box::default())), all)
}

#[tokio::test]
async fn what_fits_is_kept_whole_and_has_no_tail() {
    for printed in [0, 1, 599, 600] {
        let (report, all) = report(800, 0, printed, 7).await;
        assert_eq!(report.stdout, all);
        assert_eq!((report.dropped, report.tail(Stream::Stdout).len()), (0, 0), "{printed}");
        assert_eq!(report.printed(Stream::Stdout), printed as u64);
    }
}

/// The beginning and the end are kept, and each byte between them is counted.
#[tokio::test]
async fn of_more_the_beginning_and_the_end_are_kept() {
    for (printed, piece) in [(601, 7), (650, 650), (5_000, 1), (5_000, 333), (100_000, 100_000)] {
        let (report, all) = report(800, 0, printed, piece).await;
        let tail = report.tail(Stream::Stdout);
        assert_eq!(report.stdout, all[..600]);
        assert_eq!(*tail, all[printed - tail.len()..]);
        assert_eq!(tail.len(), (printed - 600).min(100), "{printed} in pieces of {piece}");
        assert_eq!(report.dropped, (printed - 600 - tail.len()) as u64);
        let text = report.stdout_text();
        assert_eq!(text.contains("bytes left out"), report.dropped > 0, "{text}");
        assert!(report.stdout.len() + tail.len() <= 800);
    }
}

/// Every byte is where it was, whichever part holds it; those that were dropped are an error.
#[tokio::test]
async fn what_is_spilled_can_be_paged() {
    // More than one piece on disk, all of it; a part of it; a limit on a piece's edge.
    for (disk, printed) in [(u64::MAX, 3 << 20), (1 << 20, 3 << 20), (1_000, 5_000), (u64::MAX, 601)] {
        let (report, all) = report(800, disk, printed, 9_999).await;
        let mut at = 0;
        let mut dropped = 0;
        while at < printed {
            match report.page(Stream::Stdout, at as u64, 70_000) {
                Ok(page) => {
                    assert!(!page.is_empty() && page == all[at..at + page.len()], "at {at} of {printed}");
                    at += page.len();
                }
                Err(error) => {
                    assert!(error.to_string().contains("was dropped"), "{error}");
                    (at, dropped) = (at + 1, dropped + 1);
                }
            }
        }
        assert_eq!(report.dropped, dropped, "{disk} of {printed}");
        assert_eq!(dropped > 0, disk.saturating_add(700) < printed as u64);
        for beyond in [printed as u64, u64::MAX] {
            assert!(report.page(Stream::Stdout, beyond, 10).unwrap().is_empty());
        }
        assert!(report.page(Stream::Stderr, 0, 10).unwrap().is_empty());
    }
}

#[tokio::test]
async fn both_streams_share_the_room_and_a_late_word_comes_behind_what_was_cut() {
    let mut collector = Collector::new(800, 0);
    for (stream, len) in [(Stream::Stdout, 700), (Stream::Stderr, 50), (Stream::Stdout, 10)] {
        let data = Bytes::from(vec![b'x'; len]);
        collector.take(Event::Output { stream, data }).await;
    }
    let report = collector.finish(ExecutionId(1), None, Outcome::Completed(Box::default()));
    assert_eq!((report.stdout.len(), report.tail(Stream::Stdout).len()), (600, 100));
    assert_eq!((report.stderr.len(), report.tail(Stream::Stderr).len()), (0, 50));
    assert_eq!(report.dropped, 10);
    assert_eq!(report.stderr_text(), "x".repeat(50));
}
