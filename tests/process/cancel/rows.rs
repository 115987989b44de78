//! The matrix: where code can be when it is cancelled, and what it takes to stop it there.

use ostler::CancelStage::{self, Force as FORCE, Interrupt as INTERRUPT, Kill as KILL};

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    /// What it takes.
    pub(super) stage: CancelStage,
    pub(super) on_stdio_too: bool,
}

const fn row(name: &'static str, stage: CancelStage, code: &'static str) -> Row {
    Row { name, code, stage, on_stdio_too: false }
}

const fn on_both(row: Row) -> Row {
    Row { on_stdio_too: true, ..row }
}

pub(super) const ROWS: [Row; 20] = [
    on_both(row("busy loop", INTERRUPT, "print('ready')\nwhile True: pass")),
    on_both(row("time.sleep", INTERRUPT, "import time\nprint('ready')\ntime.sleep(600)")),
    row(
        "lock.acquire",
        INTERRUPT,
        "import threading\nlock = threading.Lock()\nlock.acquire()\nprint('ready')\nlock.acquire()",
    ),
    row("os.read on a pipe", INTERRUPT, "import os\nend, other = os.pipe()\nprint('ready')\nos.read(end, 1)"),
    row("catastrophic regex", INTERRUPT, "import re\nprint('ready')\nre.match('(a+)+b', 'a' * 64)"),
    on_both(row(
        "subprocess.run",
        INTERRUPT,
        "import subprocess\nprint('ready')\nsubprocess.run(['sleep', '600'])",
    )),
    row("os.system", INTERRUPT, "import os\nprint('ready')\nos.system('sleep 600')"),
    row("os.system in a loop", INTERRUPT, "import os\nprint('ready')\nwhile True: os.system('sleep 600')"),
    // The marker is written from inside the loop in C: from then on Python does not look at signals.
    on_both(row(
        "sum over a range, in C",
        KILL,
        "import itertools, os\nsum(itertools.chain(map(os.write, [1], [b'ready\\n']), range(10**12)))",
    )),
    on_both(row(
        "BaseException swallowed in a loop",
        FORCE,
        "said = False\nwhile True:\n    try:\n        if not said:\n            said = True\n            print('ready')\n        \
         while True: pass\n    except BaseException: pass",
    )),
    row(
        "BaseException swallowed around a sleep",
        FORCE,
        "import time\nsaid = False\nwhile True:\n    try:\n        if not said:\n            said = True\n            \
         print('ready')\n        time.sleep(600)\n    except BaseException: pass",
    ),
    row(
        "a finally that goes on",
        FORCE,
        "import time\ntry:\n    print('ready')\n    time.sleep(600)\nfinally:\n    time.sleep(600)",
    ),
    on_both(row("input", INTERRUPT, "input('ready? ')")),
    row("sys.stdin.read", INTERRUPT, "import sys\nsys.stdin.read()"),
    on_both(row("top-level await", INTERRUPT, "import asyncio\nprint('ready')\nawait asyncio.sleep(600)")),
    row(
        "asyncio.run",
        INTERRUPT,
        "import asyncio\nasync def main():\n    print('ready')\n    await asyncio.sleep(600)\nasyncio.run(main())",
    ),
    row(
        "threading join",
        INTERRUPT,
        "import threading, time\nthread = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nthread.start()\n\
         print('ready')\nthread.join()",
    ),
    row(
        "a thread that spins",
        INTERRUPT,
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()\n\
         print('ready')\nwhile True: pass",
    ),
    // Its `with` waits for the thread again, while the first interrupt is under way.
    row(
        "ThreadPoolExecutor join",
        FORCE,
        "import concurrent.futures, time\nwith concurrent.futures.ThreadPoolExecutor() as pool:\n    \
         future = pool.submit(time.sleep, 600)\n    print('ready')\n    future.result()",
    ),
    row(
        "native sleep",
        INTERRUPT,
        "import ctypes\nlibc = ctypes.CDLL(None)\nprint('ready')\nlibc.sleep(600)",
    ),
];
