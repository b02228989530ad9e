"""Parquet with one spelling: equal rows give equal bytes, however they were cut into batches; and a digest of the rows.

The bytes depend on pyarrow's version as well; `content_digest` depends on the rows alone.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.document import canonical_json
from manifests.store import Store

ROW_GROUP = 65_536  # rows; also of a block that content_digest hashes
WHOLE_FILE = 1 << 20  # bytes up to which a file is read in one request
SETTINGS: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",
    "compression_level": 3,
    "data_page_version": "1.0",
    "data_page_size": 1 << 20,
    "write_batch_size": 1024,
    "use_dictionary": True,
    "write_statistics": True,
    "store_schema": True,  # so that every type comes back as it was; it holds no metadata of ours
}


class TableWriter:
    """Writes one table to a local file in any number of pieces; rows wait until a row group is full.

    The schema's own metadata (pandas writes some) is left out; `metadata` is what the file carries instead.
    Leaving a `with` block by an exception leaves a file without a footer, which no reader takes for a table.
    """

    def __init__(self, target: Path | Any, schema: pa.Schema, metadata: Mapping[str, str] | None = None):
        self.schema = plain_schema(schema)
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._closed = False
        self._file = target.open("wb") if isinstance(target, Path) else target
        self._owns_file = isinstance(target, Path)
        described = self.schema.with_metadata(dict(sorted(metadata.items()))) if metadata else self.schema
        self._writer = pq.ParquetWriter(self._file, described, **SETTINGS)

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Rows of exactly the schema's names and types."""
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        if not plain_schema(table.schema).equals(self.schema):
            raise ValueError(f"rows of another schema:\n{table.schema}\nexpected:\n{self.schema}")
        self._waiting.append(table.cast(self.schema))
        self._waiting_rows += table.num_rows
        self.rows += table.num_rows
        if self._waiting_rows >= ROW_GROUP:
            self._write_groups(whole_only=True)

    def _write_groups(self, whole_only: bool) -> None:
        table = pa.concat_tables(self._waiting)
        start = 0
        while table.num_rows - start >= (ROW_GROUP if whole_only else 1):
            # One chunk a group: the cuts of the pieces would otherwise show as cuts between pages.
            group = table.slice(start, ROW_GROUP).combine_chunks()
            self._writer.write_table(group, row_group_size=ROW_GROUP)
            start += group.num_rows
        self._waiting = [table.slice(start)] if start < table.num_rows else []
        self._waiting_rows = table.num_rows - start

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiting:
            self._write_groups(whole_only=False)
        self._writer.close()
        if self._owns_file:
            self._file.close()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            self._writer.is_open = False  # its close would write the footer
            if self._owns_file:
                self._file.close()


def write_table(table: pa.Table, metadata: Mapping[str, str] | None = None) -> bytes:
    """A whole Parquet file."""
    buffer = io.BytesIO()
    writer = TableWriter(buffer, table.schema, metadata)
    writer.write(table)
    writer.close()
    return buffer.getvalue()


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema without metadata, its own or its fields'."""
    return pa.schema([field.remove_metadata() for field in schema])


def open_parquet(store: Store, path: str) -> pq.ParquetFile:
    """A file of a store to read from: only the byte ranges that are needed are fetched, a small file whole.

    FileNotFoundError where there is none; pyarrow.ArrowInvalid, naming it, where it is no Parquet.
    """
    size = store.size(path)
    if size is None:
        raise FileNotFoundError(2, "no such file", f"{store.uri}/{path}")
    source: Any
    if size <= WHOLE_FILE:
        source = pa.BufferReader(store.read(path))
    else:
        source = pa.PythonFile(StoreFile(store, path, size), mode="r")
    try:
        return pq.ParquetFile(source, pre_buffer=True)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"{store.uri}/{path}: {error}") from error


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table, or these columns of it, in this order."""
    with open_parquet(store, path) as file:
        table = file.read(columns=_known(file, columns), use_threads=False)
    return table if columns is None else table.select(list(columns))


def iter_batches(
    store: Store,
    path: str,
    columns: Sequence[str] | None = None,
    rows: int = ROW_GROUP,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """A table in batches of at most `rows`, or some row groups of it; memory for one row group at a time."""
    with open_parquet(store, path) as file:
        batches = file.iter_batches(
            batch_size=rows, row_groups=row_groups, columns=_known(file, columns), use_threads=False
        )
        for batch in batches:
            yield batch if columns is None else batch.select(list(columns))


def _known(file: pq.ParquetFile, columns: Sequence[str] | None) -> list[str] | None:
    names = file.schema_arrow.names
    unknown = sorted(set(columns or ()) - set(names))
    if unknown:
        raise ValueError(f"no column {', '.join(unknown)}; there are {', '.join(names)}")
    return None if columns is None else list(columns)


class StoreFile(io.RawIOBase):
    """A file of a store as a seekable Python file, read by ranges."""

    def __init__(self, store: Store, path: str, size: int | None = None):
        found = store.size(path) if size is None else size
        if found is None:
            raise FileNotFoundError(2, "no such file", f"{store.uri}/{path}")
        self._store, self._path, self._size, self._place = store, path, found, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._store.read_range(self._path, self._place, wanted)
        self._place += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def content_digest(tables: Iterable[pa.Table]) -> str:
    """SHA-256, as 64 hex digits, of the rows: the same however they are cut into tables, chunks or batches.

    Tables that follow one another with the same names and types count as one. Each is hashed as streams of bytes, a few
    for every column, each stream running over all rows and hashed by itself:

        valid     a byte a cell: 1, or 0 for null
        lengths   int64 of every string, binary or list; 0 for null
        values    little-endian numbers with zeros for null and one NaN; bytes of all strings behind one another

    A list's items and a struct's fields are columns of their own, without the items of null lists. The digest is that
    of one canonical JSON [[name, type], ...], rows, [[column, child, ..., stream], digest] sorted, a line a table.
    What is not content does not count: large_string or string, dictionaries, names of list items, nullability.
    """
    digest = hashlib.sha256()
    section: _Section | None = None
    for table in tables:
        kinds = [[field.name, _kind(field.type)] for field in table.schema]
        if section is None or section.kinds != kinds:
            if section is not None:
                digest.update(section.line())
            section = _Section(kinds)
        section.add(table)
    if section is not None:
        digest.update(section.line())
    return digest.hexdigest()


class _Section:
    """The streams of one table."""

    def __init__(self, kinds: list[Any]):
        self.kinds = kinds
        self._rows = 0
        self._streams: dict[tuple[int | str, ...], Any] = {}

    def add(self, table: pa.Table) -> None:
        self._rows += table.num_rows
        for number, column in enumerate(table.columns):
            for chunk in column.chunks:
                for key, data in _streams(chunk, (number,)):
                    if data.size:
                        self._streams.setdefault(key, hashlib.sha256()).update(np.ascontiguousarray(data).data)

    def line(self) -> bytes:
        streams = sorted(([str(part) for part in key], found.hexdigest()) for key, found in self._streams.items())
        return canonical_json([self.kinds, self._rows, streams]) + b"\n"


def _kind(kind: pa.DataType) -> Any:
    """A type by what it can hold, as JSON."""
    types = pa.types
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_struct(kind):
        return ["struct", [[field.name, _kind(field.type)] for field in kind]]
    if _is_list(kind):
        return ["list", _kind(kind.value_type)]
    if types.is_string(kind) or types.is_large_string(kind):
        return "string"
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "binary"
    if types.is_null(kind) or types.is_boolean(kind) or types.is_primitive(kind) or types.is_fixed_size_binary(kind):
        return str(kind)
    if types.is_decimal(kind):
        return str(kind)
    raise TypeError(f"columns of type {kind} have no content digest")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _streams(cells: pa.Array, key: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], np.ndarray]]:
    """(key, array) for each stream of these cells."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = cells.dictionary_decode(), kind.value_type
    valid = cells.is_valid().to_numpy(zero_copy_only=False)
    yield (*key, "valid"), valid.view(np.uint8)
    if pa.types.is_null(kind):
        return
    if pa.types.is_struct(kind):
        for number, child in enumerate(cells.flatten()):  # a field of a null struct is null
            yield from _streams(child, (*key, number))
    elif _is_list(kind):
        yield (*key, "lengths"), pc.fill_null(pc.list_value_length(cells), 0).to_numpy().astype("<i8")
        yield from _streams(pc.list_flatten(cells), (*key, 0))
    elif pa.types.is_boolean(kind):
        yield (*key, "values"), (cells.fill_null(False)).to_numpy(zero_copy_only=False).view(np.uint8)
    elif isinstance(_kind(kind), str) and _kind(kind) in ("string", "binary"):
        cells = cells.fill_null(b"" if _kind(kind) == "binary" else "") if cells.null_count else cells
        width = "<i8" if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else "<i4"
        _, offsets_buffer, data = cells.buffers()
        offsets: Any = (
            np.frombuffer(offsets_buffer, width)[cells.offset : cells.offset + len(cells) + 1] if len(cells) else []
        )
        yield (*key, "lengths"), np.diff(offsets).astype("<i8")
        if len(cells) and data is not None:
            yield (*key, "values"), np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    else:
        yield (*key, "values"), _fixed_width(cells, valid)


def _fixed_width(cells: pa.Array, valid: np.ndarray) -> np.ndarray:
    """uint8[n, width] of numbers, times, decimals and fixed-size binary, nulls as zeros, every NaN alike."""
    width = cells.type.bit_width // 8
    if not len(cells):
        return np.empty((0, width), np.uint8)
    data = np.frombuffer(cells.buffers()[1], np.uint8)[cells.offset * width :][: len(cells) * width].reshape(-1, width)
    if pa.types.is_floating(cells.type):
        numbers = data.view(f"<f{width}")
        if np.isnan(numbers).any():
            data = np.where(np.isnan(numbers), np.array(np.nan, numbers.dtype), numbers).view(np.uint8)
    if cells.null_count:
        data = np.where(valid[:, None], data, np.uint8(0))
    return data
