"""What test_state.py saves, and what must hold of it afterwards: the first part runs in one worker, the second in another."""

import abc
import collections
import dataclasses
import enum
import functools
import math
import typing

x = 41
shared = [1,2]; alias = shared
shared.append(shared)
def f(a, b=2): return a + b + x
def fact(n): return 1 if n < 2 else n * fact(n-1)
def counter():
    n = 0
    def inc():
        nonlocal n
        n += 1
        return n
    return inc
c = counter(); c(); c()
lam = lambda y: y * x
class A:
    z = 1
    def __init__(self, v): self.v = v
    def get(self): return self.v + x
    @property
    def p(self): return self.v
    @staticmethod
    def s(): return 's'
    @classmethod
    def k(cls): return cls.__name__
class B(A):
    def get(self): return super().get() * 2
b = B(5)
class Sl:
    __slots__ = ('q', '__weakref__')
    def __init__(self): self.q = 3
sl = Sl()
@dataclasses.dataclass(order=True)
class D:
    a: int
    b: list = dataclasses.field(default_factory=list)
d = D(1, [2])
class E(enum.Enum):
    ONE = 1
    UNO = 1
    TWO = 'two'
    def hi(self): return self.name + str(x)
e = E.TWO
class P(enum.IntFlag):
    R = 4; W = 2
pf = P.R | P.W
Pt = collections.namedtuple('Pt', 'x y', defaults=(7,))
pt = Pt(1)
class NT(typing.NamedTuple):
    u: int
    w: str = 'w'
    def both(self): return (self.u, self.w)
nt = NT(3)
@functools.lru_cache(maxsize=10)
def cached(n): return n + x
class CP:
    @functools.cached_property
    def val(self): return 99
cp = CP()
T = typing.TypeVar('T')
class G(typing.Generic[T]):
    def __init__(self, t): self.t = t
g = G(3)
class Ab(abc.ABC):
    @abc.abstractmethod
    def m(self): ...
class Im(Ab):
    def m(self): return 'im'
im = Im()
part = functools.partial(f, 1)
bm = b.get
async def co(): return 1
big = b'x' * 10_000_000
async def agen():
    yield 1

# -- afterwards --
import inspect
x = 100
assert shared is alias and shared[2] is shared
assert f(1) == 103, f(1)
assert fact(5) == 120
assert c() == 3; c.__closure__[0].cell_contents = 2
assert lam(2) == 200
assert b.get() == 210 and isinstance(b, A) and B.k() == 'B' and A.s() == 's' and b.p == 5
assert bm() == 210
assert sl.q == 3 and not hasattr(sl, '__dict__')
assert d == D(1,[2]) and D(3).b == [] and repr(d) == 'D(a=1, b=[2])', repr(d)
assert d < D(2)
assert e is E.TWO and E.UNO is E.ONE and e.hi() == 'TWO100'
assert pf == P.R | P.W and P(6) is pf or P(6)==pf
assert pt == Pt(1) == (1,7)
assert nt.both() == (3,'w') and NT(1) == (1,'w')
assert cached(1) == 101
assert cp.val == 99
assert g.t == 3 and G[int]
assert im.m() == 'im'
try: Ab(); assert 0
except TypeError: pass
assert part() == 103
assert 'return a + b + x' in inspect.getsource(f)
assert len(big) == 10_000_000
assert math.pi
