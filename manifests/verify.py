"""Verify: everything the manifest claims of a dataset, checked against its bytes."""

import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from manifests import ledger
from manifests.manifest import NAME, File, Manifest, Shard, read_manifest
from manifests.store import Store

OWN_FOLDERS = ("shards/", "index/", "ledger/")


@dataclass(frozen=True, slots=True)
class Problem:
    """path: of the file at fault, relative to the dataset. message: what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def verify(store: Store, progress: Callable[[str], None] = lambda path: None) -> list[Problem]:
    """Every problem found: digests, sizes, members against index, counts against ledger, files nobody listed.

    Raises RunError when there is no readable manifest at all.
    """
    manifest = read_manifest(store)
    problems = [*unlisted(store, manifest)]
    outcomes: Counter[str] = Counter()
    uids: Counter[str] = Counter()
    for shard in manifest.shards:
        progress(shard.tar.path)
        problems += check_shard(store, shard, uids)
    problems += [Problem(NAME, f"uid {uid} is in the shards {n} times") for uid, n in uids.items() if n > 1]
    kept: set[str] = set()
    for file in manifest.ledger:
        progress(file.path)
        data, found = check_file(store, file)
        problems += found
        if data is not None and file.path.startswith(ledger.DOCUMENTS):
            table = pq.read_table(io.BytesIO(data), columns=["uid", "outcome"])
            outcomes.update(table["outcome"].to_pylist())
            kept.update(u for u, o in zip(*(c.to_pylist() for c in table.columns), strict=True) if o == "kept")
    problems += check_totals(manifest, outcomes)
    for uid in sorted(kept ^ set(uids))[:20]:
        where = "kept in the ledger but in no shard" if uid in kept else "in a shard but not kept in the ledger"
        problems.append(Problem(NAME, f"uid {uid} is {where}"))
    return problems


def unlisted(store: Store, manifest: Manifest) -> Iterator[Problem]:
    listed = {f.path for s in manifest.shards for f in (s.tar, s.index)} | {f.path for f in manifest.ledger}
    for folder in OWN_FOLDERS:
        for entry in store.list(folder):
            if entry.path not in listed:
                yield Problem(entry.path, "is not in the manifest")


def check_file(store: Store, file: File) -> tuple[bytes | None, list[Problem]]:
    """The file's bytes if they are what the manifest says, else None and why."""
    try:
        data = store.read(file.path)
    except FileNotFoundError:
        return None, [Problem(file.path, "is missing")]
    if len(data) != file.bytes:
        return None, [Problem(file.path, f"has {len(data)} bytes; the manifest says {file.bytes}")]
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        return None, [Problem(file.path, f"has SHA-256 {digest}; the manifest says {file.sha256}")]
    return data, []


def check_shard(store: Store, shard: Shard, uids: Counter[str]) -> list[Problem]:
    """Digest of tar and index, and each member's name, place and digest against the index."""
    tar, problems = check_file(store, shard.tar)
    index, more = check_file(store, shard.index)
    problems += more
    if tar is None or index is None:
        return problems
    rows = pq.read_table(io.BytesIO(index)).to_pylist()
    uids.update(row["uid"] for row in rows)
    expected = {f"{row['uid']}.{m['name']}": m for row in rows for m in row["members"]}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            claimed = expected.pop(member.name, None)
            if claimed is None:
                problems.append(Problem(shard.tar.path, f"member {member.name} is not in the index"))
            elif (claimed["offset"], claimed["size"]) != (member.offset_data, member.size):
                problems.append(Problem(shard.index.path, f"{member.name} is not at {claimed['offset']}"))
            elif hashlib.sha256(tar[member.offset_data :][: member.size]).hexdigest() != claimed["sha256"]:
                problems.append(
                    Problem(shard.tar.path, f"member {member.name} has another SHA-256 than the index says")
                )
    problems += [Problem(shard.tar.path, f"member {name} is missing") for name in expected]
    if len(rows) != shard.samples:
        problems.append(Problem(shard.index.path, f"has {len(rows)} samples; the manifest says {shard.samples}"))
    return problems


def check_totals(manifest: Manifest, outcomes: Counter[str]) -> Iterator[Problem]:
    totals = manifest.totals
    claimed = {"kept": totals.kept, "dropped": sum(totals.dropped.values()), "dead": sum(totals.dead.values())}
    if totals.documents != sum(claimed.values()):
        yield Problem(NAME, f"{totals.documents} documents in, but kept + dropped + dead is {sum(claimed.values())}")
    for outcome, number in claimed.items():
        if outcomes[outcome] != number:
            yield Problem(NAME, f"{number} {outcome} claimed, {outcomes[outcome]} in the ledger")
    if sum(shard.samples for shard in manifest.shards) != totals.kept:
        yield Problem(NAME, f"{totals.kept} kept, but the shards hold {sum(s.samples for s in manifest.shards)}")
