"""group_by_key and what it needs: 16-byte keys as two integers, buckets by the key's high bits, marks by row.

A row's place is its `loc`: part << 32 | row in that part, so that what a bucket found out about rows can be handed
back to the parts they came from without a second exchange.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.folder import RunFolder
from pipelines.phase import Result

ROWS_A_BUCKET = 1 << 20  # about 60 MB of narrow rows: a bucket is sorted in memory
PARTS_A_TASK = 64  # parts that one routing or deciding task reads

KEY = pa.binary(16)
MARKS = pa.schema([pa.field("loc", pa.int64(), nullable=False), pa.field("mark", pa.int8(), nullable=False)])


def buckets_for(rows: int) -> int:
    """A power of two, so that doubling it splits buckets instead of mixing them."""
    return 1 << max(0, (rows - 1) // ROWS_A_BUCKET).bit_length()


def key_words(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of 16-byte keys without nulls as uint64[n, 2], big-endian: sorts as the bytes do."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of an empty chunked array
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.empty((0, 2), np.uint64)
    words = np.frombuffer(data, ">u8", len(array) * 2, array.offset * 16)
    return words.reshape(-1, 2).astype(np.uint64)


def keys_from_hex(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """32 hex digits to 16 bytes, the width in which keys cross an exchange."""
    joined = bytes.fromhex("".join(column.to_pylist()))
    return pa.FixedSizeBinaryArray.from_buffers(KEY, len(joined) // 16, [None, pa.py_buffer(joined)])


def bucket_of(words: np.ndarray, buckets: int) -> np.ndarray:
    """int64[n]: the bucket of each key, by its highest bits."""
    shift = np.uint64(64 - (buckets.bit_length() - 1))
    return np.zeros(len(words), np.int64) if buckets == 1 else (words[:, 0] >> shift).astype(np.int64)


def locs(part: int, rows: np.ndarray) -> np.ndarray:
    return (np.int64(part) << np.int64(32)) | rows.astype(np.int64)


def part_ranges(parts: int) -> Iterator[dict[str, Any]]:
    """Tasks that cover parts 0..parts-1 in runs."""
    for first in range(0, parts, PARTS_A_TASK):
        yield {"first": first, "stop": min(first + PARTS_A_TASK, parts)}


def marks_result(run: RunFolder, phase: str, bucket: int, loc: np.ndarray, mark: np.ndarray, scratch: Path) -> Result:
    """What a fold found: (loc, mark) sorted by loc, in one file, or in none where there is nothing to say."""
    result = Result(counts={f"mark/{value}": int((mark == value).sum()) for value in np.unique(mark)})
    if len(loc):
        order = np.argsort(loc)
        table = pa.table({"loc": loc[order], "mark": mark[order].astype(np.int8)}, MARKS)
        path = scratch / "marks.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=1 << 16)
        result.files["marks"] = (path, run.data(phase, bucket, "marks.parquet"))
        result.rows["marks"] = len(loc)
        result.facts = {"first": int(loc.min()), "last": int(loc.max())}
    return result


class Marks:
    """The marks that exchanges left on the rows of some parts. Reads each bucket's file once, the needed rows only."""

    def __init__(self, run: RunFolder, phases: Sequence[str], first: int, stop: int):
        low, high = first << 32, stop << 32
        self._tables = {phase: _marks_between(run, phase, low, high) for phase in phases}

    def of(self, phase: str, part: int, rows: int) -> np.ndarray:
        """int8[rows]: the mark of each row of a part, 0 where there is none."""
        loc, mark = self._tables[phase]
        out = np.zeros(rows, np.int8)
        start, end = np.searchsorted(loc, [part << 32, (part + 1) << 32])
        out[loc[start:end] & 0xFFFFFFFF] = mark[start:end]
        return out


def _marks_between(run: RunFolder, phase: str, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    loc, mark = [np.empty(0, np.int64)], [np.empty(0, np.int8)]
    for receipt in run.receipts(phase):
        if "marks" not in receipt["files"] or receipt["facts"]["last"] < low or receipt["facts"]["first"] >= high:
            continue
        data = run.home(phase).read(receipt["files"]["marks"]["path"])
        column = pc.field("loc")
        table = pq.read_table(pa.BufferReader(data), filters=(column >= low) & (column < high))
        loc.append(table["loc"].to_numpy())
        mark.append(table["mark"].to_numpy())
    locs_, marks_ = np.concatenate(loc), np.concatenate(mark)
    order = np.argsort(locs_, kind="stable")
    return locs_[order], marks_[order]


def concat(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *tables])
