"""How a session ends: as the interpreter does, within what it is given for that."""

import os
import tempfile
import unittest

from harness import Host, eventually, is_alive


class End(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def content(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def end(self, *cells, timeout=20.0, **options):
        """Runs the cells, asks the worker to end, and returns what is printed from the last of them on."""
        with Host(**options) as host:
            for cell in cells:
                outcome = host.run(f"folder = {self.folder!r}\n{cell}")
                self.assertEqual(outcome.kind, "ok", outcome)
            host.send("shutdown", timeout=timeout)
            self.assertEqual(host.next_frame("bye"), {"type": "bye"})
            self.assertEqual(host.wait_for_exit(), 0)
            return outcome.text("stdout") + host.tail()

    def test_files_that_are_open_are_written(self):
        told = self.end(
            "import gc, gzip, types, zipfile\n"
            "gc.disable()\n"  # or the interpreter may close the file in the cycle before it is written
            "named = open(folder + '/named', 'w'); named.write('named')\n"
            "library = types.ModuleType('library'); library.file = open(folder + '/library', 'wb'); library.file.write(b'library')\n"
            "cycle = [open(folder + '/cycle', 'w')]; cycle.append(cycle); cycle[0].write('cycle'); del cycle\n"
            "packed = gzip.open(folder + '/packed', 'wt'); packed.write('packed')\n"
            "archive = zipfile.ZipFile(folder + '/archive', 'w'); archive.writestr('member', 'of it')\n"
        )
        self.assertEqual(told, "")
        for name in "named", "library", "cycle":
            self.assertEqual(self.content(name), name.encode())
        import gzip
        import zipfile

        self.assertEqual(gzip.open(self.path("packed")).read(), b"packed")
        with zipfile.ZipFile(self.path("archive")) as archive:
            self.assertEqual(archive.read("member"), b"of it")

    def test_a_file_that_cannot_be_written_is_told(self):
        told = self.end("lost = open('/dev/full', 'w'); lost.write('a'); kept = open(folder + '/kept', 'w'); kept.write('b')")
        self.assertIn("/dev/full", told)
        self.assertIn("No space left on device", told)
        self.assertEqual(self.content("kept"), b"b")

    def test_threads_end_then_handlers_run_then_what_is_held_is_freed(self):
        told = self.end(
            "import atexit, os, threading, time\n"
            "class Held:\n    def __del__(self): print('freed in', os.path.basename('a/b'))\n\n"
            "held = Held()\n"
            "atexit.register(print, 'handler')\n"
            "@atexit.register\ndef fails(): 1 / 0\n\n"
            "def work():\n    time.sleep(0.1); print('thread')\n\n"
            "threading.Thread(target=work).start()\n"
            "pump = threading.Thread(target=time.sleep, args=(0.05,), daemon=True); pump.start(); pump.join()"
        )
        self.assertIn("ZeroDivisionError", told)
        lines = [line for line in told.splitlines() if line in ("thread", "handler", "freed in b")]
        self.assertEqual(lines, ["thread", "handler", "freed in b"])

    def test_pools_that_are_left_open_end(self):
        told = self.end(
            "from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor\n"
            "import multiprocessing, time\n"
            "threads = ThreadPoolExecutor(1); threads.submit(time.sleep, 0.05); threads.submit(print, 'pool')\n"
            "processes = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork'))\n"
            "processes.submit(abs, 1).result()"
        )
        self.assertEqual(told, "pool\n")

    def test_tasks_are_cancelled_and_clean_up(self):
        told = self.end(
            "import asyncio\n"
            "async def tidy():\n    try:\n        await asyncio.sleep(60)\n    finally:\n        print('tidied')\n\n"
            "task = asyncio.create_task(tidy()); await asyncio.sleep(0)"
        )
        self.assertEqual(told, "tidied\n")

    def test_what_does_not_end_is_not_waited_for_past_its_time(self):
        forever = (
            "import atexit, threading, time, asyncio\n"
            "atexit.register(print, 'handler')\n"
            "kept = open(folder + '/kept', 'w'); kept.write('b')\n"
            "threading.Thread(target=time.sleep, args=(3600,), name='idler').start()\n"
            "async def stubborn():\n    while True:\n        try: await asyncio.sleep(3600)\n        except BaseException: pass\n\n"
            "task = asyncio.create_task(stubborn()); await asyncio.sleep(0)"
        )
        for timeout, told in (0.0, ""), (0.2, "ostler: thread idler did not end in time, and ends with the session\n"):
            with self.subTest(timeout=timeout):
                self.assertEqual(sorted(self.end(forever, timeout=timeout).splitlines(True)), ["handler\n", *filter(None, [told])])
                self.assertEqual(self.content("kept"), b"b")
                os.remove(self.path("kept"))

    def test_a_thread_that_goes_on_is_not_disturbed(self):
        told = self.end(
            "import threading, time\n"
            "log = open(folder + '/log', 'w')\n"
            "def pump():\n    while True:\n        log.write('a'); time.sleep(0.0005)\n\n"
            "threading.Thread(target=pump, daemon=True).start(); time.sleep(0.05)"
        )
        self.assertEqual(told, "")
        self.assertGreater(len(self.content("log")), 1)

    def test_a_worker_that_hangs_in_a_handler_has_written_its_files(self):
        with Host() as host:
            host.run(
                f"import atexit, time\nkept = open({self.path('kept')!r}, 'w'); kept.write('b')\natexit.register(time.sleep, 3600)"
            )
            host.send("shutdown", timeout=1.0)
            eventually(lambda: self.content("kept") == b"b", what="the writing")
            self.assertTrue(is_alive(host.process.pid))

    def test_a_forked_child_that_comes_out_of_the_code_ends_in_order(self):
        told = self.end(
            "import atexit, os\natexit.register(print, 'bye')",
            "if os.fork() == 0:\n    kept = open(folder + '/kept', 'w'); kept.write('b')\nelse:\n    os.wait()",
        )
        self.assertEqual(told, "bye\n" * 2)  # the child's, and that of the session
        self.assertEqual(self.content("kept"), b"b")

    def test_what_cannot_have_left_a_file_open_is_not_searched_for_one(self):
        holds = "__import__('sys').modules['_ostler_worker'].state.holds"
        for code, held in ("x = [1]", False), ("def f(): pass", True):
            with self.subTest(code=code), Host() as host:
                host.run(code, fresh=True)
                self.assertIs(host.value(holds, fresh=True), held)

    def test_the_same_on_pipes(self):
        told = self.end("import atexit\natexit.register(print, 'bye')", transport="stdio")
        self.assertEqual(told, "bye\n")


if __name__ == "__main__":
    unittest.main()
