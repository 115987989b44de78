use super::*;
use crate::config::Transport;

#[tokio::test]
async fn the_python_worker_becomes_ready_on_both_transports() {
    for transport in [Transport::Socket, Transport::Stdio] {
        let mut worker = start(WorkerSpec::python().transport(transport)).await;
        let frame = next_frame(&mut worker, &mut Decoder::new(FRAME_LEN_MAX)).await;
        let FromWorker::Ready(ready) = frame else { panic!("not ready: {frame:?}") };
        assert_eq!(Some(u64::from(ready.pid)), worker.pid.map(u64::from));
        worker.control.kill();
        assert_eq!(soon("exit", worker.exit).await, Exit::Signal(9));
    }
}
