"""Start: takes the process over, and greets the host."""

import builtins
import sys

from .bindings import EXIT_PROTOCOL, LINUX, PID, exit_now, get_signal, os, process_time
from .channel import Channel
from .doorbell import signal_on_arrival
from .forked_child import after_fork_in_child, before_fork
from .health import Health
from .idle import idle_steps
from .init import PROTOCOL
from .json_codec import use_json_codec
from .links import PipeLink, SocketLink, private
from .modules import load
from .namespace import use_new_module
from .repair import OUR_BUILTINS
from .signal_setup import install_signals, open_stacks, stacks
from .state import channel, codec_name, health, idle_work, state, streams
from .stdin import GetpassFinder
from .streams import Streams, mark_files, open_dev_null, open_file
from .surroundings import WATCHED_SIGNALS, current_folder


def start():
    """Takes the process over: channel, descriptors, signals, streams, namespace. Nothing slow."""
    global channel, streams, health, codec_name, idle_work
    state.home = current_folder()
    environment = os.environ
    codec_name = environment.get("OSTLER_CODEC", "msgpack")
    transport = environment.get("OSTLER_TRANSPORT", "stdio")
    user_site = environment.get("OSTLER_USER_SITE") == "1"
    for name in [name for name in environment if name.startswith("OSTLER_") and name != "OSTLER_TAG"]:
        del environment[name]
    if codec_name not in ("msgpack", "json") or transport not in ("socket", "stdio"):
        os.write(2, f"ostler worker: unknown codec {codec_name!r} or transport {transport!r}\n".encode())
        exit_now(EXIT_PROTOCOL)
    if codec_name == "json":
        use_json_codec()
    state.framed_output = transport == "stdio"
    if transport == "socket":
        link = SocketLink(private(0))
    else:
        link = PipeLink(private(0), private(1))
        os.dup2(2, 1)
    channel = Channel(link)
    os.close(0)
    open_dev_null()
    install_signals()
    doorbell = signal_on_arrival(link.input)
    sys.setswitchinterval(0.0005)  # so that the main thread, which handles cancels, soon gets its turn among busy threads
    streams = Streams()
    health = Health()
    state.handlers = [get_signal(signum) for signum in WATCHED_SIGNALS]
    for name, function in OUR_BUILTINS.items():
        setattr(builtins, name, function)
    sys.argv = [""]
    add_folders_of_the_user(user_site)
    use_new_module()
    sys.meta_path.insert(0, GetpassFinder())
    os.register_at_fork(before=before_fork, after_in_child=after_fork_in_child)
    idle_work = idle_steps()
    return doorbell


def take_descriptors(fds):
    """Gives a worker that was started ahead of its time (see ostler_zygote) its own descriptors 0, 1 and 2, where
    `start` found others of the same kind. Returns what `start` does."""
    link = channel.link
    os.dup2(fds[0], link.input, False)
    os.dup2(fds[2], 2)
    if link.output == link.input:
        os.dup2(fds[1], 1)
    else:
        os.dup2(fds[1], link.output, False)
        os.dup2(2, 1)
    mark_files()
    for fd, copy in streams.copies.items():
        os.dup2(fd, copy, False)
        streams.files[fd] = open_file(fd)
    return signal_on_arrival(link.input)


def add_folders_of_the_user(user_site):
    """Adds to sys.path what isolation left out: PYTHONPATH, which is there only if the host gave it, and the user's own
    packages, if the host asked for them. Our own imports never look there, see `load`."""
    if sys.flags.ignore_environment:
        entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = dict.fromkeys(os.path.abspath(entry) for entry in entries if entry)
    if not (user_site and sys.flags.no_user_site) or os.environ.get("PYTHONNOUSERSITE") or sys.prefix != sys.base_prefix:
        return
    site = load("site")
    folder = site.getusersitepackages()
    if os.path.isdir(folder):
        # Python puts them before the packages of the system.
        places = [at for at, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages"))]
        rest = sys.path[places[0] :] if places else []
        del sys.path[len(sys.path) - len(rest) :]
        site.addsitedir(folder)
        sys.path.extend(rest)


def renew_private_files():
    """Opens files again that a forked copy of a worker would share with it."""
    global health
    if stacks is not None:
        opened = open_stacks()
        os.dup2(opened, stacks, False)
        os.close(opened)
    if health.statm is not None:
        os.close(health.statm)
    health = Health()


def greeting(doorbell):
    capabilities = ["input", "cancel", "interrupt", "sigint", "await", "display", "reset", "vars", "complete", "checkpoint"]
    if LINUX:
        capabilities += "fork", "secret"
    return {
        "type": "ready",
        "protocol": PROTOCOL,
        "pid": PID,
        "codec": codec_name,
        "language": "python",
        "version": "%d.%d.%d" % sys.version_info[:3],
        "executable": sys.executable or "",
        "capabilities": capabilities + ["doorbell"] if doorbell else capabilities,
        "concurrency": 1,
        "boot_ms": process_time() * 1000.0,
    }
