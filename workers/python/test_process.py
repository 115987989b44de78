"""The worker as a process: its descriptors, its output in order, what user code breaks, forks, and its death."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest

from harness import LIMIT, PROGRAM, Host, WorkerGone, eventually, is_alive, read

EVERY_WAY_TO_WRITE = textwrap.dedent("""
    import ctypes, os, subprocess, sys
    libc = ctypes.CDLL(None)
    for number in range(20):
        print(number, 'print')
        os.write(1, b'%d os.write\\n' % number)
        if number % 10 == 0:
            os.system('echo %d os.system' % number)
            subprocess.run(['echo', '%d subprocess' % number])
        libc.puts(b'%d puts' % number)
        libc.fflush(None)
        sys.stdout.write('%d half' % number)
        sys.stdout.flush()
        os.write(1, b' a line\\n')
""")


def every_line():
    for number in range(20):
        yield f"{number} print"
        yield f"{number} os.write"
        if number % 10 == 0:
            yield f"{number} os.system"
            yield f"{number} subprocess"
        yield f"{number} puts"
        yield f"{number} half a line"


class Output(unittest.TestCase):
    def test_every_way_to_write_keeps_its_place(self):
        with Host() as host:
            outcome = host.run(EVERY_WAY_TO_WRITE)
            self.assertEqual(outcome.text().splitlines(), list(every_line()), outcome.frame)

    def test_over_stdio_only_prints_are_frames(self):
        with Host("stdio") as host:
            outcome = host.run(EVERY_WAY_TO_WRITE)
            self.assertEqual(outcome.text(), "".join(f"{number} print\n{number} half" for number in range(20)))
            self.assertEqual(len(outcome.text("stderr").splitlines()), 20 * 3 + 4)

    def test_output_frames_are_numbered_over_both_streams(self):
        with Host("stdio") as host:
            for _ in range(2):
                outcome = host.run("import sys\nfor i in range(50): print(i, file=(sys.stdout, sys.stderr)[i % 2])")
                self.assertEqual([event[3] for event in outcome.events if type(event) is tuple], list(range(50)))

    def test_threads_that_print_do_not_disturb_the_numbers(self):
        code = "import threading\ndef p():\n    for i in range(200): print('x' * 50)\n"
        code += "ts = [threading.Thread(target=p) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()"
        with Host("stdio") as host:
            outcome = host.run(code)
            frames = [event for event in outcome.events if type(event) is tuple]
            self.assertEqual([frame[3] for frame in frames], list(range(len(frames))))
            self.assertEqual(outcome.text().split(), ["x" * 50] * 800)

    def test_a_thread_may_print_when_nothing_runs(self):
        for transport, stream in ("socket", "stdout"), ("stdio", "stderr"):
            with Host(transport) as host, tempfile.TemporaryDirectory() as folder:
                sign = os.path.join(folder, "sign")  # and not a time: that might come while the execution ends
                code = f"import os, threading, time\ndef p():\n    while not os.path.exists({sign!r}): time.sleep(0.001)\n"
                host.run(code + "    print('later')\nthreading.Thread(target=p).start()")
                os.mkdir(sign)
                host.wait_for_output("later", stream)

    def test_a_flood_that_nobody_reads_can_be_cancelled(self):
        for transport in "socket", "stdio":
            with Host(transport) as host:
                id = host.start("while True: print('x' * 1000)")
                eventually(lambda: state_of(host.process.pid) == "S", what="a full pipe")
                host.send("cancel", id=id)
                self.assertEqual(host.finish(id).kind, "cancelled")

    def test_a_ping_shows_half_a_line(self):
        with Host() as host:
            id = host.start("import time\nprint('half', end='')\ntime.sleep(60)")
            while not host.tail().endswith("half"):
                host.send("ping", seq=1)
                host.next_frame("heartbeat", nudge=True)
            host.send("cancel", id=id)
            host.finish(id)


def state_of(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()


class Descriptors(unittest.TestCase):
    def test_children_inherit_three_descriptors(self):
        for transport in "socket", "stdio":
            with Host(transport) as host:
                code = "import subprocess\nsubprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False, stdout=-1).stdout.decode()"
                listed = host.value(code).splitlines()
                numbers = {line.split(" -> ")[0].split()[-1]: line.split(" -> ")[1] for line in listed if " -> " in line}
                self.assertEqual(numbers.pop("0"), "/dev/null")
                self.assertEqual(sorted(numbers), ["1", "2", "3"])  # 3 is the folder that ls reads
                self.assertEqual(host.value("import sys\nsys.stdin.fileno()"), 0)

    def test_what_user_code_broke_is_repaired_and_said(self):
        cases = {
            "import os; os.close(1)": "fd 1",
            "import os; os.close(2)": "fd 2",
            "import os; os.close(0)": "fd 0",
            "import os; os.dup2(os.open('/dev/null', 1), 1)": "fd 1",
            "import os; os.close(1); file = open('/dev/null', 'w')": "fd 1",
            "import sys; sys.stdout = None": "sys.stdout",
            "import sys; sys.stderr = None": "sys.stderr",
            "import sys; del sys.stdin": "sys.stdin",
            "import sys; sys.stdout.close()": "sys.stdout",
            "import sys; sys.stdout.detach()": "sys.stdout",
            "import sys; sys.stdin = 5": "sys.stdin",
            "import builtins; builtins.print = None": "builtins.print",
            "import builtins; del builtins.input": "builtins.input",
            "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)": "the handler of SIGINT",
            "import signal; signal.signal(signal.SIGURG, signal.SIG_DFL)": "the handler of SIGURG",
            "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGURG])": "the signal mask",
            "import sys; sys.modules['__main__'] = None": "sys.modules['__main__']",
            "import sys; sys.setrecursionlimit(60)": "the recursion limit",
        }
        for transport in "socket", "stdio":
            with Host(transport) as host:
                for code, broken in cases.items():
                    with self.subTest(code=code, transport=transport):
                        outcome = host.run(code)
                        self.assertEqual(outcome.kind, "ok", outcome)
                        logs = outcome.frames("log") or [host.next_frame("log")]
                        self.assertEqual(logs[0]["level"], "warn")
                        self.assertIn(broken, logs[0]["message"])
                        outcome = host.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\ninput()",
                                           on_input=lambda _: {"value": "in"})  # fmt: skip
                        self.assertEqual((outcome.text(), outcome.text("stderr")), ("out\n", "err\n"), outcome)
                        self.assertEqual(outcome.frame["value"], "in")
                        self.assertEqual(outcome.frames("log"), [])
                id = host.arrive("print('go')\nwhile True: pass")
                host.send("cancel", id=id)
                self.assertEqual(host.finish(id).kind, "cancelled")

    def test_printed_text_survives_the_loss_of_fd_1(self):
        with Host() as host:
            outcome = host.run("import os\nprint('before', end='')\nos.close(1)")
            self.assertEqual(outcome.text(), "before")

    def test_working_replacements_are_the_users_affair(self):
        with Host() as host:
            host.run("import io, sys\nsys.stdout = io.StringIO()\nprint('kept')")
            self.assertEqual(host.value("sys.stdout.getvalue()"), "kept\n")
            self.assertEqual(host.run("sys.stdout = sys.__stdout__\nprint('out')").text(), "out\n")

    def test_functions_that_user_code_replaces_are_not_relied_on(self):
        with Host() as host:
            host.run("import builtins, os, time\nfor name in ('len', 'type', 'isinstance', 'getattr'): setattr(builtins, name, None)\n"
                     "os.fstat = os.getpid = time.monotonic = None")  # fmt: skip
            self.assertEqual(host.value("1 + 1"), 2)
            self.assertEqual(host.run("1 / 0").frame["exception"]["type"], "ZeroDivisionError")

    def test_the_channel_survives_reads_and_writes_of_stdin_and_stdout(self):
        for transport in "socket", "stdio":
            with Host(transport) as host:
                self.assertEqual(host.value("import os\nos.read(0, 10)"), b"")
                host.run("os.write(0, b'x'); os.write(1, b'y')")
                self.assertEqual(host.value("1"), 1)


class Forks(unittest.TestCase):
    def test_a_child_that_falls_out_of_user_code_ends_there(self):
        cases = {
            "": 0,
            "    raise SystemExit(7)": 7,
            "    1 / 0": 1,
            "    import sys; sys.exit('no')": 1,
            "    os._exit(9)": 9,
        }
        for transport in "socket", "stdio":
            with Host(transport) as host:
                for ending, status in cases.items():
                    code = f"import os\npid = os.fork()\nif pid == 0:\n    print('child')\n{ending}\nelse:\n    s = os.waitpid(pid, 0)[1] >> 8\n"
                    outcome = host.run(code + "    print('parent', s)")
                    self.assertEqual(outcome.kind, "ok", outcome)
                    self.assertIn(f"parent {status}\n", outcome.text())
                    everything = outcome.text() + outcome.text("stderr")
                    self.assertEqual(everything.count("child"), 1)
                    self.assertEqual("ZeroDivisionError" in everything, "1 / 0" in ending)
                self.assertEqual(host.value("1"), 1)

    def test_what_was_printed_before_a_fork_is_printed_once(self):
        with Host() as host:
            code = "import os\nprint('once', end='')\npid = os.fork()\nif pid: os.waitpid(pid, 0)"
            self.assertEqual(host.run(code).text(), "once")

    def test_a_child_cannot_ask_or_display(self):
        with Host() as host:
            code = textwrap.dedent("""
                import os
                pid = os.fork()
                if pid == 0:
                    display('shown')
                    try: input()
                    except EOFError: print('no input', flush=True)
                    os._exit(0)
                os.waitpid(pid, 0)[1]
            """)
            outcome = host.run(code)
            self.assertEqual((outcome.frame["value"], outcome.frames("display")), (0, []))
            self.assertEqual(outcome.text(), "'shown'\nno input\n")

    def test_multiprocessing_works(self):
        with Host() as host:
            code = "import multiprocessing as m\ndef double(n): return 2 * n\nwith m.get_context('fork').Pool(2) as pool:\n    r = pool.map(double, [1, 2])\nr"
            self.assertEqual(host.value(code), [2, 4])

    def test_a_child_that_lives_on_does_not_hold_the_worker(self):
        with Host() as host:
            pid = host.value("import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60)\npid")
            self.assertEqual(host.value("1"), 1)
            self.assertTrue(is_alive(pid))


class Death(unittest.TestCase):
    def test_crashes_leave_a_trace_on_stderr(self):
        with Host() as host:
            with self.assertRaises(WorkerGone) as gone:
                host.run("import ctypes\nctypes.string_at(0)")
            self.assertIn("<exec:1>", str(gone.exception))
            self.assertEqual(host.wait_for_exit(), -signal.SIGSEGV)

    def test_code_can_end_the_process(self):
        with Host() as host:
            with self.assertRaises(WorkerGone):
                host.run("import os; os._exit(7)")
            self.assertEqual(host.wait_for_exit(), 7)

    def test_stacks_can_be_asked_for_at_any_time(self):
        with Host() as host:
            id = host.arrive("import time\nprint('go')\ntime.sleep(60)")
            host.wait_for_stacks('File "<exec:1>", line 3 in <module>')
            host.send("cancel", id=id)
            host.finish(id)


class Start(unittest.TestCase):
    def test_foreign_bytecode_is_refused(self):
        bootstrap = [sys.executable, "-I", "-c", read("bootstrap.py").decode()]
        for payload, status in ((b"M\0\0\0\5abcde", 65), (b"X\0\0\0\0", 65), (b"M\0\0", 113)):
            done = subprocess.run(bootstrap, input=payload, stderr=subprocess.PIPE, timeout=LIMIT)
            self.assertEqual(done.returncode, status, done)

    def test_an_unknown_codec_or_transport_is_refused(self):
        for name in "OSTLER_CODEC", "OSTLER_TRANSPORT":
            env = dict(os.environ, **{name: "morse"})
            command = [sys.executable, PROGRAM]
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT)
            self.assertEqual(done.returncode, 64)
            self.assertIn(b"morse", done.stderr)

    def test_a_worker_without_a_host_ends(self):
        command = [sys.executable, PROGRAM]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LIMIT)
        self.assertEqual(done.returncode, 113)

    def test_modules_in_the_users_folder_do_not_disturb_the_worker(self):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            for name in "linecache", "traceback", "ctypes", "msgpack", "json", "asyncio", "keyword", "reprlib":
                with open(os.path.join(folder, f"{name}.py"), "w") as file:
                    file.write("raise RuntimeError('shadowed')\n")
            with Host(init={"sys_path": [folder], "cwd": folder}) as host:
                exception = host.run("1 / 0").frame["exception"]
                self.assertIn("ZeroDivisionError", exception["text"])
                host.send("complete", id="c", code="im", pos=2)
                self.assertIn("import", host.next_frame("complete_result")["matches"])


if __name__ == "__main__":
    unittest.main()
