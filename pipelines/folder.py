"""The output folder of one run: where phases, receipts and the dataset lie.

output/
  MANIFEST.json  report.html  RUN.json  shards/  index/  ledger/        the dataset
  work/<phase>-<fingerprint>/  plan.json tasks.parquet receipts/ failures/ data/ COMMIT.json
"""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.store import Store


@functools.lru_cache(maxsize=32)
def open_store(uri: str) -> Store:
    """One Store an address and process; opened in the process that uses it, never before a fork."""
    return Store(uri)


@dataclass(frozen=True)
class RunFolder:
    """Addresses only, so that it pickles into any worker.

    output: URI of the output folder. input: URI of the raw input, or None where it is not read any more.
    fingerprints: phase name -> fingerprint. homes: phase name -> URI of another output folder whose work is reused.
    """

    output: str
    input: str | None
    fingerprints: Mapping[str, str]
    homes: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return open_store(self.output)

    @property
    def input_store(self) -> Store:
        if self.input is None:
            raise FileNotFoundError("this run has no input any more")
        return open_store(self.input)

    def home(self, phase: str) -> Store:
        """The store whose `work/` holds a phase: this run's, or the one that `select` started from."""
        return open_store(self.homes.get(phase, self.output))

    def path(self, phase: str, name: str = "") -> str:
        return f"work/{phase}-{self.fingerprints[phase]}/{name}"

    def data(self, phase: str, task: int, name: str) -> str:
        """Path of a data file of a task: work/<phase>-<fp>/data/000007.<name>."""
        return self.path(phase, f"data/{task:06d}.{name}")

    def commit(self, phase: str) -> dict[str, Any]:
        """COMMIT.json of a phase: totals, and the number of tasks. FileNotFoundError before it committed."""
        return _commit(self.homes.get(phase, self.output), self.path(phase, "COMMIT.json"))

    def receipts(self, phase: str) -> Iterator[dict[str, Any]]:
        """Every receipt of a committed phase, in task order."""
        home = self.home(phase)
        for index in range(self.commit(phase)["tasks"]):
            yield json.loads(home.read(self.path(phase, f"receipts/{index:06d}.json")))


@functools.lru_cache(maxsize=64)
def _commit(home: str, path: str) -> dict[str, Any]:
    return json.loads(open_store(home).read(path))
