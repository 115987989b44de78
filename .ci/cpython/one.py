"""One of CPython's own test modules, in this process: `one.py MODULE RESULTS`.

What became of each test is written to the file RESULTS, as JSON. What the tests print goes where it leads.
"""

import json
import os
import sys
import types
import unittest
import warnings


# Waits for ever, in the interpreter alone, on virtual machines whose kernel has vsock and whose host answers nothing.
HANGS = "ThreadedVSOCKSocketStreamTest"


class Result(unittest.TextTestResult):
    """What became of each test, by its name; of a test with subtests the worst."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.became = {}

    def note(self, test, what):
        # A name is told once for each time that it runs: some classes run the same test twice.
        self.became.setdefault(test.id(), []).append(what)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "failed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(test, "failed")


def module(name):
    """The module of tests. Some distributions leave out those of `multiprocessing`, of which each is these few lines."""
    try:
        return __import__(f"test.test_{name}", fromlist=["_"])
    except ModuleNotFoundError:
        if not name.startswith("multiprocessing_"):
            raise
    from test import _test_multiprocessing as tests

    module = types.ModuleType(f"test.test_{name}")
    sys.modules[module.__name__] = module
    tests.install_tests_in_module_dict(vars(module), name.partition("_")[2])
    return module


def main():
    from test import support
    from test.support import os_helper

    name, results = sys.argv[1:]
    results = os.path.abspath(results)
    support.use_resources = []  # no network, no large files
    warnings.simplefilter("ignore")
    with os_helper.temp_cwd(quiet=True):
        tests = module(name)
        vars(tests).pop(HANGS, None)
        tests = unittest.defaultTestLoader.loadTestsFromModule(tests)
        became = unittest.TextTestRunner(sys.stderr, verbosity=2, resultclass=Result).run(tests).became
        support.reap_children()
    with open(results, "w") as file:
        json.dump(became, file)


if __name__ == "__main__":
    main()
