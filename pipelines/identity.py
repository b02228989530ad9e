"""Identity: the same key with the same content is one document; with other content it is dead.

Keys can meet across tasks (two tars that hold one key), so this is an exchange over (uid, content digest).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.parquet import read_table
from pipelines import verbs
from pipelines.folder import RunFolder
from pipelines.ingest import Ingest
from pipelines.phase import Result, Task

REPEATED, CONFLICT = 1, 2


@dataclass(frozen=True)
class Identity:
    """Marks the rows that are a repetition (REPEATED) or whose key is taken by other content (CONFLICT)."""

    name = "identity"
    version = 1
    upstream = (Ingest.name,)
    schema = pa.schema(
        [
            pa.field("uid", verbs.KEY),
            pa.field("digest", verbs.KEY),
            pa.field("unreadable", pa.bool_()),
            pa.field("loc", pa.int64()),
        ]
    )

    def config(self) -> Mapping[str, Any]:
        return {}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return verbs.part_ranges(run.commit(Ingest.name)["tasks"])

    def buckets(self, run: RunFolder) -> int:
        counts = run.commit(Ingest.name)["counts"]
        return verbs.buckets_for(counts.get("documents", 0) + counts.get("unreadable", 0))

    def route(self, run: RunFolder, task: Task) -> tuple[pa.Table, np.ndarray]:
        tables = []
        for part in range(task.params["first"], task.params["stop"]):
            columns = ["uid", "digest", "dead_reason"]
            rows = read_table(run.home(Ingest.name), run.data(Ingest.name, part, "documents.parquet"), columns)
            fields = {
                "uid": verbs.keys_from_hex(rows["uid"]),
                "digest": verbs.keys_from_hex(rows["digest"]),
                "unreadable": rows["dead_reason"].is_valid(),
                "loc": verbs.locs(part, np.arange(rows.num_rows)),
            }
            tables.append(pa.table(fields, self.schema))
        table = verbs.concat(tables, self.schema)
        return table, verbs.bucket_of(verbs.key_words(table["uid"]), self.buckets(run))

    def fold(self, run: RunFolder, bucket: int, rows: pa.Table, scratch: Path) -> Result:
        uid, digest = verbs.key_words(rows["uid"]), verbs.key_words(rows["digest"])
        loc, unreadable = rows["loc"].to_numpy(), rows["unreadable"].to_numpy()
        # The first readable row of a key stands; the order of arrival has no say.
        order = np.lexsort((loc, unreadable, uid[:, 1], uid[:, 0]))
        uid, digest, loc = uid[order], digest[order], loc[order]
        new = np.ones(len(uid), bool)
        new[1:] = (uid[1:] != uid[:-1]).any(axis=1)
        stands = np.maximum.accumulate(np.where(new, np.arange(len(uid)), 0))
        same = (digest == digest[stands]).all(axis=1)
        mark = np.where(same, REPEATED, CONFLICT)[~new]
        return verbs.marks_result(run, self.name, bucket, loc[~new], mark, scratch)
