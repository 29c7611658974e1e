"""A result of unittest that writes a record for each test."""

import os
import sys
import unittest

# A test may report more than once (subtests, its clearing up): the first of these counts.
ORDER = ["error", "failed", "unexpectedSuccess", "expectedFailure", "passed", "skipped"]


class Lines(unittest.TestResult):
    """Calls `write` with a record for each test that starts or ends."""

    def __init__(self, write):
        super().__init__()
        self.write = write
        self.owner = os.getpid()
        self.running = None
        self.notes = []
        self.outside = []  # what class and module fixtures report
        self.reported = set()

    def startTest(self, test):
        super().startTest(test)
        self.running, self.notes = test._testMethodName, []
        self.write({"event": "start", "test": self.running})
        print(f"--- {test.id()}", file=sys.stderr, flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        # A forked child that lost its way comes here too. It has no say.
        if os.getpid() == self.owner:
            notes = self.notes or [("passed", "")]
            self.report(self.running, *min(notes, key=lambda note: ORDER.index(note[0])))
        self.running = None

    def report(self, test, outcome, reason):
        self.reported.add(test)
        self.write({"event": "test", "test": test, "outcome": outcome, "reason": reason})

    def note(self, outcome, test, reason):
        if self.running is None and hasattr(test, "_testMethodName"):
            self.report(test._testMethodName, outcome, reason)  # some versions do not start what they skip
        elif self.running is None:
            self.outside.append((outcome, test.id().split(" ")[0], reason))
        else:
            self.notes.append((outcome, reason))
        if outcome != "passed":
            print(f"--- {outcome}: {test.id()}: {reason}", file=sys.stderr, flush=True)

    def trouble(self, outcome, test, error):
        print(self._exc_info_to_string(error, test), file=sys.stderr, flush=True)
        text = f"{error[0].__name__}: {error[1]}".strip()
        self.note(outcome, test, text.splitlines()[0])

    def addSuccess(self, test):
        self.note("passed", test, "")

    def addFailure(self, test, error):
        self.trouble("failed", test, error)

    def addError(self, test, error):
        self.trouble("error", test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            failed = issubclass(error[0], test.failureException)
            self.trouble("failed" if failed else "error", subtest, error)

    def addSkip(self, test, reason):
        self.note("skipped", test, (reason.splitlines() or [""])[0])

    def addExpectedFailure(self, test, error):
        self.note("expectedFailure", test, "")

    def addUnexpectedSuccess(self, test):
        self.note("unexpectedSuccess", test, "it was expected to fail")

    def finish(self, name, tests):
        """Report what fixtures of the class and the module have said: for the tests that they kept from running, or
        under their own name."""
        for outcome, fixture, reason in self.outside:
            kept = [test for test in tests if test not in self.reported]
            if not fixture.startswith("setUp"):
                kept = [fixture]
            for test in kept:
                self.report(test, outcome, f"{fixture}: {reason}")
