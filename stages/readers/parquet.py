"""Reads tables whose rows are pictures with captions: the bytes in a column, or paths to files.

Columns are found by their names in any case, or named by the reader's settings. Row groups are the unit of work: a task
reads some of them, or part of one where the table only names files.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.document import Media, Source
from manifests.errors import RecordError, RunError
from manifests.parquet import StoreFile
from manifests.store import Store
from stages.readers.base import BYTES_A_TASK, DOCUMENTS_A_TASK, Candidate, Unreadable, in_tasks
from stages.readers.captions import Caption, captions_from, numbered, pair, public_url
from stages.readers.media import (
    MAX_BYTES,
    TABLE_EXTENSIONS,
    PictureFiles,
    extension_in,
    extension_of,
    is_picture,
    join_below_root,
)
from stages.readers.parquet_columns import Columns, find_columns

ROWS_A_READ = 32
READ_BYTES = 4 * 1024 * 1024  # of a column at a time
ROWS_A_PART = 4000  # of a table that only names files: its columns are read again for each part of a row group


@dataclass(frozen=True)
class ParquetReader:
    """Pairs from tables with a column of picture bytes (or of {bytes, path}), or of paths below `media_root`.

    media_root: address of the folder that paths are relative to; the input itself where it holds pictures.
    *_column: a column's name, where it is not one of the usual names (`parquet_columns`).
    Key: the `uid` or `key` column, else address and caption, else path and caption, else the picture's SHA-256 and
    caption: never the row number. Dead: `NoPicture`, `NoCaption`, `BadCaption`, `MissingFile`, `OutsideInput`,
    `NotDownloaded` (a path that is a web address), `TooLarge`, `BadTable` (a file that is no readable table).
    """

    source: str
    licence: str | None = None
    media_root: str | None = None
    picture_column: str | None = None
    caption_column: str | None = None
    key_column: str | None = None
    url_column: str | None = None
    licence_column: str | None = None
    name = "parquet"
    version = 1

    def plan(self, store: Store) -> Iterator[dict[str, Any]]:
        pictures = self.media_root is not None
        tables = []
        for entry in store.list():
            pictures = pictures or is_picture(entry.path)
            if extension_of(entry.path) in TABLE_EXTENSIONS:
                tables.append(entry.path)
        if not tables:
            raise RunError(f"no tables found under {store.uri}; looked for .{', .'.join(TABLE_EXTENSIONS)}")
        for parts in in_tasks(part for path in tables for part in self.parts(store, path, pictures)):
            yield {"parts": parts}

    def parts(self, store: Store, path: str, pictures: bool) -> Iterator[tuple[dict[str, Any], int]]:
        """Each part of a table's row groups with its weight in bytes. RunError for a table that cannot be used."""
        try:
            table = open_table(store, path)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the store's, not the table's
            yield {"file": path, "group": None, "error": first_line(error)}, 0
            return
        columns = self.columns(table.schema_arrow, path)
        if columns.picture_kind == "path" and not pictures:
            raise RunError(
                f"{path} names its pictures by path (column {columns.picture!r}) and {store.uri} holds none: "
                "say where they lie with --media-root"
            )
        row = 0
        for number in range(table.num_row_groups):
            group = table.metadata.row_group(number)
            step = ROWS_A_PART if columns.picture_kind == "path" else group.num_rows
            for start in range(0, group.num_rows, max(step, 1)):
                rows = min(step, group.num_rows - start)
                size = group.total_byte_size * rows // group.num_rows
                part = {"file": path, "group": number, "first_row": row, "start": start, "rows": rows}
                yield part, max(size, rows * BYTES_A_TASK // DOCUMENTS_A_TASK)
            row += group.num_rows

    def columns(self, schema: pa.Schema, path: str) -> Columns:
        named = {
            "picture": self.picture_column,
            "caption": self.caption_column,
            "key": self.key_column,
            "url": self.url_column,
            "licence": self.licence_column,
        }
        return find_columns(schema, path, named)

    def read(self, store: Store, task: Mapping[str, Any]) -> Iterator[Candidate | Unreadable]:
        files = PictureFiles(store if self.media_root is None else Store(self.media_root))
        for part in task["parts"]:
            try:
                if part["group"] is None:
                    raise pa.ArrowInvalid(part["error"])
                table = open_table(store, part["file"])
                columns = self.columns(table.schema_arrow, part["file"])
                for row, values in rows_of(table, part, columns):
                    yield from self.pairs(files, part["file"], row, columns, values)
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the store's, not the table's
                place = {"file": part["file"], **({} if part["group"] is None else {"row_group": part["group"]})}
                key = f"{part['file']}\0{part['group']}"
                yield Unreadable(key, place, "BadTable", f"{part['file']!r}: {first_line(error)}")

    def pairs(
        self, files: PictureFiles, path: str, row: int, columns: Columns, values: Mapping[str, Any]
    ) -> Iterator[Candidate | Unreadable]:
        """The documents of one row: one for each of its captions."""
        locator: dict[str, str | int] = {"file": path, "row": row}
        try:
            captions = row_captions(columns, values, f"{path!r}, row {row}")
            data, media = picture_of(files, columns, values)
        except RecordError as error:
            yield Unreadable(
                key_of(columns, values, str(values.get(columns.caption)), 1), locator, error.reason, error.message
            )
            return
        for number, caption in enumerate(captions, 1):
            key = key_of(columns, values, caption.text, number)
            source = Source(self.source, caption.url, locator, caption.licence or self.licence)
            yield pair(key, source, media, data, caption)


def row_captions(columns: Columns, values: Mapping[str, Any], where: str) -> list[Caption]:
    url, licence = columns.value("url", values), columns.value("licence", values)
    return captions_from(
        values[columns.caption],
        f"{where}: {columns.caption}",
        f"column.{columns.caption}",
        {f"column.{name}": values[name] for name in columns.alternatives},
        public_url(url if isinstance(url, str) else None),
        licence if isinstance(licence, str) else None,
    )


def picture_of(files: PictureFiles, columns: Columns, values: Mapping[str, Any]) -> tuple[bytes, Media]:
    """A row's picture. RecordError where there is none."""
    data, path = columns.payload(values)
    if data is not None:
        if len(data) > MAX_BYTES:
            raise RecordError("TooLarge", f"{len(data):,} bytes in one row; at most {MAX_BYTES:,} are read")
        return data, Media.of(data, extension_of(path or "") or columns.extension or extension_in(data))
    if not path:
        raise RecordError("NoPicture", f"column {columns.picture!r} is null")
    if path.lower().startswith(("http://", "https://")):
        raise RecordError("NotDownloaded", f"{path!r} is a web address: download pictures first, with img2dataset")
    place = None if path.startswith("/") else join_below_root("", path)
    if not place:
        raise RecordError("OutsideInput", f"{path!r} is not below the folder of the pictures")
    return files.get(place)


def key_of(columns: Columns, values: Mapping[str, Any], caption: str, number: int) -> str:
    """What a document's uid is made from; see ParquetReader."""
    data, path = columns.payload(values)
    key, url = columns.value("key", values), columns.value("url", values)
    if key is not None:
        return numbered(str(key), number)
    return f"{url or path or hashlib.sha256(data or b'').hexdigest()}\0{caption}"


def rows_of(table: pq.ParquetFile, part: Mapping[str, Any], columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number in its file, values) of the rows of one part."""
    start, stop = part["start"], part["start"] + part["rows"]
    at = 0
    for batch in table.iter_batches(ROWS_A_READ, [part["group"]], columns.names(), use_threads=False):
        first, last = max(start - at, 0), min(stop - at, batch.num_rows)
        if first < last:
            for offset, values in enumerate(batch.slice(first, last - first).to_pylist()):
                yield part["first_row"] + at + first + offset, values
        at += batch.num_rows
        if at >= stop:
            return


def open_table(store: Store, path: str) -> pq.ParquetFile:
    file = pa.PythonFile(StoreFile(store, path), mode="r")
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:500]
