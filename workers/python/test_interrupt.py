"""Interrupts: the message, SIGINT by itself, the handlers of the code, and event loops."""

import os
import signal
import sys
import textwrap
import unittest
from types import SimpleNamespace

from harness import load_worker
from escalation import FORCE, OnOneHost, cancel


class Interrupts(OnOneHost):
    def test_an_interrupt_between_the_end_of_a_task_and_its_loops_spares_the_next(self):
        code = """
            import asyncio
            async def nothing(): pass
            def interrupt(): raise KeyboardInterrupt
            asyncio.get_running_loop().call_soon(interrupt)
            await nothing()
        """
        frame = self.host.run(textwrap.dedent(code)).frame
        self.assertEqual((frame["kind"], frame["exception"]["type"]), ("exception", "KeyboardInterrupt"))
        self.assertEqual(self.host.value("await asyncio.sleep(0.001, 2)"), 2)
        frame = self.host.run("asyncio.get_running_loop().stop(); await asyncio.sleep(60)").frame
        self.assertEqual(frame["exception"]["type"], "RuntimeError", "its own doing")

    def test_the_loop_is_what_no_coroutine_and_no_callback_runs_in(self):
        worker = load_worker("worker_for_loops")

        def asked(*modules):
            """What is said in a function of the last module, called by one of the module before, and so on."""
            ask = lambda: worker.in_event_loop(sys._getframe(1))  # noqa: E731
            for name in reversed(modules):
                namespace = {"__name__": name, "ask": ask}
                exec("call = lambda *_: ask()", namespace)
                ask = namespace["call"]
            return worker.run_loop(SimpleNamespace(run_until_complete=ask), None)

        self.assertTrue(asked("asyncio.base_events", "asyncio.base_events"))
        self.assertTrue(asked("asyncio.base_events", "selectors"))
        for name in "__main__", "asyncio_of_mine", 5:
            self.assertFalse(asked("asyncio.events", name))
            self.assertFalse(asked("asyncio.events", name, "asyncio.queues"))
        self.assertFalse(worker.in_event_loop(sys._getframe()))

    def test_an_interrupt_is_a_keyboard_interrupt(self):
        for code in "while True: pass", "import time; time.sleep(60)", "input()", "import asyncio; await asyncio.sleep(60)":
            id = self.begin(f"print('go')\n{code}")
            self.host.send("interrupt")
            frame = self.host.finish(id).frame
            self.assertEqual((frame["kind"], frame["exception"]["type"]), ("exception", "KeyboardInterrupt"), code)
            self.assertEqual(frame["exception"]["message"], "")

    def test_an_interrupt_is_given_once(self):
        id = self.begin("""
            import time
            print('go')
            try: time.sleep(60)
            except KeyboardInterrupt: pass
            time.sleep(0.05)
            'once'
        """)
        self.host.send("interrupt")
        os.kill(self.host.process.pid, signal.SIGINT)
        self.host.interrupt_children()
        self.assertEqual(self.host.finish(id).frame["value"], "once")

    def test_sigint_alone_is_a_keyboard_interrupt(self):
        for code in "while True: pass", "import time; time.sleep(60)", "input()":
            id = self.begin(f"print('go')\n{code}")
            if "input" in code:
                self.host.next_frame("input_request")
            os.kill(self.host.process.pid, signal.SIGINT)
            frame = self.host.finish(id).frame
            self.assertEqual((frame["kind"], frame["exception"]["type"]), ("exception", "KeyboardInterrupt"), code)
        frame = self.host.run("import os\nos.kill(os.getpid(), 2)\nwhile True: pass").frame
        self.assertEqual((frame["kind"], frame["exception"]["type"]), ("exception", "KeyboardInterrupt"))

    def test_a_handler_of_the_code_has_the_first_cancel_and_each_interrupt_once(self):
        handle = "import signal\nhits = []\nsignal.signal(signal.SIGINT, lambda signum, frame: hits.append((signum, frame.f_code.co_name)))"
        self.assertEqual(self.host.run(handle).kind, "ok")
        wait = "print('go')\nwhile not hits: pass\nimport time; time.sleep(0.02)\n(hits.copy(), hits.clear())[0]"
        for ask in "cancel", "interrupt":
            id = self.begin(wait)
            self.host.send(ask, **({"id": id} if ask == "cancel" else {}))
            os.kill(self.host.process.pid, signal.SIGINT)
            self.assertEqual(self.host.finish(id).frame["value"], [[2, "<module>"]])
        id = self.begin("print('go')\ninput() + str(len(hits))")
        question = self.host.next_frame("input_request")
        os.kill(self.host.process.pid, signal.SIGINT)
        self.host.send("input_response", id=id, request=question["request"], value="answered ")
        self.assertEqual(self.host.finish(id).frame["value"], "answered 1")
        id = self.begin("print('go')\nwhile True: pass")
        frame, stage, _ = cancel(self.host, id)
        self.assertEqual((frame["kind"], stage), ("cancelled", FORCE))
        # It is the session's until that sets another one.
        back = "signal.signal(signal.SIGINT, signal.default_int_handler) is signal.default_int_handler"
        self.assertEqual([self.host.value(back), self.host.value(back)], [False, True])

    def test_a_handler_of_stateless_code_goes_with_it(self):
        self.host.run("import signal\nsignal.signal(signal.SIGINT, print)", fresh=True)
        is_default = "import signal\nsignal.getsignal(signal.SIGINT) is signal.default_int_handler"
        self.assertEqual(self.host.value(is_default, fresh=True), True)
        child = "import os\npid = os.fork()\nif pid == 0:\n    import signal\n    os._exit(signal.getsignal(2) is signal.default_int_handler)\n"
        self.assertEqual(self.host.value(child + "os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"), 1)

    def test_a_late_sigint_of_the_host_hits_nothing(self):
        for _ in range(20):
            id = self.begin("print('go')\nimport time; time.sleep(60)")
            self.host.send("cancel", id=id)
            self.host.next_frame("cancel_ack")
            os.kill(self.host.process.pid, signal.SIGINT)
            self.host.finish(id)
            self.assertEqual(self.host.value("sum(range(1000))"), 499500)

    def test_sigint_does_nothing_to_an_idle_worker(self):
        os.kill(self.host.process.pid, signal.SIGINT)
        self.assertEqual(self.host.value("1"), 1)


if __name__ == "__main__":
    unittest.main()
