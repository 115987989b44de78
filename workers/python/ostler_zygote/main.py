"""The zygote: an interpreter that has the worker and some modules loaded, and forks workers.

The bootstrap runs this folder in the place of the worker's `main`, with the worker's module as `worker`. It returns in
the workers only, which then run that `main`; the zygote itself ends here. One thread; fd 0 is the control socket.
src/worker/zygote.rs is the other side, and says what is told on that socket.
"""

import os
import sys

from .fork_script import become_script
from .fork_worker import become_worker
from .run_script import report, run_script
from .serve import serve

script = None
try:
    script = serve()
    if script is None:
        become_worker()
    else:
        script = become_script(*script)
except BaseException as error:
    worker.report_internal_error(error)
    os._exit(worker.EXIT_INTERNAL)
if script is not None:
    try:
        run_script(script)
    except SystemExit:
        raise
    except BaseException as error:
        report(error)
        sys.excepthook = lambda *_: None  # the interpreter ends itself by this exception, and has shown it
        raise
