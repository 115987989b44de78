//! What handles SIGINT meets the first step of a cancel, and an interrupt: the code's own function, a library, native code.

use ostler::{CancelStage, Cancelled, Outcome, Transport};

use super::{LONG, kept, pool, ready};
use crate::support::wait::guarded;

/// Native code that hears nothing but SIGINT, and has a handler of its own for it, as polars has while a query runs.
const NATIVE: &str = "import ctypes, signal\n\
    libc = ctypes.CDLL(None)\n\
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]\n\
    before = libc.signal(2, ctypes.cast(libc.abs, ctypes.c_void_p))\n\
    everything_else = ctypes.create_string_buffer(128)\n\
    libc.sigfillset(everything_else), libc.sigdelset(everything_else, 2)\n\
    print('ready', flush=True)\n\
    try:\n    libc.sigsuspend(everything_else)\n\
    finally:\n    libc.signal(2, before)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_code_that_hears_only_sigint_is_cancelled_and_the_state_stays() {
    guarded(async {
        for transport in [Transport::Socket, Transport::Stdio] {
            let runtime = pool(transport, LONG).await;
            let session = runtime.session().await.unwrap();
            session.run("kept = 41").await.unwrap();
            for _ in 0..3 {
                let mut execution = session.execute(NATIVE).await.unwrap();
                ready(&mut execution).await;
                execution.cancel();
                let outcome = execution.outcome().await;
                let stopped =
                    matches!(&outcome, Outcome::Cancelled(Cancelled { stage, .. }) if *stage != CancelStage::Kill);
                assert!(stopped, "{outcome}");
                assert!(kept(&session).await);
            }
        }
    })
    .await;
}

/// As trio and asyncio ask, and as they mean it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_of_the_code_is_called_once_for_each_interrupt() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let session = runtime.session().await.unwrap();
        let default = "import signal\nkept = 41\nsignal.getsignal(signal.SIGINT) is signal.default_int_handler";
        assert_eq!(session.run(default).await.unwrap().value(), Some(&true.into()));
        let handle = "hits = []\nsignal.signal(signal.SIGINT, lambda *_: hits.append(1)) is signal.default_int_handler";
        assert_eq!(session.run(handle).await.unwrap().value(), Some(&true.into()));
        for hits in 1..4_i64 {
            let code = format!("print('ready')\nwhile len(hits) < {hits}: pass\nimport time; time.sleep(0.05); len(hits)");
            let mut execution = session.execute(code.as_str()).await.unwrap();
            ready(&mut execution).await;
            execution.interrupt();
            let outcome = execution.outcome().await;
            assert_eq!(outcome.value(), Some(&hits.into()), "{outcome}");
        }
        assert!(kept(&session).await);
    })
    .await;
}
