"""What an engine is: it schedules the phases of a run. Success is judged by receipts, never by what it returned."""

from collections.abc import Sequence
from typing import Protocol

from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase
from pipelines.progress import Progress


class Engine(Protocol):
    """Runs phases in order, each only once the one before it has committed (pipelines/commit.py).

    For each phase: write_plan; run_task for each pending task, or run_route for every task, one exchange by bucket and
    run_fold for each pending bucket; commit. Committed phases are passed over. Raises FailedTasks when a phase cannot
    commit, RunError when the run is asked for wrongly.
    """

    name: str

    def execute(self, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None: ...
