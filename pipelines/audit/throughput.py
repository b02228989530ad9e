"""Where the time went: seconds by phase and stage, as the receipts counted them, and what is known of the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import commit, publish
from pipelines.folder import RunFolder

DOCUMENTS = ("in", "scored", "documents", "samples")  # a phase's own count of what it worked on, the first it has


@dataclass(frozen=True, slots=True)
class Work:
    """seconds: of all tasks together, so that more workers do not make it less. documents: that it worked on.

    reused: whether it was done by the run that `winnow select` started from.
    """

    name: str
    seconds: float
    documents: int
    tasks: int
    reused: bool = False

    @property
    def rate(self) -> float | None:
        """Documents a second of one worker."""
        return self.documents / self.seconds if self.documents and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Throughput:
    """phases in the order they ran, stages by their seconds, and what RUN.json says."""

    phases: list[Work]
    stages: list[Work]
    run: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)


def throughput(run: RunFolder, names: Sequence[str]) -> Throughput:
    """names: of the phases, in the order they ran. From each COMMIT.json and, where it was written, RUN.json."""
    phases, stages = [], []
    for name in names:
        done = commit.read_json(run.home(name), run.path(name, "COMMIT.json"))
        if done is None:
            continue
        counts, seconds = done["counts"], dict(done["seconds"])
        documents = next((counts[key] for key in DOCUMENTS if counts.get(key)), 0)
        total = seconds.pop("total", 0.0)
        phases.append(Work(name, total, documents, done["tasks"], reused=name in run.homes))
        if seconds:
            stages += [Work(stage, value, documents, done["tasks"]) for stage, value in seconds.items()]
            rest = total - sum(seconds.values())
            if rest > 0:
                stages.append(Work(f"{name}: the rest", rest, documents, done["tasks"]))
    return Throughput(phases, sorted(stages, key=lambda w: (-w.seconds, w.name)), read_run(run))


def read_run(run: RunFolder) -> dict[str, Any]:
    value = commit.read_json(run.store, publish.RUN)
    return value if isinstance(value, dict) else {}
