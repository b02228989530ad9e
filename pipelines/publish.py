"""Publish: MANIFEST.json, written once every phase has committed, and RUN.json with what may differ between runs."""

import hashlib
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from manifests import faults
from manifests.document import canonical_json
from manifests.manifest import NAME, File, Manifest, Shard, Totals, read_manifest
from pipelines.decide import Decide
from pipelines.folder import RunFolder
from pipelines.materialize import Materialize
from pipelines.phase import AnyPhase
from pipelines.recipe import Recipe

__all__ = ["RUN", "publish", "read_manifest", "write_run"]

RUN = "RUN.json"
LIBRARIES = ("numpy", "pyarrow", "pillow", "obstore", "selectolax", "py3langid", "apache-beam", "pyspark")


def publish(recipe: Recipe, run: RunFolder, name: str) -> Manifest:
    """Writes the manifest if it is not there yet, and returns the one that is."""
    manifest = build(recipe, run, name)
    faults.point("before_manifest")
    run.store.create(NAME, manifest.encode())
    return read_manifest(run.store)


def build(recipe: Recipe, run: RunFolder, name: str) -> Manifest:
    shards, ledger, content = [], [], hashlib.sha256()
    for receipt in run.receipts(Materialize.name):
        files = receipt["files"]
        shards.append(Shard(file_of(files["shard"]), file_of(files["index"]), receipt["facts"]["split"]))
        content.update(receipt["facts"]["content"].encode())
    for receipt in run.receipts(Decide.name):
        ledger += [file_of(file) for path, file in receipt["files"].items() if path.startswith("ledger/")]
        content.update(receipt["facts"]["content"].encode())
    decided, copied = run.commit(Decide.name)["counts"], run.commit(Materialize.name)["counts"]
    return Manifest(
        name=name,
        recipe={"fingerprint": recipe.fingerprint(), **recipe.settings()},
        totals=Totals(
            documents=decided.get("in", 0),
            kept=decided.get("kept", 0),
            dropped=under("dropped/", decided),
            dead=under("dead/", decided),
            repeated=decided.get("repeated", 0),
            bytes=copied.get("bytes", 0),
        ),
        licences=under("licence/", copied),
        shards=tuple(shards),
        ledger=tuple(sorted(ledger, key=lambda file: file.path)),
        content_sha256=content.hexdigest(),
    )


def file_of(value: dict[str, Any]) -> File:
    return File(value["path"], value["bytes"], value["sha256"], value["rows"])


def under(prefix: str, counts: dict[str, int]) -> dict[str, int]:
    """Counts whose key starts with the prefix, without it; the largest first."""
    found = Counter({key.removeprefix(prefix): n for key, n in counts.items() if key.startswith(prefix)})
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def write_run(
    run: RunFolder, phases: Sequence[AnyPhase], engine: str, command: str, identity: str, seconds: float
) -> None:
    """RUN.json: time, host, engine, versions and each phase's seconds. Nothing here enters the dataset."""
    value = {
        "identity": identity,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "command": command,
        "engine": engine,
        "host": platform.node(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "phases": {phase.name: run.commit(phase.name) for phase in phases},
        "output": run.output,
        "input": run.input,
        "reused_from": dict(run.homes),
        "zone": time.tzname[0],
    }
    run.store.put(RUN, canonical_json(value))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
