"""Saving a namespace and bringing it back (row C7): each test saves in one worker and restores in another."""

import base64
import os
import tempfile
import unittest
import zlib

from checkpoints import CHECKS, SAVED, StateTest, carry, kinds, reasons, restore, save
from harness import Host


class Saved(StateTest):
    def test_a_namespace_comes_back_over_each_transport_and_codec(self):
        for transport, codec in (("socket", "msgpack"), ("stdio", "msgpack"), ("socket", "json"), ("stdio", "json")):
            with self.subTest(transport=transport, codec=codec):
                with Host(transport, codec, init={}) as host:
                    self.holds(host, SAVED)
                    self.assertIn("checkpoint", host.ready["capabilities"])
                    parts, last = save(host)
                    self.holds(host, CHECKS)  # and the session goes on
                with Host(transport, codec, init={}) as host:
                    restored = restore(host, parts)
                    self.assertEqual((restored["names"], restored["failed"]), (last["names"], []))
                    self.holds(host, CHECKS)
                    again, last = save(host)
                with Host(transport, codec, init={}) as host:  # what was restored can be saved
                    self.assertEqual(restore(host, again)["names"], last["names"])
                    self.holds(host, CHECKS)

    def test_relations_come_back_and_nothing_runs_twice(self):
        with Host(init={}) as first, Host(init={}) as second:
            for number, (name, code, check) in enumerate(kinds("state_kinds.txt")):
                with self.subTest(name):
                    self.comes_back(first, second, number, code, check)

    def test_what_would_come_back_as_something_else_is_told(self):
        code = """
import abc, contextvars, functools, sys, tempfile, types, weakref
class O: pass
o = O(); fine = [o]
proxy = weakref.proxy(o); callable_proxy = weakref.proxy(len if False else O.__init__ if False else o.__class__)
reference = weakref.ref(o); inside = {'deep': [proxy]}
finalizer = weakref.finalize(o, int)
weak_set = weakref.WeakSet([o])
folder = tempfile.TemporaryDirectory()
file = tempfile.TemporaryFile()
made_module = types.ModuleType('json')
variable = contextvars.ContextVar('variable')
class Holder:
    def __init__(self, other): self.other = weakref.proxy(other)
holder = Holder(o)
"""
        parts, last = carry(code)
        lost = reasons(last["skipped"])
        self.assertEqual(
            set(lost),
            {"proxy", "callable_proxy", "reference", "inside", "finalizer", "weak_set", "folder", "file"}
            | {"made_module", "variable", "holder"},
        )
        self.assertIn("it would come back as the object itself", lost["proxy"][1])
        self.assertIn("its folder ends with the worker", lost["folder"][1])
        self.assertIn("made here and not imported", lost["made_module"][1])
        with Host(init={}) as host:
            self.assertEqual(restore(host, parts)["failed"], [])
            self.assertEqual(host.value("type(o).__name__, fine[0] is o, 'proxy' in globals()"), ["O", True, False])

    def test_tables_of_duckdbs_default_database_are_told_as_lost(self):
        code = """
import sys, types
duckdb = types.ModuleType('duckdb')
class Connection:
    def cursor(self): return Connection()
    def execute(self, query): return self
    def fetchall(self): return tables
tables = []
duckdb.default_connection = Connection
sys.modules['duckdb'] = duckdb
"""
        with Host(init={}) as host:
            self.holds(host, code)
            self.holds(host, "tables = [('t',)]")
            self.assertEqual(save(host, "unused")[1]["skipped"], [])  # no such library runs a thread
            self.holds(host, "sys.modules['_ostler_worker'].load_deferred('branch').has_threads_of = 'duckdb'.__eq__")
            self.assertIn("with 't'", reasons(save(host, "used")[1]["skipped"])["duckdb.default_connection()"][1])
            self.holds(host, "tables = []")
            self.assertEqual(save(host, "empty")[1]["skipped"], [])

    def test_a_collection_that_refuses_its_items_costs_only_itself(self):
        code = """
import collections
class Own(collections.UserList):
    def __reduce__(self): return Own, (), None, iter([1, 2])
    def append(self, item): raise OSError('append')
    def extend(self, items): raise OSError('extend')
class Map(collections.UserDict):
    def __reduce__(self): return Map, (), None, None, iter([(1, 2)])
    def __setitem__(self, key, value): raise OSError('setitem')
own, map_, fine = Own(), Map(), 1
"""
        parts, last = carry(code)
        self.assertEqual(last["skipped"], [])
        with Host(init={}) as host:
            answer = restore(host, parts)
            failed = {name["name"]: name["reason"] for name in answer["failed"]}
            self.assertEqual(failed, {"own": "OSError: extend", "map_": "OSError: setitem"})
            self.assertEqual(host.value("fine"), 1)

    def test_a_dict_or_set_that_misses_an_item_is_told_as_lost(self):
        code = """
import collections
class Key:
    def __init__(self): self.k = 1
    def __hash__(self): return hash(self.k) if 'ready' in globals() else 1 // 0
ready = True
table, keys, frozen, fine = {Key(): 1}, {Key()}, frozenset([Key()]), 6
holder, counted = [table], collections.Counter([Key()])
del ready
"""
        parts, last = carry(code)
        self.assertEqual(last["skipped"], [])
        with Host(init={}) as host:
            failed = {name["name"] for name in restore(host, parts)["failed"]}
            self.assertEqual(failed, {"table", "keys", "frozen", "holder", "counted"})
            self.assertEqual(host.value("fine"), 6)

    def test_generic_models_that_a_library_keeps_among_its_own_names_come_back(self):
        library = """
import sys, types
lib = sys.modules['lib'] = types.ModuleType('lib')
exec('''
class Root:
    __pydantic_generic_metadata__ = {'origin': None, 'args': ()}
    made = {}
    def __class_getitem__(cls, args):
        args = args if type(args) is tuple else (args,)
        if args not in cls.made:
            names = {'__module__': 'lib', '__pydantic_generic_metadata__': {'origin': cls, 'args': args}}
            cls.made[args] = globals()[f'Root[{args}]'] = type(f'Root[{args}]', (cls,), names)
        return cls.made[args]
''', lib.__dict__)
"""
        parts, last = carry(library + "class R(lib.Root[int]): pass\nr, kind = R(), lib.Root[str]")
        self.assertEqual(last["skipped"], [])
        with Host(init={}) as host:
            self.holds(host, library)
            self.assertEqual(restore(host, parts)["failed"], [])
            self.assertEqual(host.value("isinstance(r, lib.Root[int]), kind is lib.Root[str]"), [True, True])

    def test_a_state_of_the_format_before_comes_back(self):
        # Of format 1: a closure that has counted to 1, and an instance.
        then = (
            b"c-qaAL2ukd6oAK@-NbRSP17a_i3(XNqU$DE?TQN2C@mC}3yT&=xN#Uc-dV=2*G@e)Y-m<mB+_gv-<T>rfK(&|REYlq5{D`$q?~%I)C<a~?~T2V"
            b"q4@zg$>hB^Z{ED`y*D3ke)iG&MthSGqQURMop=(&?VX4Rz7pT6H=Ff$;tGg8`wQ0*WsrWURt;tH?H&`KqbZ((#R+0RVxijlByjyGo&d@2bd+UV"
            b"S<p`eap*8{C)Pn(V}0hVHm}FeK`}b4Yi40;)~aE`=bP8ehLUg-qK!AyX5f2)V|%85VltPmnax}cSrmtUwx1~w#Be-Y2veoGnn$P9_1%clnqXdc"
            b"+3Z`ZCQ9`_<j~K(dcl{hqg-G=3#kItGUp|;X&G?IvZ<iqaL%-xd8Q6E%V?-72zEPWzQbG%i;0!*#t@geAd$wf@?afH2wzgAfrva7QW4n^lZmnA"
            b"`W?#b(A$yU$$_jTQ`u#bgLluq#b`J7oyZM*aHzfiI$Uu?3SSBSuu;!nfn{GiARX<#HqyFUr}V8pAiHFfSQG81==##R^LXwYEDzw^JvjMwm5}=&"
            b"ZIZ{O_EV&JOf2nC^99PoV}0E3!wKL&UdVE-uc<bQ>vgc=K#6%+{uz?L_36>4_a;Z$lex1a9cP4uI73z`G*DK>!%WQg!fE(-IHnJ)S&E{TMtY)8"
            b"4{tmxO;qNeky93(%+3uz3}?YvCV7^Ums_QM*|s9Nq3YRnJ+D|#K7%Enr4$Ckj=e}wD%;5!N^gDjFN;noz7~*q8QpKkws&GMDD4HE*h3Xvd$#MN"
            b"I0bP72Lr?d+1{6THyTMr4G<<{sOG9c#?B`CR_uC_>kFBbqn&Mr>AlKdOD2P@o6Lzo-2=lwW-Nwc86W2t0fe9D3wVF}3M8MbeK0yIoi-~AupE$G"
            b"ZI{q|vxAeOwXxlOt8`e#*ASNS2APHC=XV^RQ8@Lnj!hNVgdur!<KdO>-+l-`s_l~N{8G!vn^EOUnDJbjpKbGbeu<w;{u4_g4qq(RPCZ@4_4|=l"
            b";3|)~8j33_?Cp}9xd!tM>(8M7mfKDy9hlSRAitLKtFbSVrzsrIq^T-p2ALNX^AGEf-uUUwUz<N({`11hUl&&XSX{~B8?BiF{FNen1K^7hUm`~t"
            b"3xJPK;qUz~o-$%xZIuBl(R`TBjP2bb+f`sYHFg1#ueG#2DN@#W526fYQrS))%0=rNRJFcrX<|#<mGu|F8TWD"
        )
        with Host(init={}) as host:
            answer = restore(host, [zlib.decompress(base64.b85decode(then))])
            self.assertEqual((answer["names"], answer["failed"]), (["counter", "Point", "add", "point"], []))
            self.assertEqual(host.value("add(), point.moved().x"), [2, 2])

    def test_a_named_tuple_is_saved_whenever_the_collector_runs(self):
        parts, last = carry("import collections, gc\nPt = collections.namedtuple('Pt', 'x y')\npt = Pt(1, 2)\ngc.freeze()\ngc.set_threshold(1, 1, 1)")
        self.assertEqual((last.get("exception"), last["skipped"]), (None, []))
        with Host(init={}) as host:
            restore(host, parts)
            self.assertEqual(host.value("pt.x, Pt(3, 4).y"), [1, 4])

    def test_what_fails_once_is_tried_again(self):
        code = """
class Moody:
    tries = 0
    def __reduce__(self):
        Moody.tries += 1
        if Moody.tries in FAILS: raise OSError("not in the mood")
        return Moody, ()
a, b = Moody(), 1
"""
        for fails, skipped in (([1], {}), ([1, 2], {"a": ("Moody", "OSError: not in the mood")})):
            _, last = carry(f"FAILS = {fails}{code}")
            self.assertEqual((last.get("exception"), reasons(last["skipped"])), (None, skipped))

    def test_the_worker_as_a_program_restores_too(self):
        parts, _ = carry("x = 41")
        with Host("stdio", init={}) as host:
            self.assertEqual(restore(host, parts)["names"], ["x"])
            self.assertEqual(host.value("x + 1"), 42)

    def test_what_cannot_be_saved_is_told_and_costs_the_rest_nothing(self):
        code = """
import threading, io
fine = 1
lock = threading.Lock()
file = open('/dev/null')
generator = (i for i in range(3))
inside = {'deep': [lock]}
class Rude:
    def __reduce__(self): raise ValueError('no, never')
rude = Rude()
deep = []
for _ in range(100000): deep = [deep]
globals()[7] = 'a number'
"""
        with Host(init={}) as host:
            self.holds(host, code)
            parts, last = save(host)
            skipped = reasons(last["skipped"])
        self.assertEqual(set(skipped), {"lock", "file", "generator", "inside", "rude", "deep", "7"})
        self.assertEqual(skipped["rude"], ("Rude", "ValueError: no, never"))
        self.assertEqual(skipped["lock"][0], "lock")
        self.assertIn("lock", skipped["inside"][1])
        self.assertEqual(set(last["names"]), {"threading", "io", "fine", "Rude", "_"})
        self.assertEqual(last["imports"], ["io", "threading"])

    def test_names_are_chosen(self):
        with Host(init={}) as host:
            self.holds(host, "x = 1; y = 2; z = 3")
            self.assertEqual(save(host, "1", include=["x", "y", "w"], exclude=["y"])[1]["names"], ["x"])
            _, last = save(host, "2", include=["w"])
            self.assertEqual(reasons(last["skipped"])["w"][1], "the session has no such name")
            parts, _ = save(host, "3")
        with Host(init={}) as host:
            answer = restore(host, parts, names=["z", "w"])
            self.assertEqual(answer["names"], ["z"])
            self.assertEqual(answer["failed"], [{"name": "w", "reason": "it is not in the checkpoint"}])
            self.assertEqual(host.value("[name for name in 'xyz' if name in globals()]"), ["z"])

    def test_what_cannot_come_back_is_told_and_the_rest_does(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "vanishing.py"), "w") as file:
                file.write("class Gone:\n    pass\ndef gone(): pass\n")
            code = """
import sys; sys.path.append(%r)
import vanishing
class Here:
    pass
thing = vanishing.Gone()
held = {'thing': thing, 'number': 1}
holder = Here(); holder.thing = thing
borrowed = vanishing.gone
class Child(vanishing.Gone):
    def f(self): return 1
child = Child()
class Picky:
    def __getstate__(self): return {'a': 1}
    def __setstate__(self, state): raise OSError('not today')
picky = Picky()
around = [picky]
def f(): return thing
fine = [Here(), 1]; same = fine
"""
            parts, last = carry(code % folder)
            self.assertEqual(last["skipped"], [])
            self.assertIn("vanishing", last["imports"])
        with Host(init={}) as host:
            answer = restore(host, parts)
            lost = {name["name"]: name["reason"] for name in answer["failed"]}
            gone = {"vanishing", "thing", "held", "holder", "borrowed", "Child", "child"}
            self.assertEqual(set(lost), gone | {"picky", "around"})
            for name in gone:
                self.assertIn("No module named 'vanishing'", lost[name])
            self.assertEqual(lost["picky"], "OSError: not today")
            self.assertEqual(set(answer["names"]), {"sys", "Here", "Picky", "f", "fine", "same"})
            self.assertEqual(host.value("fine is same and type(fine[0]) is Here and f.__name__"), "f")
            self.assertEqual(host.run("f()").frame["exception"]["type"], "NameError")

    def test_a_size_limit_is_kept(self):
        with Host(init={}) as host:
            self.holds(host, "import threading; lock = threading.Lock(); big = bytes(10**6)")
            _, error = save(host, "1", max_bytes=10**6)
            self.assertEqual((error["type"], error["exception"]["type"]), ("error", "CheckpointTooLarge"))
            self.assertIn("1000000 bytes", error["exception"]["message"])
            self.assertEqual(save(host, "2", max_bytes=1100000)[1]["names"], ["threading", "big"])

    def test_what_is_no_checkpoint_is_refused_and_changes_nothing(self):
        parts, _ = carry("x = 1")
        data = parts[0]
        newer = data[:8] + (3).to_bytes(4, "big") + data[12:]
        wrong = {
            "no checkpoint of a Python session": b"garbage",
            "saved in format 3, and this worker reads format 2": newer,
            "its head cannot be read": data[:20],
            "it cannot be read": data[:-3],
        }
        with Host(init={}) as host:
            self.holds(host, "x = 'mine'")
            for number, (why, data) in enumerate(wrong.items()):
                error = restore(host, [data], f"r{number}")
                self.assertEqual((error["type"], error["exception"]["type"]), ("error", "RestoreRefused"), error)
                self.assertIn(why, error["exception"]["message"])
            host.send("restore", id="p", part=1, data=b"second")
            self.assertIn("part 1 came where part 0", host.next_frame()["exception"]["message"])
            host.send("restore", id="q", part=0, last=False, data=7)
            host.send("restore", id="q", part=1)
            self.assertIn("`data` must be bytes", host.next_frame()["exception"]["message"])
            host.send("checkpoint", id="m", mode="fork")
            self.assertEqual(host.next_frame()["kind"], "request")
            self.assertEqual(host.value("x"), "mine")

    def test_both_can_be_cancelled_and_leave_the_session_as_it_was(self):
        slow = """
import time
class Slow:
    def __reduce__(self):
        print('go', flush=True)
        time.sleep(60)
class Sleepy:
    def __setstate__(self, state):
        print('go', flush=True)
        time.sleep(60)
    def __getstate__(self): return 1
x = 1
"""
        with Host(init={}) as host:
            self.holds(host, slow + "slow = Slow()")
            host.send("checkpoint", id="c")
            host.wait_for_output("go")
            host.send("cancel", id="c")
            self.assertEqual(host.next_frame("error", nudge=True)["kind"], "cancelled")
            self.holds(host, "del slow; sleepy = Sleepy()")
            host.events.clear()
            parts, _ = save(host, "again")
        with Host(init={}) as host:
            host.send("restore", id="r", data=b"".join(parts))
            host.wait_for_output("go")
            host.send("cancel", id="r")
            self.assertEqual(host.next_frame("error", nudge=True)["kind"], "cancelled")
            self.assertEqual(host.value("'x' in globals()"), False)

    def test_what_values_need_while_they_come_back_is_there(self):
        code = """
import time
SALT = 7
def mix(n): return n * SALT
class Key:
    def __init__(self, n): self.n = n
    def __hash__(self): return mix(self.n)
    def __eq__(self, other): return isinstance(other, Key) and time and self.n == other.n
table = {Key(1): 'one'}
a_set = {Key(2)}
"""
        parts, _ = carry(code)
        with Host(init={}) as host:
            answer = restore(host, parts)
            self.assertEqual(answer["failed"], [])
            self.assertEqual(host.value("table[Key(1)], Key(2) in a_set"), ["one", True])

    def test_code_of_another_interpreter_comes_from_its_source(self):
        parts, _ = carry(SAVED)
        nameless, _ = carry("exec('def f(): return 1')\nx = 1")
        with Host(init={}) as host:
            # As if this one were another: it reads no code but its own.
            strange = "import sys; sys.modules['_ostler_worker'].load_saving().MAGIC = b'other'"
            self.holds(host, strange)
            answer = restore(host, parts)
            # What dataclasses writes for a class has no source, so these need the interpreter that saved them.
            self.assertEqual({name["name"] for name in answer["failed"]}, {"D", "d"})
            self.holds(host, "\n".join(line for line in CHECKS.splitlines() if "D(" not in line))
            answer = restore(host, nameless, "r2")
            self.assertEqual(answer["names"], ["x"])
            self.assertIn("its source is gone", answer["failed"][0]["reason"])

    def test_texts_of_two_lives_have_different_names(self):
        with Host(init={}) as host:
            for code in "a = 1", "b = 2", "c = 3", "def f(): raise ValueError('old text')":
                self.holds(host, code)
            parts, _ = save(host)
        with Host(init={}) as host:
            restore(host, parts)
            for number in range(6):
                self.holds(host, f"def g(): return {number}")
            text = host.run("f()").frame["exception"]["text"]
            self.assertIn("raise ValueError('old text')", text)


if __name__ == "__main__":
    unittest.main()
