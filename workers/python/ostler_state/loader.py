"""The unpicklers: one that is quick, and one that goes on behind what cannot be brought back."""

import copyreg
import functools
import pickle

from .kinds import is_python
from .lost import Lost, reason
from .make_classes import fill_class, fill_enum, finish_class, finish_enum
from .make_functions import fill_cell, fill_dispatcher, fill_function
from .make_instances import fill_bare, fill_exception
from .make_mapped import finish_mapped


def find(module, name, find_elsewhere):
    if module == __name__:
        return globals()[name]
    if module != "__main__":
        return find_elsewhere(module, name)
    first, *rest = name.split(".")
    return functools.reduce(getattr, rest, worker.state.namespace[first])


class Loader(pickle.Unpickler):
    def find_class(self, module, name):
        return find(module, name, super().find_class)


FILLERS = frozenset(
    (
        fill_function,
        fill_cell,
        fill_class,
        finish_class,
        finish_mapped,
        fill_enum,
        finish_enum,
        fill_dispatcher,
        fill_exception,
        fill_bare,
    )
)


class TolerantLoader(pickle._Unpickler):
    """Reads on behind what cannot be brought back. Slow; only used when `Loader` has given up."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        super().__init__(file)
        self.half_built = {}
        self.waiting = []  # what failed while something in it was not whole yet: the value, how to go on with it, and why
        self.incomplete = {}  # ids of the collections among them, and why: what is made of one now would miss items
        self.kept = []  # so that no other value gets the id of one that is half built

    def find_class(self, module, name):
        try:
            return find(module, name, super().find_class)
        except Exception as error:
            return Lost(reason(error))

    def attempt(self, make, *parts):
        for part in parts:
            for inner in part if type(part) is tuple else (part,):
                if type(inner) is Lost:
                    return inner
                if id(inner) in self.incomplete:
                    return Lost(self.incomplete[id(inner)])
        try:
            return make(*parts)
        except MemoryError:
            raise
        except Exception as error:
            return Lost(reason(error))

    def load_reduce(self):
        arguments = self.stack.pop()
        make = self.stack[-1]
        made = make if type(make) is Lost else self.attempt(make, *arguments)
        self.stack[-1] = made
        if type(made) is Lost and make in FILLERS and type(arguments[0]) is not Lost:
            self.waiting.append((arguments[0], lambda: make(*arguments), made.reason))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self):
        arguments = self.stack.pop()
        self.stack[-1] = self.attempt(copyreg.__newobj__, self.stack[-1], *arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self):
        named = self.stack.pop()
        arguments = self.stack.pop()
        make = lambda cls, *arguments: cls.__new__(cls, *arguments, **named)
        self.stack[-1] = self.attempt(make, self.stack[-1], *arguments)

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_build(self):
        if type(self.stack[-2]) is Lost:
            self.stack.pop()
            return
        value, state = self.stack[-2:]
        if id(state) in self.incomplete:
            self.waiting.append((value, lambda: self.build(value, state), self.incomplete[id(state)]))
            self.stack.pop()
            return
        try:
            super().load_build()
        except MemoryError:
            raise
        except Exception as error:
            self.waiting.append((value, lambda: self.build(value, state), reason(error)))

    dispatch[pickle.BUILD[0]] = load_build

    def build(self, value, state):
        self.stack = [value, state]
        super().load_build()

    def load_frozenset(self):
        items = self.pop_mark()
        self.append(self.attempt(frozenset, items))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def fill(load, taken=None):
        """What a collection's own methods refuse spoils that collection, and nothing else. A dict or a set refuses a key
        whose `__hash__` needs what comes later, so it is filled later."""

        def guarded(self):
            value = self.metastack[-1][-1] if taken is None else self.stack[-1 - taken]
            items = self.stack if taken is None else self.stack[-taken:]
            try:
                load(self)
            except MemoryError:
                raise
            except Exception as error:
                if isinstance(value, (dict, set)) and not is_python(getattr(type(value), "__setitem__", None)):
                    self.incomplete[id(value)] = reason(error)
                    self.waiting.append((value, lambda: fill_plain(value, items), reason(error)))
                else:
                    self.spoil(value, reason(error))

        return guarded

    for opcode in pickle.APPENDS, pickle.SETITEMS, pickle.ADDITEMS:
        dispatch[opcode[0]] = fill(dispatch[opcode[0]])
    dispatch[pickle.APPEND[0]] = fill(dispatch[pickle.APPEND[0]], 1)
    dispatch[pickle.SETITEM[0]] = fill(dispatch[pickle.SETITEM[0]], 2)
    del fill, opcode

    def retry_waiting(self):
        """Goes on with what failed, now that all is there, as long as any of it succeeds."""
        tried = None
        while self.waiting and len(self.waiting) != tried:
            waiting, self.waiting, tried = self.waiting, [], len(self.waiting)
            for value, go_on, _ in waiting:
                try:
                    go_on()
                except MemoryError:
                    raise
                except Exception as error:
                    self.waiting.append((value, go_on, reason(error)))
        for value, _, why in self.waiting:
            self.spoil(value, why)

    def spoil(self, value, why):
        if type(value) in (dict, set):  # pickle asks nobody about these
            value.update({Lost(why): None})
        self.half_built[id(value)] = why
        self.kept.append(value)


def fill_plain(value, items):
    if isinstance(value, set):
        return value.update(items)
    for key, item in zip(items[::2], items[1::2]):
        value[key] = item
