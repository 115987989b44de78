"""State of classes that libraries make, and forks beside threads that libraries start.

The libraries are the real ones. A test is skipped where its library is not installed, but fails if `OSTLER_LIBRARIES`
names it: CI names those that it installs.
"""

import importlib.util
import os
import unittest

from checkpoints import StateTest, carry, kinds, reasons
from harness import Host
from test_branch import ENV, Copy


def is_there(library):
    there = importlib.util.find_spec(library) is not None
    if not there and library in os.environ.get("OSTLER_LIBRARIES", "").split():
        raise AssertionError(f"OSTLER_LIBRARIES names `{library}`, which is not installed")
    return there


def needs(library):
    return unittest.skipUnless(is_there(library), f"{library} is not installed")


class Libraries(StateTest):
    def test_classes_that_libraries_make_come_back(self):
        with Host(init={}) as first, Host(init={}) as second:
            for number, (name, code, check) in enumerate(kinds("state_libraries.txt")):
                with self.subTest(name):
                    if is_there(name.partition(" ")[0]):
                        self.comes_back(first, second, number, code, check)

    @needs("sqlalchemy")
    def test_a_mapped_class_with_listeners_is_told_as_lost(self):
        code = """
from sqlalchemy import event
from sqlalchemy.orm import *
class Base(DeclarativeBase): pass
class User(Base):
    __tablename__ = 'users'
    id: Mapped[int] = mapped_column(primary_key=True)
@event.listens_for(User, 'before_insert')
def check(mapper, connection, user): pass
"""
        _, last = carry(code)
        told = "TypeError: cannot save the mapped class 'User': 'before_insert' of its mapper has a listener"
        self.assertEqual(reasons(last["skipped"]), {"User": ("DeclarativeAttributeIntercept", told)})

    @needs("pandas")
    @needs("pyarrow")
    def test_a_session_is_forked_beside_the_threads_of_pandas(self):
        with Host(init={}, env=ENV) as host:
            host.run("import pandas, pyarrow\nframe = pandas.DataFrame({'a': range(1000), 'b': ['x', 'y'] * 500})")
            self.holds(host, "assert pyarrow.array([1, 2]).sum().as_py() == 3")
            used = "[int(frame.groupby('b').a.sum()['x']), pyarrow.array(range(100000)).nbytes]"
            for name in "first", "second":
                copy = Copy(host, name)
                self.assertEqual(copy.answer["type"], "forked", copy.answer)
                self.assertEqual((copy.value(used), host.value(used)), ([249500, 800000], [249500, 800000]))
                copy.close()

    @needs("tqdm")
    def test_a_session_is_forked_behind_a_bar_of_tqdm(self):
        with Host(init={}, env=ENV) as host:
            host.run("from tqdm import tqdm\nfor _ in tqdm(range(3)): pass")
            copy = Copy(host)
            self.assertEqual((copy.answer["type"], copy.value("sum(tqdm([1, 2]))")), ("forked", 3))
            copy.close()
