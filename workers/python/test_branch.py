"""Forking a session, and saving one by a copy (row C7): this plays the host's side of both sockets."""

import array
import binascii
import os
import socket
import tempfile
import unittest

from harness import Host, codec, eventually

TAG = b"1-a.0.1"
SECRET = "0123456789abcdef" * 4
# Whoever has the last result may be quicker than the thread that told it.
NO_WORK = """
import sys, time
while any(sys._current_frames()[thread.ident].f_code.co_name != '_worker' for thread in threading.enumerate()[1:]):
    time.sleep(0.001)
"""
ENV = {"OSTLER_TAG": TAG.decode(), "OSTLER_TAG_ROOM": "-" * 32}


def listen(name):
    address = f"ostler-test-{name}-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + address)
    listener.listen()
    listener.settimeout(30)
    return address, listener


def word(link):
    """What the keeper says next; None if it has gone."""
    head = link.recv(4, socket.MSG_WAITALL)
    return link.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL).decode() if head else None


def stat(pid):
    """The state, the parent and the group of a process."""
    with open(f"/proc/{pid}/stat") as file:
        state, parent, group = file.read().rpartition(") ")[2].split()[:3]
    return state, int(parent), int(group)


def is_child(pid, parent):
    try:
        return stat(pid)[1] == parent
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while it is read
        return False


def tag_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return [entry[11:] for entry in file.read().split(b"\0") if entry.startswith(b"OSTLER_TAG=")]


def name_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")[0]


class Copy:
    """A copy of the worker of `host`."""

    def __init__(self, host, name="copy", tag="1-a.11.12345", secret=SECRET):
        address, listener = listen(name)
        with listener, tempfile.TemporaryDirectory() as folder:
            self.folder = folder
            told = {} if secret is None else {"secret": secret}
            host.send("fork", id=name, address=address, tag=tag, folder=folder, **told)
            self.answer = host.next_frame()
            if self.answer["type"] != "forked":
                return
            self.link, _ = listener.accept()
            self.first = self.link.recv(len(secret or ""), socket.MSG_WAITALL).decode()
            self.wants = word(self.link)
            self.channel, theirs = socket.socketpair()
            self.out, err = os.pipe()
            descriptors = array.array("i", [theirs.fileno(), err, err])
            self.link.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            theirs.close()
            os.close(err)
            self.pid = int(word(self.link).split()[1])
            self.ready = self.frame()

    def frame(self):
        head = self.channel.recv(4, socket.MSG_WAITALL)
        return codec("msgpack").decode(self.channel.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))

    def value(self, code, id="1"):
        data = codec("msgpack").encode({"type": "execute", "id": id, "code": code})
        self.channel.sendall(len(data).to_bytes(4, "big") + data)
        while True:
            frame = self.frame()
            if frame["type"] in ("result", "error"):
                return frame.get("value", frame.get("exception"))

    def close(self):
        self.link.close()
        self.channel.close()
        os.close(self.out)


class Forked(unittest.TestCase):
    def test_the_copy_is_a_worker_of_its_own_and_nobodys_child(self):
        with Host(init={}, env=ENV) as host:
            worker = host.value("import os, random; random.seed(7); g = iter(range(9)); next(g); os.getpid()")
            copy = Copy(host)
            self.assertEqual((copy.answer, copy.wants), ({"type": "forked", "id": "copy"}, "wants socket"))
            self.assertEqual((copy.ready["type"], copy.ready["pid"]), ("ready", copy.pid))
            _, keeper, group = stat(copy.pid)
            self.assertEqual(group, copy.pid)
            self.assertNotIn(stat(keeper)[2], (group, stat(worker)[2]), "who ends one group ends not the keeper")
            eventually(lambda: name_of(keeper) == b"ostler-keeper")
            self.assertEqual(tag_of(copy.pid), [b"1-a.11.12345"])
            self.assertEqual((tag_of(keeper), tag_of(worker)), ([b"1-a.11.12345"], [TAG]))
            # No code here waits for it in vain.
            none = "try: os.wait()\nexcept ChildProcessError as error: found = 'none'\nfound"
            self.assertEqual(host.value(none), "none")
            seen = "[next(g), random.random(), os.getpid(), os.environ['OSTLER_TAG']]"
            mine, its = host.value(seen), copy.value(seen)
            self.assertEqual(mine[:2], its[:2])
            self.assertEqual((mine[2:], its[2:]), ([worker, TAG.decode()], [copy.pid, "1-a.11.12345"]))
            # Dead, it stays until the host has seen how it died.
            os.kill(copy.pid, 9)
            eventually(lambda: stat(copy.pid)[0] == "Z")
            copy.close()
            eventually(lambda: not is_child(copy.pid, keeper))
            self.assertEqual(host.value("next(g)"), 2)

    def test_what_the_host_has_told_is_said_first_and_nothing_if_it_told_nothing(self):
        with Host(init={}, env=ENV) as host:
            self.assertLessEqual({"fork", "secret"}, set(host.ready["capabilities"]))
            for secret in SECRET, "another", None:
                copy = Copy(host, secret=secret)
                self.assertEqual((copy.first, copy.wants), (secret or "", "wants socket"))
                self.assertEqual(copy.value("1 + 1"), 2)
                copy.close()

    def test_a_worker_that_must_not_be_forked_says_why(self):
        with Host(init={}, env=ENV) as host:
            for make, why, mend in (
                ("import threading; e = threading.Event(); t = threading.Thread(target=e.wait); t.start()", "threads", "e.set(); t.join()"),
                ("import os; r, w = os.pipe(); child = os.fork()\nif not child: os.read(r, 1)", "child processes", "os.write(w, b'!'); os.waitpid(child, 0)"),
            ):
                host.run(make)
                refused = Copy(host).answer
                self.assertEqual(refused["exception"]["type"], "ForkRefused", refused)
                self.assertIn(why, refused["exception"]["message"])
                host.run(mend)
            copy = Copy(host)
            self.assertEqual(copy.value("1 + 1"), 2)
            copy.close()

    def refusal(self, host):
        answer = Copy(host).answer
        self.assertEqual(answer.get("exception", {}).get("type"), "ForkRefused", answer)
        return answer["exception"]["message"]

    def test_idle_pools_of_threads_are_forked_and_work_on_both_sides(self):
        with Host(init={}, env=ENV) as host:
            host.run("import asyncio, threading, concurrent.futures as cf\nawait asyncio.to_thread(int)")
            host.run("pool = cf.ThreadPoolExecutor(3)\nthread_of = threading.local()\nlist(pool.map(abs, range(9)))")
            host.run("before = set(pool._threads)" + NO_WORK)
            copy = Copy(host)
            used = "list(pool.map(abs, range(-3, 0))) + [await asyncio.to_thread(int, 7)]"
            self.assertEqual((copy.value(used), host.value(used)), ([3, 2, 1, 7], [3, 2, 1, 7]))
            self.assertEqual(host.value("before <= set(pool._threads)"), True)  # the worker keeps its own
            self.assertEqual(copy.value("pool.shutdown()\nlen(threading.enumerate())"), 2)  # asyncio's
            copy.close()
            host.run("gate = threading.Event()\nwaits = pool.submit(gate.wait)")
            self.assertRegex(self.refusal(host), "'ThreadPoolExecutor-0_[0-9]', which runs `concurrent.futures.thread._worker`")
            host.run("gate.set(); waits.result()" + NO_WORK)
            copy = Copy(host)
            self.assertEqual(copy.value("waits.result()"), True)
            copy.close()

    def test_the_tracker_of_shared_memory_is_no_child_of_the_code(self):
        with Host(init={}, env=ENV) as host:
            host.run("from multiprocessing.shared_memory import SharedMemory\nm = SharedMemory(create=True, size=8)")
            self.assertIn(f"shared memory open (/dev/shm/{host.value('m.name')})", self.refusal(host))
            host.run("m.close(); m.unlink()")
            copy = Copy(host)
            used = "m = SharedMemory(create=True, size=8); m.buf[0] = 3; n = m.buf[0]; m.close(); m.unlink(); n"
            self.assertEqual((copy.value(used), host.value(used)), (3, 3))
            copy.close()
            host.run("import subprocess\nchild = subprocess.Popen(['sleep', '60'])")
            told = f"child processes (`sleep`, {host.value('child.pid')})"
            eventually(lambda: told in self.refusal(host))  # its name comes a moment after it has begun
            host.run("child.kill(); child.wait()")

    def test_a_monitor_of_tqdm_ends_for_a_fork_and_begins_again_for_open_bars(self):
        # What tqdm has, as far as this needs it: no package is installed for the tests.
        monitor = """
import threading
class TMonitor(threading.Thread):
    def __init__(self, tqdm_cls, sleep_interval):
        super().__init__(name='tqdm_monitor', daemon=True)
        self.was_killed, self.tqdm_cls = threading.Event(), tqdm_cls
        self.start()
    def run(self): self.was_killed.wait()
"""
        package = """
import weakref
from ._monitor import TMonitor
class tqdm:
    monitor, monitor_interval, _instances = None, 10, weakref.WeakSet()
    def __init__(self):
        self._instances.add(self)
        tqdm.monitor = tqdm.monitor or TMonitor(tqdm, 10)
"""
        with Host(init={}, env=ENV) as host, tempfile.TemporaryDirectory() as folder:
            os.mkdir(folder + "/tqdm")
            for name, text in ("_monitor", monitor), ("__init__", package):
                with open(f"{folder}/tqdm/{name}.py", "w") as file:
                    file.write(text)
            host.run(f"import sys, threading; sys.path.append({folder!r})\nfrom tqdm import tqdm\nbar = tqdm()")
            seen = "[type(thread).__name__ for thread in threading.enumerate()]"
            copy = Copy(host)
            both = ["_MainThread", "TMonitor"]
            self.assertEqual((copy.value(seen), host.value(seen)), (both, both))
            copy.close()
            host.run("del bar; import gc; gc.collect()")
            copy = Copy(host, "second")
            self.assertEqual((copy.value(seen), host.value(seen)), (both[:1], both[:1]))
            copy.close()

    def test_a_thread_of_a_library_is_known_by_its_name_or_refused_with_it(self):
        code = """
import ctypes, time
c = ctypes.CDLL(None)
thread = ctypes.c_ulong()
c.pthread_create(ctypes.byref(thread), None, c.pause, None)
def call_it(name):
    c.pthread_setname_np(thread, name)
    time.sleep(0.05)
call_it(b'strange')
"""
        with Host(init={}, env=ENV) as host:
            host.run(code)
            self.assertIn("a thread of a library that is not known runs in it (`strange`)", self.refusal(host))
            host.run("call_it(b'jemalloc_bg_thd')")
            copy = Copy(host)
            self.assertEqual(copy.value("1 + 1"), 2)
            copy.close()
            host.run("import _thread; _thread.start_new_thread(time.sleep, (60,))")
            eventually(lambda: "wait for its end first" in self.refusal(host))

    def test_what_a_file_keeps_for_later_is_written_once(self):
        with Host(init={}, env=ENV) as host, tempfile.TemporaryDirectory() as folder:
            host.run(f"file = open({folder + '/f'!r}, 'w'); file.write('once'); None")
            copy = Copy(host)
            copy.value("file.close()")
            host.run("file.close()")
            copy.close()
            with open(folder + "/f") as file:
                self.assertEqual(file.read(), "once")


class SavedBehind(unittest.TestCase):
    def test_a_copy_saves_while_the_worker_goes_on_and_waits_for_the_host_before(self):
        address, listener = listen("save")
        with Host(init={}, env=ENV) as host, listener:
            host.run("x = bytearray(b'x') * (40 << 20)\ny = 'before'")
            host.send("checkpoint", id="c", mode="fork", address=address, secret=SECRET)
            self.assertEqual(host.next_frame(), {"type": "forked", "id": "c"})
            host.run("y = 'after'")
            link, _ = listener.accept()
            with link:
                self.assertEqual(link.recv(len(SECRET), socket.MSG_WAITALL).decode(), SECRET)
                link.sendall(b"!")
                size = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
                told = codec("msgpack").decode(link.recv(size, socket.MSG_WAITALL))
                with link.makefile("rb") as file:
                    data = file.read(told["bytes"])
                    self.assertEqual(int.from_bytes(file.read(4), "big"), binascii.crc32(data))
            self.assertEqual((told["type"], told["names"]), ("checkpoint_data", ["x", "y"]))
            self.assertTrue(b"before" in data and b"after" not in data)


if __name__ == "__main__":
    unittest.main()
