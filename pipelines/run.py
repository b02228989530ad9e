"""A run: from a raw input, or from an earlier run's scores, to a committed dataset."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from manifests.document import canonical_json
from manifests.errors import RunError
from manifests.manifest import NAME as MANIFEST
from manifests.store import Store
from pipelines import commit, publish
from pipelines import recipe as recipes
from pipelines.engines.base import Engine
from pipelines.folder import RunFolder, open_store
from pipelines.image_text import phases_of
from pipelines.ingest import Ingest
from pipelines.phase import AnyPhase, fingerprint
from pipelines.progress import Progress
from pipelines.recipe import Recipe
from stages.readers.base import Reader

OWNER = "work/RECIPE.json"  # which run an output folder belongs to
REUSABLE = ("ingest", "score", "identity", "choose")  # what `select` takes from an earlier run's work


@dataclass(frozen=True)
class Summary:
    """What a run did; `to_json` is what `--json` prints."""

    dataset: str
    documents: int
    kept: int
    dropped: Mapping[str, int]
    dead: Mapping[str, int]
    repeated: int
    shards: int
    failed: int = 0
    seconds: float = 0.0
    up_to_date: bool = False

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        value["in"] = value.pop("documents")
        value.pop("up_to_date")
        order = ("dataset", "in", "kept", "dropped", "dead", "failed", "repeated", "seconds", "shards")
        return {name: value[name] for name in order}


@dataclass(frozen=True)
class Plan:
    """A run before it starts: its phases with their fingerprints, and where they read and write."""

    recipe: Recipe
    phases: tuple[AnyPhase, ...]
    folder: RunFolder
    owner: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Fingerprint of the last phase: of the input's listing and of every setting that reaches it."""
        return self.folder.fingerprints[self.phases[-1].name]

    def has_work(self) -> bool:
        """Whether the output's work folder is still there, which the report needs."""
        return self.folder.store.size(OWNER) is not None


def plan_run(recipe: Recipe, reader: Reader, input_uri: str, output_uri: str, limit: int | None, copy: bool) -> Plan:
    """A run over a raw input. Raises RunError for an input that is missing, empty or not what the reader reads."""
    listing = listing_digest(open_store(input_uri))
    ingest = Ingest(reader=reader, input=input_uri, listing=listing, limit=limit, copy=copy)
    return _plan(recipe, ingest, ingest.config(), input_uri, output_uri, homes={}, source=reader.source)


def plan_select(earlier_uri: str, output_uri: str, sets: Sequence[str]) -> Plan:
    """Another dataset from an earlier run's scores: only rules and shard sizes may differ without scoring again."""
    owner = read_owner(earlier_uri)
    recipe = recipes.build(owner["recipe"], f"{earlier_uri}/{OWNER}", sets)
    ingest = StoredIngest(owner["ingest"])
    plan = _plan(recipe, ingest, owner["ingest"], owner["input"], output_uri, homes={}, source=owner["source"])
    homes = {
        phase.name: home
        for phase in plan.phases
        if phase.name.startswith(REUSABLE)
        for home in (earlier_uri, owner["homes"].get(phase.name))
        if home and commit.is_committed(phase, RunFolder(home, None, plan.folder.fingerprints))
    }
    if Ingest.name not in homes:
        raise RunError(
            f"{earlier_uri} has no finished ingest: run it to its end first, or run the recipe from the raw input"
        )
    return _plan(recipe, ingest, owner["ingest"], owner["input"], output_uri, homes, source=owner["source"])


@dataclass(frozen=True)
class StoredIngest:
    """An ingest that ran earlier: only its fingerprint is needed."""

    settings: Mapping[str, Any] = field(hash=False)
    name = Ingest.name
    version = Ingest.version
    upstream = Ingest.upstream

    def config(self) -> Mapping[str, Any]:
        return self.settings

    def plan(self, run: RunFolder) -> list[Mapping[str, Any]]:
        raise RunError("the raw input is not read again")

    def body(self, run: RunFolder, task: Any, scratch: Any) -> Any:
        raise RunError("the raw input is not read again")


def _plan(
    recipe: Recipe,
    ingest: Any,
    ingest_config: Mapping[str, Any],
    input_uri: str,
    output_uri: str,
    homes: Mapping[str, str],
    source: str,
) -> Plan:
    phases = (ingest, *phases_of(recipe))
    prints: dict[str, str] = {}
    for phase in phases:
        prints[phase.name] = fingerprint(phase, prints)
    owner = {
        "recipe": recipes.spec(recipe),
        "ingest": ingest_config,
        "input": input_uri,
        "source": source,
        "homes": homes,
        "fingerprints": prints,
    }
    return Plan(recipe, phases, RunFolder(output_uri, input_uri, prints, homes), owner)


def listing_digest(store: Store) -> str:
    """Digest of every path, size and tag of the input: a run resumes only over what it started from."""
    digest = hashlib.sha256()
    for entry in store.list():
        digest.update(f"{entry.path}\0{entry.size}\0{entry.tag}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_owner(uri: str) -> dict[str, Any]:
    """RECIPE.json of an output folder. RunError where there is none: cleaned away, or not a run's folder."""
    owner = commit.read_json(open_store(uri), OWNER)
    if owner is None:
        cleaned = open_store(uri).size(MANIFEST) is not None
        why = "its work folder was removed by `winnow clean`" if cleaned else "it is not the output of a run"
        raise RunError(f"{uri} has no {OWNER}: {why}")
    return owner


def open_run(uri: str) -> tuple[Recipe, RunFolder]:
    """The recipe and folder of an existing run, for those that look into it. RunError after `winnow clean`."""
    owner = read_owner(uri)
    recipe = recipes.build(owner["recipe"], f"{uri}/{OWNER}")
    return recipe, RunFolder(uri, owner["input"], owner["fingerprints"], owner["homes"])


def execute(plan: Plan, engine: Engine, progress: Progress, command: str) -> Summary:
    """Runs what is not committed yet and publishes the dataset; over a finished output it only reads the manifest."""
    started = time.monotonic()
    if finished(plan):
        return summary_of(plan, started, up_to_date=True)
    claim(plan)
    to_do = [phase for phase in plan.phases if phase.name not in plan.folder.homes]
    engine.execute(to_do, plan.folder, progress)
    seconds = time.monotonic() - started
    publish.publish(plan.recipe, plan.folder, plan.owner["source"])
    publish.write_run(plan.folder, plan.phases, engine.name, command, plan.identity, seconds)
    return summary_of(plan, started)


def finished(plan: Plan) -> bool:
    """Whether the output already is this run's dataset. RunError where it is another's."""
    store = plan.folder.store
    if store.size(MANIFEST) is None:
        return False
    run = commit.read_json(store, publish.RUN)
    if run is not None and run.get("identity") == plan.identity:
        return True
    if run is None and read_owner(plan.folder.output)["fingerprints"] == plan.owner["fingerprints"]:
        return False  # died between the manifest and RUN.json
    raise RunError(
        f"{plan.folder.output} already holds a dataset made with other settings or from another input; "
        f"choose another --output (for other thresholds without scoring again: "
        f"winnow select {plan.folder.output} --set … --output NEW)"
    )


def claim(plan: Plan) -> None:
    """Makes the output folder this run's, or finds that it is. RunError says what differs where it is another's."""
    store = plan.folder.store
    if store.create(OWNER, canonical_json(plan.owner)):
        return
    other = json.loads(store.read(OWNER))
    if other["fingerprints"] == plan.owner["fingerprints"]:
        return
    if not any("/receipts/" in entry.path for entry in store.list("work/")):
        store.put(OWNER, canonical_json(plan.owner))  # that run was refused before it did anything
        return
    raise RunError(
        f"{plan.folder.output} belongs to an unfinished run that differs in "
        f"{'; '.join(differences(other, plan.owner)[:4])}; "
        f"choose another --output, or remove that one with: winnow clean {plan.folder.output}"
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two owners differ in, as `key: old -> new`."""
    flat = []
    for owner in (old, new):
        rules = dict(owner["recipe"]["rules"])
        flat.append(dict(recipes.flatten({**owner["recipe"], "rules": rules, "input": owner["ingest"]}, "")))
    if old["ingest"].get("listing") != new["ingest"].get("listing"):
        return ["its input: files were added, changed or removed since"]
    names = [name for name in {**flat[0], **flat[1]} if flat[0].get(name) != flat[1].get(name)]
    return [f"{name}: {flat[0].get(name)} -> {flat[1].get(name)}" for name in names] or ["its version"]


def summary_of(plan: Plan, started: float, up_to_date: bool = False) -> Summary:
    manifest = publish.read_manifest(plan.folder.store)
    totals = manifest.totals
    return Summary(
        dataset=plan.folder.output,
        documents=totals.documents,
        kept=totals.kept,
        dropped=dict(totals.dropped),
        dead=dict(totals.dead),
        repeated=totals.repeated,
        shards=len(manifest.shards),
        seconds=round(time.monotonic() - started, 3),
        up_to_date=up_to_date,
    )


def describe(plan: Plan) -> list[dict[str, Any]]:
    """For --dry-run: each phase with its tasks and how many are done, `None` where that is not known before it runs."""
    out, known = [], True
    for phase in plan.phases:
        row: dict[str, Any] = {"phase": phase.name, "tasks": None, "done": 0}
        if phase.name in plan.folder.homes or commit.is_committed(phase, plan.folder):
            row["tasks"] = row["done"] = plan.folder.commit(phase.name)["tasks"]
        elif known:
            row["tasks"] = sum(1 for _ in phase.plan(plan.folder))
            row["done"] = len(list(plan.folder.store.list(plan.folder.path(phase.name, "receipts/"))))
            known = False
        out.append(row)
    return out


def input_bytes(plan: Plan) -> int | None:
    """Bytes of the raw input, or None where it is not read again."""
    if plan.folder.homes or plan.folder.input is None:
        return None
    return sum(entry.size for entry in plan.folder.input_store.list())


def clean(uri: str, dry_run: bool) -> tuple[int, int]:
    """Removes `work/` of an output folder; returns (files, bytes). RunError where there is no run."""
    store = open_store(uri)
    entries = list(store.list("work/"))
    if not entries and store.size(MANIFEST) is None:
        raise RunError(f"{uri} is not the output of a run")
    for entry in () if dry_run else sorted(entries, key=lambda e: e.path == OWNER):
        store.delete(entry.path)
    if not dry_run:
        store.sweep("work/")  # what killed writers left half written
    return len(entries), sum(entry.size for entry in entries)
