"""A note in the store that says why a phase cannot go on: engines wrap, shorten and repeat a worker's error."""

import logging

from manifests.document import canonical_json
from manifests.errors import FailedTasks, RunError, TransientError
from pipelines import commit
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase

log = logging.getLogger("winnow")


def note_path(phase: AnyPhase, run: RunFolder) -> str:
    """Beside the failures of tasks: a rerun forgets it as it forgets them."""
    return run.path(phase.name, "failures/job.json")


def leave_note(phase: AnyPhase, run: RunFolder, error: Exception) -> None:
    note = {"kind": type(error).__name__, "failed": str(error)[:2000]}
    try:
        run.store.put(note_path(phase, run), canonical_json(note))
    except Exception as unwritable:
        log.warning("%s: %s, and that could not be recorded: %s", phase.name, error, unwritable)


def raise_noted(phase: AnyPhase, run: RunFolder, cause: BaseException | None = None) -> None:
    """Raises what a worker left a note of, as the local engine would; returns where there is none."""
    note = commit.read_json(run.store, note_path(phase, run))
    if note is None:
        return
    kinds: dict[str, type[Exception]] = {"RunError": RunError, "TransientError": TransientError}
    if note["kind"] in kinds:
        raise kinds[note["kind"]](note["failed"]) from cause
    raise FailedTasks(phase.name, {0: f"{note['kind']}: {note['failed']}"}) from cause
