//! Properties of the whole: whatever is encoded decodes, and whatever comes is survived.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::sample::Source;
use super::{Codec, Decoder, FRAME_LEN_MAX, FromWorker, ToWorker};

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

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
}
