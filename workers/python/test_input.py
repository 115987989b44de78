"""Input: input(), getpass and sys.stdin ask the host."""

import unittest

from conversation import Conversation, block, on_all_transports


class Input(Conversation):
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


SocketMessagePack, SocketJson, StdioMessagePack, StdioJson = on_all_transports(Input)


if __name__ == "__main__":
    unittest.main()
