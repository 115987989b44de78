"""What code leaves running when it ends: it is told, and ends nobody's patience but its own worker's."""

import unittest

from harness import Host

IDLE_EXECUTOR = (
    "import concurrent.futures as futures\n"
    "pool = futures.__dict__.setdefault('kept', futures.ThreadPoolExecutor(2))\n"
    "assert pool.submit(lambda: 7).result() == 7"
)


def left(outcome):
    return [what.split(" (")[0].rstrip("0123456789") for what in outcome.frame.get("left", [])]


class Left(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.addCleanup(self.host.__exit__, None, None, None)
        self.host.__enter__()

    def test_what_a_stateless_execution_leaves_is_told(self):
        for code, expected in [
            ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='pump').start()", "thread pump"),
            ("import threading\nt = threading.Timer(60, print, ['late'])\nt.daemon = True\nt.name = 'clock'\nt.start()", "thread clock"),
            ("import _thread, time\n_thread.start_new_thread(time.sleep, (60,))\ntime.sleep(0.1)", "thread"),
            ("import subprocess\nchild = subprocess.Popen(['sleep', '60'])", "child process "),
            ("import concurrent.futures as f, time\npool = f.ThreadPoolExecutor(1)\npool.submit(time.sleep, 60)", "thread ThreadPoolExecutor-"),
        ]:
            with Host() as host:
                outcome = host.run(code, fresh=True)
                self.assertEqual([what[: len(expected)] for what in left(outcome)], [expected], code)

    def test_a_task_that_a_cancel_left_behind_is_told(self):
        code = (
            "import asyncio\n"
            "async def other():\n    await asyncio.sleep(60)\n"
            "task = asyncio.create_task(other(), name='other')\nawait asyncio.sleep(0)\nprint('go')\nawait asyncio.sleep(60)"
        )
        id = self.host.start(code, fresh=True)
        self.host.wait_for_output("go")
        self.host.send("cancel", id=id)
        outcome = self.host.finish(id)
        self.assertEqual((outcome.kind, left(outcome)), ("cancelled", ["task other"]))

    def test_what_has_ended_is_not_told(self):
        for code in [
            "1 + 1",
            "import threading\nt = threading.Thread(target=print, args=('x',))\nt.start()\nt.join()",
            "import subprocess\nsubprocess.run(['true'])",
            "import subprocess\nchild = subprocess.Popen(['true'], stdout=subprocess.PIPE)\nchild.stdout.read()",
            "import asyncio\nasync def f(): pass\ntask = asyncio.create_task(f())\nawait asyncio.sleep(0)",
            "import asyncio\ntask = asyncio.create_task(asyncio.sleep(60))",  # it ends as under `asyncio.run`
            "import os\nos.system('true')",
            "raise ValueError",
            IDLE_EXECUTOR,
            IDLE_EXECUTOR,
            "1 + 1",
        ]:
            self.assertEqual(left(self.host.run(code, fresh=True)), [], code)

    def test_a_session_is_told_once_and_only_of_its_own_threads(self):
        code = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='pump').start()"
        self.assertEqual(left(self.host.run(code)), ["thread pump"])
        self.assertEqual(left(self.host.run("1")), [])
        self.assertEqual(left(self.host.run(code.replace("pump", "two"))), ["thread two"])
        self.assertEqual(left(self.host.run("2", fresh=True)), [])

    def test_no_timer_and_no_handler_of_a_stateless_execution_meets_the_next(self):
        code = (
            "import signal, sys\n"
            "def late(*_): print('late')\n"
            "for name in 'SIGALRM', 'SIGUSR1', 'SIGCHLD', 'SIGTERM': signal.signal(getattr(signal, name), late)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
            "sys.settrace(late)\nsys.setprofile(late)"
        )
        self.host.run(code, fresh=True)
        outcome = self.host.run("import time, subprocess\nsubprocess.run(['true'])\ntime.sleep(0.2)", fresh=True)
        self.assertEqual((outcome.kind, outcome.text(), left(outcome)), ("ok", "", []))


if __name__ == "__main__":
    unittest.main()
