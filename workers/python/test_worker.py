"""Conversations with a worker: what PROTOCOL.md promises, over both transports and in both codecs."""

import os
import sys
import textwrap
import time
import unittest

from harness import HERE, PROGRAM, Host, eventually


def block(code):
    return textwrap.dedent(code).strip("\n")


class Conversation:
    """The same tests for each transport and codec."""

    transport, codec = "socket", "msgpack"

    @classmethod
    def setUpClass(cls):
        cls.host = Host(cls.transport, cls.codec, init={"session": "test"})

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        if self.host.running:  # a test that failed left its execution behind
            self.tearDownClass()
            self.setUpClass()

    def fails(self, code, kind="exception", **fields):
        outcome = self.host.run(code, **fields)
        self.assertEqual(outcome.kind, kind, outcome)
        return outcome.frame["exception"]

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

    # -- errors

    def test_an_exception_is_told_as_python_would_print_it(self):
        code = "def f(x):\n    return 1 / x\n\nf(0)"
        exception = self.fails(code, filename="cell.py")
        self.assertEqual((exception["type"], exception["module"]), ("ZeroDivisionError", "builtins"))
        self.assertEqual(exception["message"], "division by zero")
        first, second = exception["frames"]
        self.assertEqual((first["file"], first["line"], first["name"], first["text"]), ("cell.py", 4, "<module>", "f(0)"))
        self.assertEqual((second["line"], second["name"], second["text"]), (2, "f", "return 1 / x"))
        if sys.version_info >= (3, 11):
            self.assertEqual((second["end_line"], second["col"], second["end_col"]), (2, 11, 16))
        self.assertEqual(exception["text"], printed_by_python(code, "cell.py"))
        self.assertEqual(self.host.value("'still here'"), "still here")

    def test_causes_contexts_and_notes_are_told(self):
        code = block("""
            try:
                try:
                    {}['key']
                except KeyError as error:
                    raise ValueError('cause follows') from error
            except ValueError:
                raise RuntimeError('context follows')
        """)
        exception = self.fails(code, filename="chain.py")
        self.assertEqual(exception["context"]["type"], "ValueError")
        self.assertEqual(exception["context"]["cause"]["type"], "KeyError")
        self.assertEqual(exception["text"], printed_by_python(code, "chain.py"))
        if sys.version_info >= (3, 11):
            noted = self.fails("e = ValueError('x')\ne.add_note('a note')\nraise e")
            self.assertEqual(noted["notes"], ["a note"])
            group = self.fails("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")
            self.assertEqual([member["type"] for member in group["exceptions"]], ["ValueError", "TypeError"])

    def test_columns_count_characters(self):
        if sys.version_info >= (3, 11):
            frame = self.fails("'ééé' + missing")["frames"][0]
            self.assertEqual((frame["col"], frame["end_col"]), (8, 15))

    def test_deep_tracebacks_are_cut_in_the_middle(self):
        exception = self.fails("def f(n): return f(n + 1)\nf(0)")
        self.assertEqual(exception["type"], "RecursionError")
        self.assertEqual(len(exception["frames"]), 61)
        self.assertIn("frames omitted", exception["frames"][30]["name"])

    def test_a_str_that_raises_is_contained(self):
        exception = self.fails("class E(Exception):\n    def __str__(self): raise ValueError\nraise E")
        self.assertEqual((exception["type"], exception["module"]), ("E", "__main__"))
        self.assertIn("str() raised ValueError", exception["message"])

    def test_exceptions_of_odd_makes_are_contained(self):
        code = block("""
            class Text(str):
                def __len__(self): raise ValueError
                def __str__(self): return self
            class Odd(SyntaxError):
                def __str__(self): return Text('odd')
            Odd.__qualname__ = Text('Odd')
            Odd.__module__ = 7
            error = Odd(Text('told'), (Text('file'), 2**100, -5, 'text'))
            error.end_lineno, error.end_offset = 2**70, -1
            error.__notes__ = [Text('noted'), 3]
            raise error
        """)
        exception = self.fails(code)
        self.assertEqual((exception["type"], exception["message"]), ("Odd", "told"))
        for code in (
            "class R:\n    def __repr__(self): return Text('r')\nR()",
            "class E(SystemExit):\n    code = property(lambda _: 1 / 0)\nraise E",
        ):
            self.host.run(code)
        self.assertEqual(self.host.value("1"), 1)

    def test_a_syntax_error_has_its_own_kind(self):
        code = "x = 1\nfoo bar\n"
        exception = self.fails(code, "syntax", filename="cell.py")
        self.assertEqual((exception["type"], exception["frames"][0]["line"]), ("SyntaxError", 2))
        self.assertEqual(exception["frames"][0]["text"], "foo bar")
        self.assertEqual(exception["text"], printed_by_python(code, "cell.py"))
        self.assertNotIn("context", self.fails("1 +", "syntax"))
        self.fails("eval('1 +')", "exception")
        self.assertIn(self.host.run("nothing\x00").kind, ("syntax", "exception"))  # it depends on the version

    def test_leaving_has_an_exit_code(self):
        for code, expected in ("exit()", 0), ("raise SystemExit(3)", 3), ("import sys; sys.exit(None)", 0), ("quit(True)", 1):
            frame = self.host.run(code).frame
            self.assertEqual((frame["kind"], frame["exit_code"]), ("exit", expected), code)
        outcome = self.host.run("raise SystemExit('a reason')")
        self.assertEqual((outcome.kind, outcome.frame["exit_code"]), ("exit", 1))
        self.assertEqual(outcome.frame["exception"]["message"], "a reason")
        self.assertEqual(outcome.text("stderr"), "a reason\n")
        self.assertEqual(self.host.value("1"), 1)

    # -- input

    def test_input_is_asked_of_the_host(self):
        def reply(question):
            self.assertEqual(question["prompt"], "name? ")
            return {"value": "Ada"}

        self.assertEqual(self.host.run("x = input('name? ')\nprint(x)", on_input=reply).text(), "Ada\n")

    def test_the_end_of_input_is_an_eof_error(self):
        frame = self.host.run("input()", on_input=lambda _: {"eof": True}).frame
        self.assertEqual(frame["exception"]["type"], "EOFError")
        self.assertEqual(len(frame["exception"]["frames"]), 1)
        frame = self.host.run("input()", allow_stdin=False).frame
        self.assertEqual(frame["exception"]["type"], "EOFError")

    def test_sys_stdin_has_bytes_too(self):
        lines = iter([{"value": "é"}, {"value": "b"}, {"eof": True}])
        outcome = self.host.run("import sys\nsys.stdin.buffer.read()", on_input=lambda _: next(lines))
        self.assertEqual(outcome.frame["repr"], repr("é\nb\n".encode()))

    def test_sys_stdin_reads_lines(self):
        lines = iter([{"value": "one"}, {"value": "two"}, {"eof": True}])
        outcome = self.host.run("import sys\nlist(sys.stdin)", on_input=lambda _: next(lines))
        self.assertEqual(outcome.frame["value"], ["one\n", "two\n"])
        outcome = self.host.run("sys.stdin.read(2), sys.stdin.readline()", on_input=lambda _: {"value": "abc"})
        self.assertEqual(outcome.frame["value"], ["ab", "c\n"])

    def test_getpass_asks_for_a_password(self):
        def reply(question):
            self.assertIs(question["password"], True)
            return {"value": "secret"}

        outcome = self.host.run("from getpass import getpass\ngetpass('pw: ')", on_input=reply)
        self.assertEqual(outcome.frame["value"], "secret")

    def test_threads_may_ask_too(self):
        code = block("""
            import threading
            got = []
            thread = threading.Thread(target=lambda: got.append(input('from a thread')))
            thread.start()
            thread.join()
            got
        """)
        outcome = self.host.run(code, on_input=lambda _: {"value": "yes"})
        self.assertEqual(outcome.frame["value"], ["yes"])

    def test_a_thread_left_asking_gets_the_end_of_file(self):
        code = block("""
            import threading
            got = []
            def ask():
                try: input()
                except EOFError: got.append('eof')
            asking = threading.Thread(target=ask)
            asking.start()
        """)
        self.host.run(code)
        self.assertEqual(self.host.value("asking.join(); got"), ["eof"])

    def test_late_and_unknown_replies_are_dropped(self):
        self.host.send("input_response", id="e1", request=10**6, value="late")
        self.host.send("input_response", id="e1", request="wrong", value="late")
        self.assertEqual(self.host.value("1"), 1)

    def test_pings_are_answered_while_input_waits(self):
        id = self.host.start("input()")
        question = self.host.next_frame("input_request")
        self.host.send("ping", seq=9)
        self.assertEqual(self.host.next_frame("heartbeat")["seq"], 9)
        self.host.send("input_response", id=id, request=question["request"], value="done")
        self.assertEqual(self.host.finish(id).frame["value"], "done")

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

    # -- fresh namespaces

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

    # -- heartbeat

    def test_a_busy_worker_answers_pings(self):
        id = self.host.start("def spin():\n    print('go')\n    while True: pass\nspin()")
        self.host.wait_for_output("go")
        self.host.send("ping", seq=1)
        beat = self.host.next_frame("heartbeat")
        self.assertEqual((beat["seq"], beat["running"], beat["where"][2]), (1, id, "spin"))
        self.assertGreater(beat["memory_usage"], 1 << 20)
        self.assertGreater(beat["cpu_percent"], 0)
        self.assertGreater(beat["namespace_size"], 0)
        self.assertGreaterEqual(beat["elapsed"], 0)
        self.host.send("cancel", id=id)
        self.assertEqual(self.host.finish(id).kind, "cancelled")

    def test_an_idle_worker_answers_pings(self):
        self.host.send("ping", seq=2)
        beat = self.host.next_frame("heartbeat")
        self.assertEqual(beat["seq"], 2)
        self.assertNotIn("running", beat)

    # -- requests that make no sense

    def test_a_field_of_a_wrong_type_fails_that_execution_alone(self):
        wrong = dict(code=7, timestamp="now", capture_source=1, filename=b"x", silent="no", fresh=1, mime=0)
        wrong.update(sys_path=[1], cwd=3, args=[1], allow_stdin="yes")
        for field, value in wrong.items():
            with self.subTest(field=field):
                fields = {"code": "print('ran')", field: value}
                outcome = self.host.run(fields.pop("code"), **fields)
                self.assertEqual(outcome.kind, "request")
                self.assertEqual(outcome.frame["exception"]["type"], "ProtocolError")
                self.assertIn(f"`{field}`", outcome.frame["exception"]["message"])
                self.assertEqual(outcome.text(), "")
        self.host.send("execute", id="no-code")
        self.host.expect_started("no-code")
        self.assertIn("missing", self.host.finish("no-code").frame["exception"]["message"])
        self.assertEqual(self.host.value("1", unknown_key=object and 1, filename=None), 1)

    def test_an_execute_without_a_valid_id_is_a_protocol_error(self):
        for fields in ({}, {"id": ""}, {"id": 7}, {"id": "x" * 65}, {"id": "é" * 33}):
            self.host.send("execute", code="1", **fields)
            self.assertEqual(self.host.next_frame()["type"], "protocol_error")
        self.assertEqual(self.host.value("1"), 1)

    def test_unknown_types_are_answered_and_survived(self):
        for kind in "dance", "surprise":
            self.host.send(kind, id="u1")
            frame = self.host.next_frame("protocol_error")
            self.assertEqual((frame["what"], frame["id"]), (f"unknown type `{kind}`", "u1"))
        self.host.write(len(self.host.codec.encode({})).to_bytes(4, "big") + self.host.codec.encode({}))
        self.host.next_frame("protocol_error")
        self.assertEqual(self.host.value("1"), 1)

    def test_questions_with_wrong_fields_are_refused(self):
        for kind, fields, field in (
            ("vars", {"max": "x"}, "max"),
            ("complete", {"code": "x"}, "pos"),
            ("complete", {"code": "x", "pos": 2}, "pos"),
            ("reset", {"keep": [1]}, "keep"),
        ):
            self.host.send(kind, id="q1", **fields)
            frame = self.host.next_frame("error")
            self.assertEqual((frame["id"], frame["kind"]), ("q1", "request"))
            self.assertIn(f"`{field}`", frame["exception"]["message"])
            self.host.send(kind)
            self.host.next_frame("protocol_error")
        self.host.send("protocol_error", what="nothing")  # never answered
        self.assertEqual(self.host.run("1").frames("protocol_error"), [])

    # -- smaller requests

    def test_variables_are_listed_and_names_completed(self):
        self.host.run("listed = {'a': 1}\nlisted_too = 'text'")
        self.host.send("vars", id="v1", max=1000)
        frame = self.host.next_frame("vars_result")
        told = {entry["name"]: (entry["type"], entry["repr"]) for entry in frame["vars"]}
        self.assertEqual(told["listed"], ("dict", "{'a': 1}"))
        for code, at, matches, start in (
            ("x = list", 8, ["list", "listed", "listed_too"], 4),
            ("é; listed.ke + 1", 12, ["keys"], 10),
            ("listed.nothing.at", 17, [], 15),
        ):
            self.host.send("complete", id="c1", code=code, pos=at)
            frame = self.host.next_frame("complete_result")
            self.assertEqual((frame["matches"], frame["start"], frame["end"]), (matches, start, at), code)

    def test_reset_empties_the_namespace(self):
        self.host.run("kept = 1\nlost = 2")
        self.host.send("reset", id="r1", keep=["kept", "unknown"])
        self.assertEqual(self.host.next_frame("reset_result")["id"], "r1")
        self.assertEqual(self.host.value("'lost' in globals(), kept, __name__"), [False, 1, "__main__"])

    def test_future_imports_last(self):
        self.host.run("from __future__ import annotations")
        self.assertEqual(self.host.value("def f(x: undefined): pass\nf.__annotations__['x']"), "undefined")
        self.host.run("from __future__ import annotations", fresh=True)
        self.host.send("reset", id="r2")
        self.host.next_frame("reset_result")
        self.fails("def f(x: undefined): pass" if sys.version_info < (3, 14) else "undefined")


class OverSocketInMessagePack(Conversation, unittest.TestCase):
    pass


class OverSocketInJson(Conversation, unittest.TestCase):
    codec = "json"


class OverStdioInMessagePack(Conversation, unittest.TestCase):
    transport = "stdio"


class OverStdioInJson(Conversation, unittest.TestCase):
    transport, codec = "stdio", "json"


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

    def test_the_worker_can_be_started_as_a_program(self):
        with Host("stdio") as host:
            self.assertEqual(host.value("6 * 7"), 42)
            names = "import sys\n[name in sys.modules for name in ('parts', '_ostler_worker')]"
            self.assertEqual(host.value(names), [False, True])
            self.assertFalse({HERE, PROGRAM} & set(host.value("sys.path")))


def printed_by_python(code, filename):
    """What Python prints for code that fails, from another process."""
    import subprocess

    program = f"import linecache as l, sys\ncode = {code!r}\nl.cache[{filename!r}] = (1, None, code.splitlines(True), {filename!r})\n"
    program += "import traceback\ntry: exec(compile(code, %r, 'exec'), {'__name__': '__main__'})\n" % filename
    program += "except BaseException as e:\n    t = e.__traceback__.tb_next\n"
    program += "    traceback.print_exception(type(e), e, None if isinstance(e, SyntaxError) else t)"
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=10).stderr.decode()


if __name__ == "__main__":
    unittest.main()
