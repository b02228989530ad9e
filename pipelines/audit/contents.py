"""What a few chosen documents say and show: captions and picture bytes, from the raw shards of a run's work folder."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from manifests.document import Document
from manifests.errors import RunError
from manifests.parquet import read_table
from pipelines.audit.text import whole
from pipelines.folder import RunFolder
from pipelines.ingest import Ingest, raw_documents, read_media

Location = tuple[str, str, int, int]  # sha256, path, offset, size
BYTES_AT_ONCE = 32 << 20  # of pictures read before they are handed on
GONE = (OSError, RunError)  # a file that is not there any more, its folder or its bucket
LARGEST = 64 << 20  # a picture of more bytes than this is not fetched to be looked at


@dataclass(frozen=True, slots=True)
class Content:
    """document: as it was read. media: segment number -> where its bytes lie."""

    document: Document
    media: dict[int, Location]

    @property
    def caption(self) -> str:
        return whole(self.document.text())

    def location(self, segment: int) -> Location | None:
        """Of one segment, or of the first picture where segment is negative."""
        return self.media.get(segment) if segment >= 0 else next(iter(self.media.values()), None)


def read_contents(run: RunFolder, wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Content]:
    """(part, uid) -> content, for those that are there. Reads each part once."""
    by_part: dict[int, set[str]] = defaultdict(set)
    for part, uid in wanted:
        by_part[part].add(uid)
    out: dict[tuple[int, str], Content] = {}
    for part, uids in sorted(by_part.items()):
        for uid, content in part_contents(run, part, uids):
            out.setdefault((part, uid), content)  # the first readable row of a key is the one that stands
    return out


def part_contents(run: RunFolder, part: int, uids: Collection[str]) -> Iterator[tuple[str, Content]]:
    table = read_table(run.home(Ingest.name), run.data(Ingest.name, part, "documents.parquet"))
    found = table.filter(pc.is_in(table["uid"], value_set=pa.array(sorted(uids))))
    for row in raw_documents(found):
        if row.document is not None:
            document = Document.from_json(row.document)
            segments = [number for number, _ in document.media()]
            yield row.uid, Content(document, dict(zip(segments, row.media, strict=True)))


def read_pictures(run: RunFolder, locations: Iterable[Location]) -> Iterator[dict[str, bytes]]:
    """sha256 -> bytes, in groups of bounded size, each picture once. Bytes that are gone are left out."""
    group: list[Location] = []
    size = 0
    for location in sorted(set(locations), key=lambda item: (item[1], item[2])):
        if location[3] > LARGEST:
            continue
        if group and size + location[3] > BYTES_AT_ONCE:
            yield read_there(run, group)
            group, size = [], 0
        group.append(location)
        size += location[3]
    if group:
        yield read_there(run, group)


def read_there(run: RunFolder, group: list[Location]) -> dict[str, bytes]:
    """The bytes of a group; where one file of it cannot be read (an input taken away), of the others."""
    try:
        return read_media(run, group)
    except GONE:
        out: dict[str, bytes] = {}
        for location in group:
            try:
                out |= read_media(run, [location])
            except GONE:
                continue
        return out
