"""What a dataset on disk holds, for tests that compare two of them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def ledger(dataset: Path, which: str) -> list[dict[str, Any]]:
    """The rows of ledger/documents or ledger/media, sorted by uid."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted((dataset / "ledger" / which).glob("*.parquet")))
    return sorted(
        table.to_pylist(), key=lambda row: (row["uid"], row["locator"] if "locator" in row else row["segment"])
    )


def members(dataset: Path) -> dict[str, bytes]:
    """Name -> content of every member of every shard."""
    found = {}
    for path in (dataset / "shards").glob("*.tar"):
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    return found


def totals(dataset: Path) -> dict[str, Any]:
    """The manifest's totals."""
    return json.loads((dataset / "MANIFEST.json").read_text())["totals"]
