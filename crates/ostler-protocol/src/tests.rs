//! Properties of the whole: whatever is encoded decodes, and whatever comes is survived.

mod documented;
mod faults;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::sample::{Sample, Source};
use super::{
    Codec, DecodeError, Decoder, EncodeError, ExecutionId, FRAME_LEN_MAX, FromWorker, Output, Started,
    Stream, ToWorker, Value,
};

const CODECS: [Codec; 2] = [Codec::MessagePack, Codec::Json];

/// The payload of the one frame in `stream`.
fn payload(stream: &[u8]) -> Bytes {
    let mut decoder = Decoder::new(FRAME_LEN_MAX);
    decoder.buffer().extend_from_slice(stream);
    let payload = decoder.next().unwrap().unwrap();
    assert_eq!(decoder.pending(), 0);
    payload
}

fn to_worker(codec: Codec, message: &ToWorker) -> Bytes {
    let mut frame = BytesMut::new();
    codec.encode(message, &mut frame).unwrap();
    payload(&frame)
}

fn from_worker(codec: Codec, message: &FromWorker) -> Bytes {
    let mut frame = BytesMut::new();
    codec.encode_from_worker(message, &mut frame).unwrap();
    payload(&frame)
}

/// Every message in both directions, as payloads.
fn payloads(codec: Codec, seed: u64) -> Vec<Bytes> {
    let to = ToWorker::samples(&mut Source::new(seed));
    let from = FromWorker::samples(&mut Source::new(seed));
    let to = to.iter().map(|message| to_worker(codec, message));
    to.chain(from.iter().map(|message| from_worker(codec, message))).collect()
}

/// Decodes in both directions: neither may panic.
fn decode_both(
    codec: Codec,
    payload: &Bytes,
) -> (Result<FromWorker, DecodeError>, Result<ToWorker, DecodeError>) {
    (codec.decode(payload.clone()), codec.decode_to_worker(payload.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// A2: both codecs, both directions, every message.
    #[test]
    fn every_message_comes_back_as_it_was_sent(seed: u64) {
        for codec in CODECS {
            for message in ToWorker::samples(&mut Source::new(seed)) {
                prop_assert_eq!(codec.decode_to_worker(to_worker(codec, &message)), Ok(message));
            }
            for message in FromWorker::samples(&mut Source::new(seed)) {
                prop_assert_eq!(codec.decode(from_worker(codec, &message)), Ok(message));
            }
        }
    }

    /// A1: what is written is MessagePack as another implementation writes it, and starts with the type.
    #[test]
    fn both_codecs_say_the_same_and_others_read_it(seed: u64) {
        for (packed, json) in payloads(Codec::MessagePack, seed).iter().zip(payloads(Codec::Json, seed)) {
            let value: Value = rmp_serde::from_slice(packed).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Value>(&json).unwrap(), &value);
            prop_assert_eq!(&rmp_serde::to_vec(&value).unwrap(), packed);
            prop_assert_eq!(value.as_map().unwrap()[0].0.as_str(), Some("type"));
        }
    }

    #[test]
    fn values_survive_the_documents_of_others(seed: u64) {
        let value = Value::sample(&mut Source::new(seed));
        let json = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), &value);
    }

    /// P12.
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        for codec in CODECS {
            drop(decode_both(codec, &Bytes::from(bytes.clone())));
        }
        let mut decoder = Decoder::new(1 << 16);
        decoder.buffer().extend_from_slice(&bytes);
        while let Ok(Some(frame)) = decoder.next() {
            drop(decode_both(Codec::MessagePack, &frame));
        }
    }

    /// P12: noise dies at its first byte; a right message with a few wrong bytes reaches every corner.
    #[test]
    fn damaged_messages_are_survived(seed: u64) {
        let mut source = Source::new(seed);
        for codec in CODECS {
            for payload in payloads(codec, seed) {
                let mut bytes = payload.to_vec();
                for _ in 0..=source.below(3) {
                    let at = source.below(bytes.len());
                    match source.below(4) {
                        0 => bytes[at] = source.next().to_be_bytes()[0],
                        1 => bytes[at] ^= 1 << source.below(8),
                        2 => bytes.insert(at, source.next().to_be_bytes()[0]),
                        _ => drop(bytes.remove(at)),
                    }
                }
                drop(decode_both(codec, &Bytes::from(bytes)));
            }
        }
    }
}

fn output(data: Vec<u8>) -> FromWorker {
    Output::new(1, Stream::Stdout, 0_u64, data).into()
}

/// A3.
#[test]
fn data_of_every_size_arrives_exact() {
    for len in [0, 1, 65_535, 65_536, 65_537, 100_000, 1 << 20] {
        for codec in CODECS {
            let data: Vec<_> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let message = output(data);
            assert_eq!(codec.decode(from_worker(codec, &message)), Ok(message), "{codec} {len}");
        }
    }
}

/// A11: the last byte that fits, and the first that does not.
#[test]
fn a_message_past_the_limit_is_refused_and_leaves_nothing() {
    let around = from_worker(Codec::MessagePack, &output(vec![0; 1 << 20])).len() - (1 << 20);
    let fits = from_worker(Codec::MessagePack, &output(vec![7; FRAME_LEN_MAX - around]));
    assert_eq!(fits.len(), FRAME_LEN_MAX);
    let mut out = BytesMut::from("before");
    let error = Codec::MessagePack.encode_from_worker(&output(vec![7; FRAME_LEN_MAX - around + 1]), &mut out);
    assert_eq!(error, Err(EncodeError::TooLong { len: FRAME_LEN_MAX + 1, limit: FRAME_LEN_MAX }));
    assert_eq!(out, b"before"[..]);
}

/// A small piece is copied, so that it does not keep the block it came in.
#[test]
fn large_output_shares_the_frame_and_small_output_does_not() {
    for (len, shared) in [(4095, false), (4096, true), (65_536, true)] {
        let payload = from_worker(Codec::MessagePack, &output(vec![7; len]));
        let Ok(FromWorker::Output(output)) = Codec::MessagePack.decode(payload.clone()) else {
            panic!("an output was encoded");
        };
        assert_eq!(payload.as_ptr_range().contains(&output.data.as_ptr()), shared, "{len} bytes");
        assert_eq!(output.data.len(), len);
    }
}

/// A frame in a mailbox is moved several times.
#[test]
fn messages_are_small_enough_to_move() {
    for (name, size, limit) in [
        ("FromWorker", size_of::<FromWorker>(), 192),
        ("ToWorker", size_of::<ToWorker>(), 192),
        ("Value", size_of::<Value>(), 40),
    ] {
        assert!(
            size <= limit,
            "`{name}` takes {size} bytes, more than {limit}: box rare fields of its largest message"
        );
    }
}

#[test]
fn every_message_about_an_execution_says_which() {
    let mut source = Source::new(3);
    let about = |payload: Bytes| rmp_serde::from_slice::<Value>(&payload).unwrap().get("id").cloned();
    for message in FromWorker::samples(&mut source) {
        let id = message.execution_id().map(|id| Value::from(id.to_string()));
        assert_eq!(about(from_worker(Codec::MessagePack, &message)), id, "{}", message.type_name());
    }
    for message in ToWorker::samples(&mut source) {
        let id = message.execution_id().map(|id| Value::from(id.to_string()));
        assert_eq!(about(to_worker(Codec::MessagePack, &message)), id, "{}", message.type_name());
    }
    assert_eq!(FromWorker::from(Started::new(9)).execution_id(), Some(ExecutionId(9)));
}
