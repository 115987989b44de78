//! What a session costs this process (B7): the resource model, as `docs/src/performance.md` states it.

use ostler::{Runtime, Transport, WorkerSpec};

use crate::{
    counts::{Counts, settled},
    support::wait::pool_is,
};

/// Descriptors of this process for each worker: a socket and its plain output, or two pipes; its stderr; its pidfd.
const SOCKET: usize = 4;
const STDIO: usize = 4;

/// Once for each worker, and nothing else but memory; whatever a pool has in use otherwise, it has once.
pub(crate) async fn a_session_costs_a_few_descriptors_one_child_and_no_thread() {
    settled().await;
    for (transport, descriptors) in [(Transport::Socket, SOCKET), (Transport::Stdio, STDIO)] {
        let mut counts = Vec::new();
        for sessions in [1, 9] {
            let spec = WorkerSpec::python().transport(transport);
            let builder = Runtime::builder(spec).max_sessions(sessions).min_idle(sessions).max_starting(3);
            let runtime = builder.start().await.unwrap();
            pool_is(&runtime, "all are idle", |pool| pool.idle == sessions).await;
            counts.push(Counts::now());
            runtime.shutdown(std::time::Duration::from_secs(1)).await;
        }
        let expected = counts[0].and(8, descriptors);
        println!("   {transport:?}: one session {:?}, nine {:?}", counts[0], counts[1]);
        assert_eq!(
            counts[1], expected,
            "{transport:?}: {descriptors} descriptors and a child for each session"
        );
    }
}
