"""Start, `init`, and broken frames."""

import os
import unittest

from harness import HERE, PROGRAM, Host


class Init(unittest.TestCase):
    def test_init_prepares_the_session(self):
        folder = os.path.dirname(os.path.abspath(__file__))
        init = dict(cwd="/", sys_path=[folder], env={"ADDED": "yes", "PATH": None}, seq=41)
        with Host(init={**init, "limits": {"max_repr": 10, "max_frames": 4}}) as host:
            code = "import os, sys\nos.getcwd(), sys.argv, sys.path[0], os.environ['ADDED'], 'PATH' in os.environ"
            self.assertEqual(host.value(code), ["/", [""], folder, "yes", False])
            self.assertEqual(len(host.run("'x' * 100").frame["repr"]), 10)
            exception = host.run("def f(): f()\nf()").frame["exception"]
            self.assertEqual(exception["frames"][0]["file"], "<exec:44>")
            self.assertEqual(len(exception["frames"]), 5)

    def test_the_hosts_variables_are_hidden_from_user_code(self):
        with Host() as host:
            names = host.value("import os\nsorted(name for name in os.environ if name.startswith('OSTLER'))")
            self.assertEqual(names, ["OSTLER_TAG"])

    def test_another_protocol_is_refused(self):
        with Host() as host:
            host.send("init", protocol=2)
            frame = host.next_frame("protocol_error")
            self.assertEqual((frame["what"], frame["expected"], frame["got"]), ("protocol version", "1", "2"))
            self.assertEqual(host.wait_for_exit(), 64)

    def test_broken_frames_end_the_worker(self):
        for data in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\1\x00", b"\0\0\0\2\x81\xa1"):
            with self.subTest(data=data), Host() as host:
                host.write(data)
                self.assertIn("frame", host.next_frame("protocol_error")["what"])
                self.assertEqual(host.wait_for_exit(), 64)

    def test_shutdown_ends_in_order(self):
        with Host() as host:
            host.run("import atexit; atexit.register(print, 'goodbye')")
            host.send("shutdown", reason="test")
            self.assertEqual(host.next_event(), ("stdout", b"goodbye\n"))
            self.assertEqual(host.next_frame(), {"type": "bye"})
            self.assertEqual(host.wait_for_exit(), 0)

    def test_shutdown_cancels_what_runs(self):
        with Host() as host:
            id = host.start("print('go')\nwhile True: pass")
            host.wait_for_output("go")
            host.send("shutdown")
            self.assertEqual(host.finish(id).kind, "cancelled")
            self.assertEqual(host.next_frame(), {"type": "bye"})
            self.assertEqual(host.wait_for_exit(), 0)

    def test_a_session_that_never_saves_loads_nothing_for_it(self):
        with Host(init={}) as host:
            host.run("x = 1")
            self.assertEqual(host.value("import sys\n[name in sys.modules for name in ('_ostler_state', 'pickle')]"), [False, False])

    def test_the_worker_can_be_started_as_a_program(self):
        with Host("stdio") as host:
            self.assertEqual(host.value("6 * 7"), 42)
            names = "import sys\n[name in sys.modules for name in ('parts', '_ostler_worker')]"
            self.assertEqual(host.value(names), [False, True])
            self.assertFalse({HERE, PROGRAM} & set(host.value("sys.path")))


if __name__ == "__main__":
    unittest.main()
