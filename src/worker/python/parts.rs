//! The files of the shipped worker, in the order in which they run. `workers/python/parts.txt` is that list for Python.

macro_rules! parts {
    ($($name:literal,)*) => {
        concat!($($name, "\0", include_str!(concat!("../../../workers/python/", $name)), "\0"),*)
    };
}

/// The name and the source of each, a zero behind each: what the probe reads.
pub(super) const PARTS: &str = parts![
    "ostler_worker/bindings.py",
    "ostler_worker/text.py",
    "ostler_worker/msgpack_encoder.py",
    "ostler_worker/msgpack_decoder.py",
    "ostler_worker/json_codec.py",
    "ostler_worker/execution.py",
    "ostler_worker/state.py",
    "ostler_worker/modules.py",
    "ostler_worker/msgpack_package.py",
    "ostler_worker/idle.py",
    "ostler_worker/links.py",
    "ostler_worker/channel_end.py",
    "ostler_worker/channel.py",
    "ostler_worker/bell.py",
    "ostler_worker/namespace.py",
    "ostler_worker/health.py",
    "ostler_worker/output.py",
    "ostler_worker/questions.py",
    "ostler_worker/control.py",
    "ostler_worker/event_loop.py",
    "ostler_worker/cancel_force.py",
    "ostler_worker/cancel.py",
    "ostler_worker/cancel_cleanup.py",
    "ostler_worker/doorbell.py",
    "ostler_worker/interrupt.py",
    "ostler_worker/signal_setup.py",
    "ostler_worker/input.py",
    "ostler_worker/stdin.py",
    "ostler_worker/fields.py",
    "ostler_worker/surroundings.py",
    "ostler_worker/leftovers.py",
    "ostler_worker/compiling.py",
    "ostler_worker/running.py",
    "ostler_worker/values.py",
    "ostler_worker/rich.py",
    "ostler_worker/tracebacks.py",
    "ostler_worker/errors.py",
    "ostler_worker/failure.py",
    "ostler_worker/packed_frames.py",
    "ostler_worker/streams.py",
    "ostler_worker/repair.py",
    "ostler_worker/open_files.py",
    "ostler_worker/session_end.py",
    "ostler_worker/forked_child.py",
    "ostler_worker/execute.py",
    "ostler_worker/init.py",
    "ostler_worker/requests.py",
    "ostler_worker/completion.py",
    "ostler_worker/main_loop.py",
    "ostler_worker/start.py",
    "ostler_worker/main.py",
    "ostler_state/format.py",
    "ostler_state/lost.py",
    "ostler_state/kinds.py",
    "ostler_state/make_functions.py",
    "ostler_state/make_classes.py",
    "ostler_state/make_mapped.py",
    "ostler_state/make_instances.py",
    "ostler_state/reduce_functions.py",
    "ostler_state/reduce_classes.py",
    "ostler_state/reduce_mapped.py",
    "ostler_state/reduce_instances.py",
    "ostler_state/saver.py",
    "ostler_state/sources.py",
    "ostler_state/checkpoint.py",
    "ostler_state/loader.py",
    "ostler_state/restore.py",
    "ostler_branch/bindings.py",
    "ostler_branch/resources.py",
    "ostler_branch/python_threads.py",
    "ostler_branch/native_threads.py",
    "ostler_branch/refusal.py",
    "ostler_branch/host_socket.py",
    "ostler_branch/keeper.py",
    "ostler_branch/fork.py",
    "ostler_branch/save_behind.py",
    "ostler_zygote/control.py",
    "ostler_zygote/tag.py",
    "ostler_zygote/preload.py",
    "ostler_zygote/variables.py",
    "ostler_zygote/fork_worker.py",
    "ostler_zygote/fork_script.py",
    "ostler_zygote/run_script.py",
    "ostler_zygote/serve.py",
    "ostler_zygote/main.py",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Which files there are besides, `test_parts.py` says.
    #[test]
    fn the_parts_are_those_of_the_list_and_in_its_order() {
        let listed = include_str!("../../../workers/python/parts.txt").lines();
        let fields: Vec<_> = PARTS.split_terminator('\0').collect();
        let (pairs, rest) = fields.as_chunks::<2>();
        assert_eq!(rest, [""; 0]);
        assert_eq!(pairs.iter().map(|[name, _]| *name).collect::<Vec<_>>(), listed.collect::<Vec<_>>());
        assert!(pairs.iter().all(|[_, source]| source.starts_with("\"\"\"")), "each says first what it owns");
    }
}
