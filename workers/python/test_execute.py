"""Executions: their values, what they print, `await`, `display` and arguments."""

import sys
import unittest

from conversation import Conversation, block, on_all_transports
from harness import eventually


class Executions(Conversation):
    # -- hello

    def test_ready_says_who_is_there(self):
        ready = self.host.ready
        self.assertEqual(list(ready)[0], "type")
        self.assertEqual(ready["type"], "ready")
        self.assertEqual(ready["protocol"], 1)
        self.assertEqual(ready["codec"], self.codec)
        self.assertEqual(ready["language"], "python")
        self.assertEqual(ready["pid"], self.host.process.pid)
        self.assertEqual(ready["version"], "%d.%d.%d" % sys.version_info[:3])
        for capability in "input", "cancel", "interrupt", "await", "display", "reset", "vars", "complete":
            self.assertIn(capability, ready["capabilities"])
        self.assertGreater(ready["boot_ms"], 0)

    # -- results

    def test_the_last_expression_has_a_value_and_a_repr(self):
        self.host.run("globals().pop('_', None)")  # which would hide the last value
        frame = self.host.run("1 + 1").frame
        self.assertEqual((frame["value"], frame["repr"]), (2, "2"))
        for field in "execution_time", "cpu_time":
            self.assertGreater(frame[field], 0)
        self.assertGreater(frame["memory_usage"], 1 << 20)
        frame = self.host.run("x = 5").frame
        self.assertNotIn("value", frame)
        self.assertNotIn("repr", frame)
        self.assertEqual(self.host.value("y = x * 2\ny + 1"), 11)
        self.assertEqual(self.host.value("_ + 1"), 12)
        self.assertEqual(self.host.value("a = 1; a + 1"), 2)

    def test_silent_executions_have_no_value(self):
        frame = self.host.run("41 + 1", silent=True).frame
        self.assertNotIn("value", frame)
        self.assertNotIn("repr", frame)

    def test_plain_values_travel_and_others_have_a_repr_only(self):
        value = self.host.value('{"a": [1, 2.5, None, True, "é", b"x"], "b": (1,)}')
        self.assertEqual(value, {"a": [1, 2.5, None, True, "é", b"x"], "b": [1]})
        for code in "1 << 64", "{(1,): 2}", "{1}", "object()", "'x' * 65536", "[0] * 65537", "l = []; l.append(l); l", "'\\ud800'":
            frame = self.host.run(code).frame
            self.assertNotIn("value", frame, code)
            self.assertIn("repr", frame)
        self.assertEqual(len(self.host.value("'x' * 60000")), 60000)
        self.assertEqual(self.host.value("{1: 'one', '$x': {None: 2.5}}"), {1: "one", "$x": {None: 2.5}})

    def test_a_long_repr_is_cut(self):
        self.assertEqual(len(self.host.run("'x' * 1000000").frame["repr"]), 64 << 10)

    def test_a_repr_that_raises_is_contained(self):
        for exception in "ValueError", "KeyboardInterrupt", "SystemExit":
            code = f"class R:\n    def __repr__(self): raise {exception}('no')\nR()"
            self.assertIn(f"repr() raised {exception}", self.host.run(code).frame["repr"])

    def test_new_names_and_the_size_of_the_namespace_are_told(self):
        before = self.host.run("None").frame["namespace_size"]
        frame = self.host.run("new_one = 1\ndef new_two(): pass").frame
        self.assertEqual(frame["new_names"], ["new_one", "new_two"])
        self.assertEqual(frame["namespace_size"], before + 2)
        self.assertNotIn("new_names", self.host.run("new_one = 2").frame)

    def test_messages_of_a_mebibyte_arrive_whole(self):
        text = "é" * (1 << 19)
        self.assertEqual(self.host.value(f"len('{text}')"), 1 << 19)
        outcome = self.host.run("print('y' * (1 << 20))")
        self.assertEqual(outcome.text(), "y" * (1 << 20) + "\n")
        self.assertEqual(self.host.value("len(blob), blob[:2]", args={"blob": b"\x00\xff" * (1 << 19)}), [1 << 20, b"\x00\xff"])

    def test_frames_may_arrive_in_pieces(self):
        frame = self.host.frame("execute", id="pieces", code="'in pieces'")
        for at in range(1, len(frame)):
            self.host.write(frame[:at])
            self.host.wait_until_read()
            self.host.write(frame[at:])
            self.host.expect_started("pieces")
            self.assertEqual(self.host.finish("pieces").frame["value"], "in pieces")

    # -- output

    def test_output_streams_while_the_code_runs(self):
        id = self.host.start("print('first')\ninput()\nprint('second', end='')")
        question = self.host.next_event()
        self.assertEqual(question[:2], ("stdout", b"first\n"))
        request = self.host.next_frame("input_request")["request"]
        self.host.send("input_response", id=id, request=request, value="")
        self.assertEqual(self.host.finish(id).text(), "second")

    def test_both_streams_and_odd_text_arrive(self):
        code = "import sys\nprint('out é \\ud800')\nprint('err', file=sys.stderr)\nsys.stdout.buffer.write(b'raw')"
        outcome = self.host.run(code, silent=True)
        self.assertEqual(outcome.text("stdout"), "out é \\ud800\nraw")
        self.assertEqual(outcome.text("stderr"), "err\n")

    def test_nothing_is_lost_of_many_lines(self):
        outcome = self.host.run("for i in range(5000): print(i)")
        self.assertEqual(outcome.text().split(), [str(i) for i in range(5000)])

    # -- await, display, args

    def test_await_works_at_the_top_level(self):
        self.assertEqual(self.host.value("import asyncio\nawait asyncio.sleep(0, 'slept')"), "slept")
        self.assertEqual(self.host.value("async def count():\n    yield 1\n    yield 2\n[n async for n in count()]"), [1, 2])
        exception = self.fails("async def f(): raise ValueError('async')\nawait f()")
        self.assertEqual([frame["name"] for frame in exception["frames"]], ["<module>", "f"])

    def test_what_a_cell_with_await_sets_in_a_context_is_kept(self):
        self.host.run("import asyncio, contextvars, decimal\nvar = contextvars.ContextVar('var', default='default')")
        self.assertEqual(self.host.value("await asyncio.sleep(0); var.set('mine') and None; var.get()"), "mine")
        self.assertEqual(self.host.value("var.get()"), "mine")
        self.assertEqual(self.host.value("await asyncio.sleep(0, var.get())"), "mine")
        self.fails("var.set('before it failed'); await asyncio.sleep(0); 1 / 0")
        self.assertEqual(self.host.value("var.get()"), "before it failed")
        self.host.run("decimal.getcontext().prec = 5; await asyncio.sleep(0)")
        self.assertEqual(self.host.value("str(decimal.Decimal(1) / 3)"), "0.33333")
        # What a task of its own sets is that task's, and what a request of its own sets is that request's.
        self.host.run("async def other(): var.set('a task of its own')\nawait asyncio.create_task(other())")
        self.assertEqual(self.host.value("var.get()"), "before it failed")
        self.host.run("import decimal, asyncio; decimal.setcontext(decimal.Context(prec=3)); await asyncio.sleep(0)", fresh=True)
        self.assertEqual(self.host.value("str(decimal.Decimal(1) / 3)"), "0.33333")

    def test_a_warning_is_shown_in_each_cell_that_gives_it(self):
        self.host.run("import warnings\ndef old(): warnings.warn('old', stacklevel=2)")
        for code in "warnings.warn('careful')", "warnings.warn('careful')", "await asyncio.sleep(0); warnings.warn('careful')":
            self.assertIn("UserWarning: careful", self.host.run("import asyncio; " + code).text("stderr"))
        for _ in range(2):
            self.assertIn("UserWarning: old", self.host.run("old()").text("stderr"))
        # Within one cell it is Python's to say how often.
        self.assertEqual(self.host.run("for _ in range(3): warnings.warn('thrice')").text("stderr").count("thrice"), 2)
        self.assertEqual(self.host.run("warnings.simplefilter('ignore'); warnings.warn('careful')").text("stderr"), "")
        self.host.run("warnings.simplefilter('once')")
        self.assertIn("UserWarning: said once", self.host.run("warnings.warn('said once')").text("stderr"))
        self.assertEqual(self.host.run("warnings.warn('said once')").text("stderr"), "")

    def test_tasks_go_on_between_executions(self):
        code = block("""
            import asyncio
            beats = []
            async def beat():
                while len(beats) < 3:
                    beats.append(1)
                    await asyncio.sleep(0.001)
                print('beaten', flush=True)
            task = asyncio.create_task(beat())
            await asyncio.sleep(0)
        """)
        self.host.run(code)
        eventually(lambda: self.host.value("task.done()"))
        self.assertEqual(self.host.value("len(beats)"), 3)
        self.assertEqual(self.host.value("await asyncio.sleep(0, 7)"), 7)

    def test_display_sends_rich_representations_in_order(self):
        code = block("""
            class Rich:
                def _repr_html_(self): return '<b>rich</b>'
                def _repr_json_(self): return {'a': 1}
                def _repr_png_(self): return b'png'
                def __repr__(self): return 'Rich()'
            print('before')
            display(Rich(), metadata={'k': 1}, display_id='d1')
            print('after')
        """)
        outcome = self.host.run(code)
        (shown,) = outcome.frames("display")
        # What was printed before comes before. On the socket transport the fence cannot tell it from what was printed
        # after the frame was sent and before the host looked.
        before = b"".join(event[1] for event in outcome.events[: outcome.events.index(shown)])
        self.assertTrue(before.startswith(b"before\n"), outcome)
        self.assertEqual(outcome.text(), "before\nafter\n")
        self.assertEqual(shown["display_id"], "d1")
        self.assertEqual(shown["metadata"], {"k": 1})
        expected = {"text/html": "<b>rich</b>", "application/json": '{"a": 1}', "image/png": b"png", "text/plain": "Rich()"}
        self.assertEqual(shown["data"], expected)
        self.assertNotIn("mime", self.host.run("Rich()").frame)
        self.assertEqual(self.host.run("Rich()", mime=True).frame["mime"]["text/html"], "<b>rich</b>")

    def test_args_are_bound_before_the_code_runs(self):
        args = {"n": 1, "text": "é", "blob": b"\x00", "nested": {"a": [None, True, 1.5]}}
        self.assertEqual(self.host.value("[n, text, blob, nested]", args=args), list(args.values()))


SocketMessagePack, SocketJson, StdioMessagePack, StdioJson = on_all_transports(Executions)


if __name__ == "__main__":
    unittest.main()
