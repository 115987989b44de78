//! What can be read, and what is refused (P15, fault 64).

use super::*;

pub(crate) fn sample(data: &str) -> Checkpoint {
    let manifest = Manifest {
        language: "python".into(),
        version: Some("3.11.7".into()),
        names: vec!["x".into(), "f".into()],
        skipped: vec![("sock".into(), "socket".into(), "cannot pickle".into())],
        imports: vec!["math".into()],
        function_sources: [("f".to_owned(), "def f(): pass\n".to_owned())].into(),
        class_sources: BTreeMap::new(),
    };
    Checkpoint { manifest, data: Bytes::copy_from_slice(data.as_bytes()) }
}

#[test]
fn what_is_written_reads_back_to_the_same() {
    for checkpoint in [sample("the values"), sample("")] {
        let bytes = checkpoint.to_bytes();
        assert_eq!(Checkpoint::from_bytes(bytes.clone()), Ok(checkpoint.clone()));
        assert_eq!(checkpoint.pieces().concat(), bytes);
        assert_eq!((checkpoint.source("f"), checkpoint.source("x")), (Some("def f(): pass\n"), None));
    }
}

/// Every byte, flipped in every bit; every length that is too short, and one that is too long.
#[test]
fn f64_whatever_is_damaged_is_refused() {
    let bytes = sample("the values").to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            let error = Checkpoint::from_bytes(damaged).expect_err("one bit is wrong");
            let expected = match at {
                0..8 => matches!(error, CheckpointError::Foreign { .. }),
                16..28 => matches!(error, CheckpointError::Length { .. }),
                _ => matches!(error, CheckpointError::Checksum { .. }),
            };
            assert!(expected, "byte {at}, bit {bit}: {error}");
        }
        Checkpoint::from_bytes(bytes.slice(..at)).expect_err("it ends too early");
    }
    Checkpoint::from_bytes([&bytes[..], b"!"].concat()).expect_err("it ends too late");
}

/// P15: both numbers are named, and a newer version is not parsed.
#[test]
fn f64_another_version_is_refused_with_both_numbers() {
    let mut bytes = sample("the values").to_bytes().to_vec();
    bytes[11] = 2;
    bytes.truncate(40);
    let error = Checkpoint::from_bytes(bytes).expect_err("it is newer");
    assert_eq!(error, CheckpointError::Version { found: 2, supported: 1 });
    assert_eq!(
        error.to_string(),
        "the checkpoint has format version 2, this host reads version 1; use the host that wrote it"
    );
}

fn last(data: &'static [u8], checksum: &str) -> FromWorker {
    let mut part = CheckpointData::new(crate::protocol::ExecutionId(1), 1_u64, true);
    part.data = Bytes::from_static(data);
    (part.bytes, part.checksum) = (Some(14), Some(checksum.into()));
    FromWorker::CheckpointData(Box::new(part))
}

#[test]
fn parts_are_put_together_and_compared_with_what_the_worker_says_of_them() {
    let gather = |end, checksum: &str| {
        let mut first = CheckpointData::new(crate::protocol::ExecutionId(1), 0_u64, false);
        first.data = Bytes::from_static(b"\x80\x05first");
        let messages = vec![FromWorker::CheckpointData(Box::new(first)), last(end, checksum)];
        Checkpoint::gathered(messages, "python".into(), None)
    };
    let whole = gather(b"second.", "crc32:17f98a6d").expect("all is as it should be");
    assert_eq!(whole.data()[..], b"\x80\x05firstsecond."[..]);
    for (end, checksum) in [(&b"second?"[..], "crc32:17f98a6d"), (b"second", "crc32:17f98a6d")] {
        let error = gather(end, checksum).expect_err("it is damaged");
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
    gather(b"second.", "blake9:11").expect("a checksum that this host does not know says nothing");
}

#[test]
fn what_was_not_saved_is_told_with_what_was_lost() {
    let restored = sample("the values").restored(vec!["x".into()], vec![NameFailure::new("f", "gone")]);
    let lost: Vec<_> = restored.lost.iter().map(|it| (it.name.as_str(), it.reason.as_str())).collect();
    assert_eq!(lost, [("f", "gone"), ("sock", "it was not saved: cannot pickle")]);
}
