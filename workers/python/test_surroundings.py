"""Fresh namespaces, and what an execution gives back."""

import time
import unittest

from conversation import Conversation, block, on_all_transports


class Surroundings(Conversation):
    def test_a_fresh_execution_leaves_the_session_alone(self):
        self.host.run("import sys, os\nmine = 1")
        before = self.host.value("[sys.argv, sys.path, os.getcwd(), sys.modules['__main__'].mine]")
        code = block("""
            import os, sys, __main__
            assert 'mine' not in globals() and __main__.__dict__ is globals()
            theirs = 2
            sys.argv = ['changed']; sys.path.insert(0, 'changed'); os.chdir('/'); sys.stdout = None; sys.stdin = None
            sys.modules['__main__'] = None
        """)
        frame = self.host.run(code, fresh=True).frame
        self.assertEqual(frame["type"], "result", frame)
        self.assertEqual(self.host.value("[sys.argv, sys.path, os.getcwd(), sys.modules['__main__'].mine]"), before)
        self.assertEqual(self.host.value("'theirs' in globals()"), False)
        self.assertEqual(self.host.run("print('out')").text(), "out\n")

    def test_a_fresh_execution_gives_back_the_folder_of_the_moment(self):
        folder = "__import__('os').getcwd()"
        for moved_to in "/", "/dev":
            self.host.run(f"import os\nos.chdir('{moved_to}')")
            self.assertEqual(self.host.value(folder, fresh=True), moved_to)
            self.host.run("import os\nos.chdir('/proc')", fresh=True)
            self.assertEqual(self.host.value(folder, fresh=True), moved_to)
            self.assertEqual(self.host.value(folder, fresh=True, cwd="/proc"), "/proc")
            self.assertEqual(self.host.value(folder), moved_to)

    def test_a_fresh_namespace_is_freed_at_its_end_and_one_with_cycles_when_nothing_happens(self):
        code = "import sys, types, weakref\nthing = types.ModuleType('thing')\nsys.modules['kept'] = weakref.ref(thing)\n"
        gone = "__import__('sys').modules['kept']() is None"
        for rest, at_once in ("", True), ("def cycle(): pass", False):
            self.host.run("import gc\ngc.disable()")
            # Sent together, so that the worker is not idle between them.
            ran, asked = (self.host.frame("execute", id="ran", code=code + rest, fresh=True), self.host.frame("execute", id="asked", code=gone))
            self.host.write(ran + asked)
            self.assertEqual(self.host.finish("ran").kind, "ok")
            self.assertEqual(self.host.finish("asked").frame["value"], at_once)
            self.host.run(code + rest, fresh=True)
            limit = time.monotonic() + 30
            while not self.host.value(gone):
                self.assertLess(time.monotonic(), limit, "it was not collected")
                time.sleep(0.05)

    def test_an_execution_has_its_own_path_and_folder_and_never_arguments(self):
        code = "import sys, os\n[__name__, '__file__' in globals(), sys.argv, sys.path[0], os.getcwd()]"
        before = self.host.value(code)
        fields = dict(filename="/s/cell.py", argv=["cell.py", "-x"], sys_path=["/s"], cwd="/")
        for fresh in False, True:
            self.assertEqual(self.host.value(code, fresh=fresh, **fields), ["__main__", False, [""], "/s", "/"])
            self.assertEqual(self.host.value(code), before)
        self.host.run("os.chdir('/proc')", sys_path=["/s"])
        self.assertEqual(self.host.value(code), [*before[:4], "/proc"], "it went there by itself, and is a session")

    def test_a_folder_that_does_not_exist_fails_the_request(self):
        self.fails("1", "request", cwd="/does/not/exist", fresh=True)
        self.assertEqual(self.host.value("2"), 2)


SocketMessagePack, SocketJson, StdioMessagePack, StdioJson = on_all_transports(Surroundings)


if __name__ == "__main__":
    unittest.main()
