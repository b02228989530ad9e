"""Ledgers made by hand, of any size and without a picture, written as a run writes them."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from manifests import ledger
from manifests.manifest import NAME, File, Manifest, Totals
from manifests.parquet import write_table
from manifests.rules import Bounds, Choose, Evaluation, Rule
from manifests.store import Store

RULES: list[Rule] = [
    Bounds("image.short_side", min=200),
    Bounds("caption.words", min=3, max=300),
    Choose("duplicate.image"),
]


def hexadecimal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_ledger(store: Store, parts: int, rows: int, clusters: int, seed: int = 0) -> Manifest:
    """parts x rows documents of one picture each, in `clusters` clusters; the last row of each part is dead."""
    files: list[File] = []
    dropped, outcomes, seen = Counter[str](), Counter[str](), set()
    for number in range(parts):
        random = np.random.default_rng((seed, number))
        uid = [hexadecimal(f"{number}/{row}")[:32] for row in range(rows)]
        cluster = random.integers(0, clusters, rows)
        keys = [hashlib.sha256(str(c).encode()).digest()[:16] for c in cluster]
        documents = pa.table(
            {"uid": uid, "caption_words": pa.array(random.integers(0, 400, rows), pa.int32())}
        ).append_column("duplicate_image", pa.array(keys, pa.binary(16)))
        media = pa.table({"uid": uid, "image_short_side": pa.array(random.integers(10, 900, rows), pa.int32())})
        judged = np.arange(rows) < rows - 1
        before = Evaluation(documents, media, np.arange(rows), judged).apply(RULES[:2], {})
        lost = np.zeros(rows, bool)
        for row in np.flatnonzero(before.alive):
            lost[row] = cluster[row] in seen
            seen.add(cluster[row])
        verdicts = Evaluation(documents, media, np.arange(rows), judged).apply(RULES, {"duplicate.image": lost})
        outcome = np.where(~judged, "dead", np.where(verdicts.alive, "kept", "dropped"))
        dead = {"dead_stage": "image.decode", "dead_reason": "Truncated", "dead_message": "cut"}
        fixed: dict[str, Any] = {name: [None if live else text for live in judged] for name, text in dead.items()}
        fixed |= {name: list(getattr(verdicts, name)) for name in ("rule", "value", "bound")}
        fixed |= {"uid": uid, "source": ["hand"] * rows, "uri": [None] * rows, "licence": [None] * rows}
        fixed |= {"locator": [f'{{"row":{row}}}' for row in range(rows)], "outcome": outcome}
        shas = [hexadecimal(f"picture {c}") for c in cluster]
        pictures = {"uid": uid, "segment": [0] * rows, "sha256": shas, "bytes": [9] * rows, "extension": ["jpg"] * rows}
        pictures |= {"member": [None] * rows, "rule": [None] * rows}
        tables = {
            ledger.DOCUMENTS: table(ledger.DOCUMENT_COLUMNS, fixed, documents, verdicts.document_passes),
            ledger.MEDIA: table(ledger.MEDIA_COLUMNS, pictures, media, verdicts.media_passes),
        }
        for folder, made in tables.items():
            data = write_table(made)
            store.put(f"{folder}/{number:06d}.parquet", data)
            files.append(File(f"{folder}/{number:06d}.parquet", len(data), hashlib.sha256(data).hexdigest(), rows))
        dropped.update(rule for rule in verdicts.rule if rule)
        outcomes.update(outcome.tolist())
    totals = Totals(parts * rows, outcomes["kept"], dict(dropped), {"Truncated": outcomes["dead"]}, 0, 0)
    manifest = Manifest("hand", {"rules": []}, totals, {}, (), tuple(sorted(files, key=lambda file: file.path)), "")
    store.put(NAME, manifest.encode())
    return manifest


def table(front, fixed, scored, passes):
    names = scored.column_names[1:]
    columns = {**fixed, **{name: scored[name] for name in names}}
    columns |= {f"pass_{rule.replace('.', '_')}": values for rule, values in passes.items()}
    passed = [f"pass_{rule.replace('.', '_')}" for rule in passes]
    return pa.table(columns, ledger.schema(front, [(name, scored[name].type) for name in names], passed))
