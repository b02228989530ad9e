"""What can go wrong, in three kinds that decide what happens next.

RecordError      this record cannot be processed: it becomes a dead row and the work goes on.
TransientError   the world was busy (a store answered 503): tried again a bounded number of times.
RunError         the run cannot go on as it was asked for: it stops, with one line that says the remedy.
"""


class WinnowError(Exception):
    """Base of everything Winnow raises on purpose."""


class RecordError(WinnowError):
    """One record cannot be processed.

    `reason` is a short CamelCase class from a closed set of the stage that raised it (`Truncated`, `DuplicateKey`):
    dead rows are counted by it. The message says what was seen, in at most 1,000 characters.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(reason, message)
        self.reason = reason
        self.message = message[:1000]

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class TransientError(WinnowError):
    """A store or server was busy or unreachable; the same call may succeed later."""


class RunError(WinnowError):
    """The run cannot go on: wrong configuration, no permission, a missing package. Exit code 2."""


class FailedTasks(WinnowError):
    """Some tasks of a phase did not finish; a rerun tries only those. Exit code 3."""

    def __init__(self, phase: str, failures: dict[int, str]):
        self.phase, self.failures = phase, failures
        task, message = next(iter(failures.items()))
        super().__init__(f"{len(failures)} task(s) of phase {phase} failed; task {task}: {message}")

    def __reduce__(self) -> tuple[type["FailedTasks"], tuple[str, dict[int, str]]]:
        return (FailedTasks, (self.phase, self.failures))
