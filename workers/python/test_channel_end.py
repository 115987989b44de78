"""The end of the channel is the end of the worker and of its group."""

import signal
import unittest

from harness import Host, WorkerGone, eventually, is_alive


class End(unittest.TestCase):
    def test_the_end_of_the_channel_kills_the_whole_group(self):
        for code in ("while True: pass", "import time; time.sleep(60)", "input()", "import asyncio; await asyncio.sleep(60)",
                     "while True:\n    try: time.sleep(60)\n    except BaseException: pass", ""):  # fmt: skip
            with self.subTest(code=code), Host() as host:
                child = host.value("import subprocess, time\nsubprocess.Popen(['sleep', '60']).pid")
                if code:
                    host.start(f"print('go')\n{code}")
                    host.wait_for_output("go")
                host.socket.shutdown(2)
                self.assertEqual(host.wait_for_exit(), -signal.SIGKILL)
                eventually(lambda: not is_alive(child))

    def test_the_end_of_stdin_is_the_end_too(self):
        with Host("stdio") as host:
            host.start("print('go')\nwhile True: pass")
            host.wait_for_output("go")
            host.process.stdin.close()
            self.assertEqual(host.wait_for_exit(), -signal.SIGKILL)

    def test_a_channel_that_user_code_closes_is_the_end(self):
        with Host() as host:
            with self.assertRaises(WorkerGone):
                host.run("import os; os.closerange(3, 256)")
            host.wait_for_exit()


if __name__ == "__main__":
    unittest.main()
