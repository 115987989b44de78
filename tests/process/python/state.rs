//! The state of a session survives its worker (C7).

use std::time::Duration;

use ostler::{Checkpoint, Codec, Runtime, StateError, Transport, WorkerSpec};

use super::{completed, one, shows};
use crate::support::wait::guarded;

const MADE: &str = "
import math, threading
x = 41
shared = ['a']; alias = shared
def f(y): return x + y
class A:
    def __init__(self, v): self.v = v
    def get(self): return f(self.v)
a = A(1)
lock = threading.Lock()
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_session_goes_on_in_another_process() {
    guarded(async {
        for (transport, codec) in [
            (Transport::Socket, Codec::MessagePack),
            (Transport::Stdio, Codec::MessagePack),
            (Transport::Socket, Codec::Json),
        ] {
            let spec = WorkerSpec::python().transport(transport).codec(codec);
            let first = Runtime::builder(spec.clone()).start().await.unwrap();
            let session = first.session().await.unwrap();
            completed(&session.run(MADE).await.unwrap());
            let saved = session.checkpoint().await.unwrap();
            let skipped: Vec<_> = saved.skipped().collect();
            assert_eq!((skipped[0].name.as_str(), skipped[0].type_name.as_str()), ("lock", "lock"));
            assert_eq!(saved.imports(), ["math", "threading"]);
            assert_eq!(saved.source("f"), Some("def f(y): return x + y\n"));
            assert_eq!(saved.language(), "python");
            let bytes = saved.to_bytes();
            first.shutdown(Duration::ZERO).await;

            let second = Runtime::builder(spec).start().await.unwrap();
            let saved = Checkpoint::from_bytes(bytes).unwrap();
            let (session, restored) = second.session_from(&saved).await.unwrap();
            assert_eq!(restored.names, saved.names());
            let lost = &restored.lost[..];
            assert!(lost.len() == 1 && lost[0].name == "lock", "{lost:?}");
            let checks = "x = 1; alias.append('b'); (shared, a.get(), math.floor(2.5), isinstance(a, A))";
            assert_eq!(shows(&session, checks).await, "(['a', 'b'], 2, 2, True)");
            assert_eq!(shows(&session, "'lock' in globals()").await, "False");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_typed_and_the_session_goes_on() {
    guarded(async {
        let limits = one().max_checkpoint_bytes(2 << 20).checkpoint_timeout(Duration::from_secs(3));
        let runtime = limits.start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run("big = bytes(3 << 20)").await.unwrap());
        assert_eq!(session.checkpoint().await, Err(StateError::TooLarge { limit: 2 << 20 }));
        let slow =
            "del big\nimport time\nclass Slow:\n    def __reduce__(self): time.sleep(60)\nslow = Slow()";
        completed(&session.run(slow).await.unwrap());
        let after = Duration::from_secs(3);
        assert_eq!(session.checkpoint().await, Err(StateError::TimedOut { after }));
        completed(&session.run("del slow; x = 1").await.unwrap());
        let saved = session.checkpoint().await.unwrap();
        let strange = [&saved.to_bytes()[..], b"!"].concat();
        Checkpoint::from_bytes(strange).unwrap_err();
        assert_eq!(shows(&session, "x").await, "1");
        assert_eq!(session.generation().0, 1, "always the same worker");
    })
    .await;
}

/// More than fits into one frame, or into what may wait for one worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_state_passes_in_parts_and_many_small_names_at_once() {
    guarded(async {
        let limits = Runtime::builder(WorkerSpec::python()).max_sessions(2);
        let runtime = limits.start().await.unwrap();
        for make in [
            "blob = bytes(range(256)) * 4096",
            "import array; blob = array.array('d', [1.5]) * 13_107_200",
            "globals().update({f'v{n}': n for n in range(10_000)})",
        ] {
            let session = runtime.session().await.unwrap();
            completed(&session.run(make).await.unwrap());
            let begun = std::time::Instant::now();
            let saved = session.checkpoint().await.unwrap();
            let took = begun.elapsed();
            let (other, restored) = runtime.session_from(&saved).await.unwrap();
            let (bytes, names) = (saved.data().len(), saved.names().len());
            println!(
                "{bytes} bytes, {names} names: saved in {took:.1?}, restored {:.1?} after",
                begun.elapsed() - took
            );
            assert_eq!(restored.lost, []);
            let sum = "import zlib\nzlib.crc32(blob) if 'blob' in globals() else v9999";
            assert_eq!(shows(&session, sum).await, shows(&other, sum).await);
        }
    })
    .await;
}
