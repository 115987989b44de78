"""Heartbeats, the smaller requests, and requests that make no sense."""

import sys
import unittest

from conversation import Conversation, on_all_transports


class Requests(Conversation):
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


SocketMessagePack, SocketJson, StdioMessagePack, StdioJson = on_all_transports(Requests)


if __name__ == "__main__":
    unittest.main()
