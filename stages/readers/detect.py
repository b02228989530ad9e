"""Which reader suits an input: named by `--format`, or told from the names in its listing."""

import dataclasses
from collections import Counter
from typing import Any

from manifests.errors import RunError
from manifests.store import Store
from stages.readers.base import Reader
from stages.readers.media import PAGE_EXTENSIONS, PICTURE_EXTENSIONS, TABLE_EXTENSIONS, extension_of

FORMATS = ("folder", "webdataset", "parquet", "html")


def make_reader(
    format: str, uri: str, source: str, licence: str | None = None, media_root: str | None = None, **settings: Any
) -> Reader:
    """The reader of a format (`auto`: told from the input's listing). uri: the input.

    settings: further fields of that reader (`caption_column="TEXT"`). RunError for a setting that it does not have, and
    for an input in which `auto` finds nothing, or several formats.
    """
    if format == "auto":
        format = detect(Store(uri))
    if media_root is not None and format != "parquet":
        raise RunError(f"--media-root goes with parquet tables; the input's format is {format}")
    settings |= {"source": source, "licence": licence}
    if format == "folder":
        from stages.readers.folder import FolderReader

        return made(FolderReader, settings)
    if format == "webdataset":
        from stages.readers.webdataset import WebDatasetReader

        return made(WebDatasetReader, settings)
    if format == "parquet":
        from stages.readers.parquet import ParquetReader

        return made(ParquetReader, {**settings, "media_root": media_root})
    if format == "html":
        from stages.readers.html import HtmlReader

        return made(HtmlReader, settings)
    raise RunError(f"format {format!r} is unknown; allowed: auto, {', '.join(FORMATS)}")


def made(reader: Any, settings: dict[str, Any]) -> Reader:
    """The reader with these settings. RunError for one that it does not have."""
    known = [field.name for field in dataclasses.fields(reader)]
    for name in settings:
        if name not in known:
            raise RunError(f"the {reader.name} reader has no setting {name!r}; it has: {', '.join(known)}")
    result: Reader = reader(**settings)
    return result


def detect(store: Store) -> str:
    """The format that a listing shows. RunError where it shows none, or several.

    webdataset  tar files, and neither pages nor pictures outside of them (tables beside them are img2dataset's log)
    parquet     tables and no pages; but folder where most pictures have captions beside them
    html        pages; but folder where pictures with captions beside them are ten times as many, and neither where
                there are many of both
    folder      pictures, and nothing else
    """
    found = count_kinds(store)
    tars, tables, pages, pictures, captioned = (found[k] for k in ("tar", "table", "page", "picture", "captioned"))
    if found["packed"] and not tars:
        raise RunError(
            f"{store.uri} holds compressed tar files, which cannot be read in place: decompress them to .tar"
        )
    if not tars + tables + pages + pictures:
        raise RunError(f"{store.uri} holds no pictures, pages, tables or tar files")
    if tars:
        choice = "webdataset" if not pages and not pictures else None
    elif captioned > 10 * pages and (not tables or 2 * captioned > pictures):
        choice = "folder"
    elif tables:
        choice = "parquet" if not pages else None
    elif pages:
        choice = "html" if pages > 10 * captioned else None
    else:
        choice = "folder"
    if choice is None:
        kinds = {"tar files": tars, "tables": tables, "web pages": pages, "pictures": pictures}
        seen = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
        raise RunError(f"{store.uri} holds {seen}: say which to read with --format {'|'.join(FORMATS)}")
    return choice


def count_kinds(store: Store) -> Counter[str]:
    """How many files of each kind a listing has; `captioned` are pictures with a sidecar, and captions files."""
    kinds = dict.fromkeys(PICTURE_EXTENSIONS, "picture") | dict.fromkeys(PAGE_EXTENSIONS, "page")
    kinds |= dict.fromkeys(TABLE_EXTENSIONS, "table") | {"tar": "tar", "tgz": "packed", "jsonl": "captioned"}
    found: Counter[str] = Counter()
    before, kind_before = "", ""
    for entry in store.list():
        extension = extension_of(entry.path)
        stem, kind = entry.path[: len(entry.path) - len(extension)], kinds.get(extension, extension)
        if entry.path.lower().endswith((".tar.gz", ".tar.zst", ".tar.bz2", ".tar.xz")):
            kind = "packed"
        found[kind] += 1
        # The listing is sorted, so that a.jpg and a.txt mostly follow one another.
        if stem == before and {kind, kind_before} in ({"picture", "txt"}, {"picture", "json"}):
            found["captioned"] += 1
        before, kind_before = stem, kind
    return found
