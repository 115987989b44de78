"""The zygote: what it forks are workers like any other, and it forks only while that is safe."""

import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

from harness import LIMIT, Host, codec, compiled_worker, eventually, is_alive, read

TAG = "zygote-test." + "-" * 40
ENVIRONMENT = {"OSTLER_CODEC": "msgpack", "OSTLER_TRANSPORT": "socket", "PATH": os.environ["PATH"]}


class Zygote:
    def __init__(self, *modules, folder=None):
        self.control, theirs = socket.socketpair()
        self.control.settimeout(LIMIT)
        environment = dict(ENVIRONMENT, OSTLER_TAG=TAG, **({"PYTHONPATH": folder} if folder else {}))
        bootstrap = [sys.executable, "-I", "-X", "faulthandler", "-c", read("bootstrap.py").decode()]
        options = dict(env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.process = subprocess.Popen(bootstrap, stdin=theirs, **options)
        theirs.close()
        for kind, payload in (b"Z", b""), (b"M", compiled_worker()):
            self.control.sendall(kind + len(payload).to_bytes(4, "big") + payload)
        self.order("preload", *modules)
        self.importing = []
        kind, self.problem = self.hear()
        while kind == "importing":
            self.importing.append(self.problem)
            kind, self.problem = self.hear()
        self.first = kind
        if kind == "ready":
            self.probe = exit_status(int(self.problem))
            self.order("end", self.problem)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.process.wait(LIMIT)
        self.process.stderr.close()

    def order(self, *fields, fds=()):
        data = b"\0".join(os.fsencode(field) for field in fields)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
        self.control.sendmsg([len(data).to_bytes(4, "big") + data], ancillary if fds else [])

    def hear(self):
        size = int.from_bytes(self.take(4), "big")
        kind, _, text = self.take(size).decode().partition(" ")
        return kind, text

    def take(self, size):
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            assert part, "the zygote has ended"
            data += part
        return data

    def fork(self, tag="zygote-test.child", **variables):
        return Forked(self, tag, variables)


class Forked(Host):
    """A host of a forked worker."""

    def __init__(self, zygote, tag, variables):
        self.zygote, self.codec, self.transport, self.read_size = zygote, codec("msgpack"), "socket", 1 << 16
        self.buffer, self.events, self.number, self.nudges, self.running = bytearray(), [], 0, 0, None
        self.socket, theirs = socket.socketpair()
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        environment = [f"{name}={value}" for name, value in dict(ENVIRONMENT, OSTLER_TAG=tag, **variables).items()]
        zygote.order("fork", tempfile.gettempdir(), *environment, fds=(theirs.fileno(), out_end, err_end))
        theirs.close()
        os.close(out_end)
        os.close(err_end)
        kind, text = zygote.hear()
        self.process = self
        self.stdin, self.stdout, self.stderr = None, os.fdopen(out, "rb"), os.fdopen(err, "rb")
        self.output = self.input = self.socket.fileno()
        self.pipes = {out: "stdout", err: "stderr"}
        self.refused = text if kind == "refused" else None
        if self.refused is None:
            self.pid = int(text)
            self.meet()
            assert self.ready["pid"] == self.pid, (self.ready, self.pid)

    def wait(self, seconds=LIMIT):
        eventually(lambda: exit_status(self.pid) is not None, seconds)
        self.status = exit_status(self.pid)
        self.zygote.order("end", str(self.pid))
        eventually(lambda: not os.path.exists(f"/proc/{self.pid}"))
        return self.status


def fields(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def exit_status(pid):
    """What the kernel keeps of a dead process until it is collected."""
    found = fields(pid)
    return int(found[49]) if found[0] == b"Z" else None


def tag_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return [entry[11:].decode() for entry in file.read().split(b"\0") if entry.startswith(b"OSTLER_TAG=")]


class Workers(unittest.TestCase):
    def test_forked_workers_run_code_and_know_nothing_of_each_other(self):
        with Zygote("json") as zygote, zygote.fork() as first, zygote.fork() as second:
            self.assertEqual(zygote.probe, 77 << 8)
            self.assertEqual(first.ready["pid"], first.pid)
            first.run("x = 41; import sys; json = sys.modules['json']; json.mark = 1; print('said')")
            self.assertEqual(first.value("x + 1"), 42)
            self.assertEqual(second.run("x").frame["exception"]["type"], "NameError")
            self.assertFalse(second.value("import json; hasattr(json, 'mark')"))
            self.assertEqual(first.run("print('a'); import os; os.write(2, b'b')").text("stderr"), "b")

    def test_a_forked_worker_is_as_new_as_any_other(self):
        looks = [
            "sorted(globals())",
            "import sys; [sys.argv, sys.path, [type(finder).__name__ for finder in sys.meta_path]]",
            "import sys; [sys.getswitchinterval(), sys.getrecursionlimit(), type(sys.stdin).__name__, repr(sys.stdout)]",
            "import gc; [gc.isenabled(), gc.get_threshold()]",
            "import linecache; sorted(linecache.cache)",
            "import _signal as s; [str(s.getsignal(n)).split(' at ')[0] for n in range(1, 32) if n not in (9, 19)]",
            "import os; mask = os.umask(0); os.umask(mask); mask",
            "import os; sorted(os.path.basename(os.readlink(f'/proc/self/fd/{fd}').partition(':')[0])"
            " for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}'))",
            "print('text', end=''); import sys; print('more', file=sys.stderr)",
        ]
        with Host(env={"PYTHONPATH": ""}) as other, Zygote() as zygote, zygote.fork() as worker:
            for look in looks:
                self.assertEqual(worker.value(look), other.value(look), look)
            said = [host.run("1 / 0").frame["exception"]["frames"] for host in (worker, other)]
            self.assertEqual(*said)

    def test_exits_are_told_exactly_and_the_group_ends_with_its_leader(self):
        for code, expected in ("os._exit(3)", 3 << 8), ("os.kill(os.getpid(), 15)", 15), ("os.abort()", 6):
            with Zygote() as zygote:
                worker = zygote.fork()
                child = worker.value("import os, subprocess; subprocess.Popen(['sleep', '1000']).pid")
                worker.start(code)
                self.assertEqual(worker.wait() & ~128, expected, code)
                eventually(lambda: not is_alive(child))
                for stream in worker.stdout, worker.stderr, worker.socket:
                    stream.close()

    def test_a_cancel_reaches_each_of_them(self):
        with Zygote() as zygote, zygote.fork() as first, zygote.fork() as second:
            for host in first, second:
                id = host.arrive("print('go')\nwhile True: pass")
                host.send("cancel", id=id)
                self.assertEqual(host.finish(id).kind, "cancelled")
                self.assertEqual(host.value("6 * 7"), 42)

    def test_an_order_is_carried_out_once_whether_one_waits_for_it_or_is_forked_then(self):
        pause = random.Random(1)
        with Zygote() as zygote:
            for _ in range(300):
                time.sleep(pause.random() * 0.006)
                zygote.fork().close()
            with zygote.fork() as first, zygote.fork() as second:  # one that waited, and one forked at once
                for host in first, second:
                    held = host.value("import os; [os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2, 100)]")
                    self.assertEqual(held[0], "/dev/null")
                    self.assertEqual([file.partition(":")[0] for file in held[1:]], ["pipe", "pipe", "socket"])

    def test_one_that_died_while_it_waited_is_replaced(self):
        with Zygote() as zygote:
            self.kill_the_spare(zygote)
            with zygote.fork() as worker:
                self.assertEqual(worker.value("6 * 7"), 42)

    def kill_the_spare(self, zygote):
        found = []
        path = f"/proc/{zygote.process.pid}/task/{zygote.process.pid}/children"

        def look():
            with open(path) as file:
                found[:] = [pid for pid in map(int, file.read().split()) if is_alive(pid)]
            return found

        eventually(look, what="a worker that waits")
        os.kill(found[0], signal.SIGKILL)
        eventually(lambda: not is_alive(found[0]))

    def test_chance_differs(self):
        code = "import random, uuid, secrets, tempfile\n"
        code += "[random.random(), str(uuid.uuid4()), secrets.token_hex(), next(tempfile._get_candidate_names())]"
        with Zygote("random", "uuid", "secrets", "tempfile") as zygote:
            with zygote.fork() as first, zygote.fork() as second:
                for one, other in zip(first.value(code), second.value(code)):
                    self.assertNotEqual(one, other)

    def test_a_library_with_a_state_of_its_own_is_reseeded(self):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "numpy"))
            with open(os.path.join(folder, "numpy/__init__.py"), "w"):
                pass
            with open(os.path.join(folder, "numpy/random.py"), "w") as file:
                file.write("import os\nstate = 1\ndef seed():\n    global state\n    state = os.getpid()\n")
            with Zygote("numpy.random", folder=folder) as zygote, zygote.fork(PYTHONPATH=folder) as worker:
                self.assertEqual(worker.value("import numpy.random; numpy.random.state"), worker.pid)

    def test_the_environment_is_that_of_the_worker_for_others_to_see_too(self):
        code = textwrap.dedent("""
            import os, subprocess, time
            forked = os.fork()
            if not forked:
                os.setsid()
                time.sleep(1000)
            started = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
            [forked, started, dict(os.environ)]
        """)
        with Zygote() as zygote, zygote.fork(TOKEN="t") as worker:
            forked, started, environment = worker.value(code)
            self.assertEqual(environment, {"TOKEN": "t", "OSTLER_TAG": "zygote-test.child", "PATH": os.environ["PATH"]})
            eventually(lambda: tag_of(started) != [])
            for pid in worker.pid, forked, started:
                self.assertEqual(tag_of(pid), ["zygote-test.child"])
            self.assertEqual(tag_of(zygote.process.pid), [TAG])
            for pid in forked, started:
                os.kill(pid, signal.SIGKILL)

    def test_a_worker_has_no_descriptor_of_the_zygote(self):
        with Zygote() as zygote, zygote.fork(), zygote.fork() as second:
            control = os.readlink(f"/proc/{zygote.process.pid}/fd/100")
            held = [os.readlink(f"/proc/{second.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{second.pid}/fd")]
            self.assertNotIn(control, held)
            self.assertEqual(len([file for file in held if file.startswith("socket:")]), 1)

    def test_they_outlive_a_killed_zygote_and_end_with_an_orphaned_one(self):
        with Zygote() as zygote:
            worker = zygote.fork()
            zygote.process.kill()
            zygote.process.wait(LIMIT)
            self.assertEqual(worker.value("6 * 7"), 42)
            worker.socket.close()
            eventually(lambda: not is_alive(worker.pid))
        with Zygote() as zygote:
            deaf = zygote.fork()
            deaf.start("import itertools\nsum(itertools.repeat(0))")
        eventually(lambda: not os.path.exists(f"/proc/{deaf.pid}"))
        for host in worker, deaf:
            for stream in host.stdout, host.stderr, host.socket:
                stream.close()


class Refusals(unittest.TestCase):
    def test_a_module_that_is_not_there_is_named(self):
        with Zygote("json", "no_such_module") as zygote:
            self.assertEqual(zygote.importing, ["json", "no_such_module"])
            self.assertEqual(zygote.first, "failed")
            name, _, why = zygote.problem.partition("\0")
            self.assertEqual((name, why), ("no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"))

    def module(self, source, *more):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with open(os.path.join(folder.name, "of_ours.py"), "w") as file:
            file.write(source)
        return Zygote("of_ours", *more, folder=folder.name)

    def test_a_module_that_goes_wrong_is_named_with_the_place(self):
        for source, expected in ("x = 1\n1 / 0", "ZeroDivisionError: division by zero ("), ("import sys\nsys.exit(2)", "SystemExit: 2 ("):
            with self.module(source) as zygote:
                self.assertIn(f"of_ours\0{expected}", zygote.problem)
                self.assertIn("of_ours.py, line 2)", zygote.problem)

    def test_what_modules_print_reaches_no_worker(self):
        with self.module("import sys\nprint('hello')\nsys.stdout.write('no flush')") as zygote, zygote.fork() as worker:
            self.assertEqual(worker.run("print('mine')").text(), "mine\n")
            self.assertTrue(select.select([zygote.process.stderr], [], [], LIMIT)[0])
            self.assertEqual(os.read(zygote.process.stderr.fileno(), 100), b"hello\nno flush")

    def test_threads_of_python_are_told_by_name(self):
        source = "import threading\nthreading.Thread(target=threading.Event().wait, name='busy', daemon=True).start()"
        with self.module(source) as zygote:
            self.assertEqual((zygote.first, zygote.problem), ("unfit", "Python threads run in it: 'busy'"))

    def test_a_thread_that_starts_later_is_noticed_at_the_fork(self):
        source = textwrap.dedent("""
            import os, signal, threading, time
            def later(*_):
                threading.Thread(target=threading.Event().wait, name='later', daemon=True).start()
            signal.signal(signal.SIGUSR1, later)
        """)
        with self.module(source) as zygote:
            self.assertEqual(zygote.first, "ready")
            os.kill(zygote.process.pid, signal.SIGUSR1)
            eventually(lambda: len(os.listdir(f"/proc/{zygote.process.pid}/task")) == 2)
            # One may have been forked before, ahead of its order: so the first or the second of these is refused.
            workers = [zygote.fork()]
            if workers[0].refused is None:
                workers.append(zygote.fork())
            self.assertEqual(workers[-1].refused, "Python threads run in it: 'later'")
            for worker in workers:
                for stream in worker.stdout, worker.stderr, worker.socket:
                    stream.close()


if __name__ == "__main__":
    unittest.main()
