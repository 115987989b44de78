//! What a recording says, whole, cut short, or of something else.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Channel, MAGIC, Passed, Recording, RecordingError, header, piece_header};
use crate::protocol::{Codec, Execute, ExecutionId, FromWorker, Started, Stream, ToWorker};

fn piece(at: u64, channel: Channel, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    [&piece_header(Duration::from_micros(at), channel, len), data].concat()
}

/// A conversation whose frames are cut in the middle.
fn recorded(codec: Codec) -> Vec<u8> {
    let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
    codec.encode(&ToWorker::Execute(Execute::new(ExecutionId(7), "1+1")), &mut ours).unwrap();
    let started = FromWorker::Started(Started { id: ExecutionId(7) });
    codec.encode_from_worker(&started, &mut theirs).unwrap();
    codec.encode_from_worker(&FromWorker::Bye, &mut theirs).unwrap();
    [
        header(codec, "a-tag"),
        piece(1, Channel::ToWorker, &ours[..5]),
        piece(2, Channel::ToWorker, &ours[5..]),
        piece(3, Channel::Stdout, b"hi"),
        piece(4, Channel::FromWorker, &theirs),
        piece(5, Channel::Missing, b"12"),
        piece(6, Channel::Exit, b"exit code 3"),
    ]
    .concat()
}

fn parse(bytes: Vec<u8>) -> Result<Recording, RecordingError> {
    Recording::parse(Bytes::from(bytes), || "file".into())
}

#[test]
fn a_recording_says_what_passed_and_when_in_either_codec() {
    for codec in [Codec::MessagePack, Codec::Json] {
        let recording = parse(recorded(codec)).unwrap();
        assert_eq!((recording.tag.as_str(), recording.codec), ("a-tag", codec));
        let told: Vec<_> =
            recording.entries.into_iter().map(|entry| (entry.at.as_micros(), entry.what)).collect();
        let [(2, Passed::ToWorker(execute)), rest @ ..] = told.as_slice() else { panic!("{told:?}") };
        assert!(matches!(&**execute, ToWorker::Execute(execute) if execute.code == "1+1"));
        let expected = [
            (3, Passed::Output { stream: Stream::Stdout, data: Bytes::from_static(b"hi") }),
            (4, Passed::FromWorker(Box::new(FromWorker::Started(Started { id: ExecutionId(7) })))),
            (4, Passed::FromWorker(Box::new(FromWorker::Bye))),
            (5, Passed::Missing(12)),
            (6, Passed::Exited("exit code 3".into())),
        ];
        assert_eq!(rest, expected);
    }
}

/// A host that was killed leaves half a piece.
#[test]
fn a_recording_that_is_cut_short_says_what_it_holds() {
    let whole = recorded(Codec::MessagePack);
    let all = parse(whole.clone()).unwrap().entries;
    for len in header(Codec::MessagePack, "a-tag").len()..whole.len() {
        let cut = parse(whole[..len].to_vec()).unwrap().entries;
        assert_eq!(cut, all[..cut.len()], "cut at {len}");
    }
}

/// P15: nothing else is taken for a recording, and another version is refused with both numbers.
#[test]
fn what_is_no_recording_is_refused() {
    for bytes in [Vec::new(), b"ostler".to_vec(), MAGIC.to_vec(), [MAGIC, &[1, 9, 0, 0, 0, 0]].concat()] {
        assert!(matches!(parse(bytes), Err(RecordingError::Foreign { .. })));
    }
    let mut newer = recorded(Codec::Json);
    newer[MAGIC.len()] = 2;
    let refused = parse(newer).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the recording `file` has version 2, this program reads version 1; use the one that wrote it"
    );
}

#[test]
fn a_stream_that_breaks_is_said_once() {
    let noise = [
        header(Codec::Json, ""),
        piece(1, Channel::FromWorker, &[0xFF; 9]),
        piece(2, Channel::FromWorker, b"more"),
    ];
    let entries = parse(noise.concat()).unwrap().entries;
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert!(matches!(&entry.what, Passed::Malformed(_)));
}
