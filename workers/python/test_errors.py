"""Exceptions, as the protocol tells them."""

import sys
import unittest

from conversation import Conversation, block, on_all_transports


class Errors(Conversation):
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


def printed_by_python(code, filename):
    """What Python prints for code that fails, from another process."""
    import subprocess

    program = f"import linecache as l, sys\ncode = {code!r}\nl.cache[{filename!r}] = (1, None, code.splitlines(True), {filename!r})\n"
    program += "import traceback\ntry: exec(compile(code, %r, 'exec'), {'__name__': '__main__'})\n" % filename
    program += "except BaseException as e:\n    t = e.__traceback__.tb_next\n"
    program += "    traceback.print_exception(type(e), e, None if isinstance(e, SyntaxError) else t)"
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=10).stderr.decode()


SocketMessagePack, SocketJson, StdioMessagePack, StdioJson = on_all_transports(Errors)


if __name__ == "__main__":
    unittest.main()
