"""Reads a folder of pictures with their captions beside them, or in captions files.

Sidecars: `a.txt` (or `a.jpg.txt`) holds the caption of `a.jpg`; `a.json` (or `a.jpg.json`) a caption, `url`, licence.
A captions file is a `.jsonl` whose first record names a picture: each line names one, relative to the file's own folder
(`file_name`, `image`, …), and its caption, or a list of captions.

Where the input has captions files, they say which pictures are read: one without a sidecar that no line names is no
item. Files that are neither pictures nor captions are passed over.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.document import Media, Source
from manifests.errors import RecordError, RunError
from manifests.store import Entry, Store
from stages.readers.base import BYTES_A_TASK, DOCUMENTS_A_TASK, Candidate, Unreadable, in_tasks
from stages.readers.captions import Caption, caption_text, captions_of, numbered, pair, parse_json
from stages.readers.captions_file import LINE_BYTES, names_pictures, read_captions
from stages.readers.media import MAX_CAPTION_BYTES, PICTURE_EXTENSIONS, extension_of, is_picture, read_file

SIDECARS = (".txt", ".json")
# Text files that go with a data set and are no captions.
NO_SIDECAR = re.compile(
    r"(readme|licen[cs]e|copying|copyright|notice|changelog|credits|authors|sources|requirements|.*_stats)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FolderReader:
    """Pairs from pictures with sidecars or captions files; see the module's text.

    Key: the picture's path; the second and later captions of one record, or of lines that follow one another, add their
    number. Dead: `NoCaption`, `NoPicture` (a sidecar alone), `BadEncoding`, `BadJson`, `BadCaption`, `MissingFile`,
    `OutsideInput` (a line that names a path out of the input), `TooLarge`.
    """

    source: str
    licence: str | None = None
    name = "folder"
    version = 1

    def plan(self, store: Store) -> Iterator[dict[str, Any]]:
        pictures, size, catalogues = survey(store)
        if not pictures:
            raise RunError(f"no images found under {store.uri}; looked for .{', .'.join(sorted(PICTURE_EXTENSIONS))}")
        sized = ((paths_of(group), sum(entry.size for entry in group)) for group in sidecar_groups(store.list()))
        if catalogues:
            sized = ((paths, size) for paths, size in sized if not all(map(is_picture, paths)))
        for found in in_tasks(sized):
            yield {"files": [path for paths in found for path in paths], "listed": bool(catalogues)}
        # A listing does not say how many lines name how large pictures: take what is usual.
        documents = min(DOCUMENTS_A_TASK, max(1, BYTES_A_TASK * pictures // max(size, 1)))
        step = documents * LINE_BYTES
        for entry in catalogues:
            for start in range(0, entry.size, step):
                yield {"captions": entry.path, "start": start, "end": min(start + step, entry.size)}

    def read(self, store: Store, task: Mapping[str, Any]) -> Iterator[Candidate | Unreadable]:
        if "captions" in task:
            return read_captions(store, task["captions"], task["start"], task["end"], self.source, self.licence)
        return self.sidecars(store, task["files"], task["listed"])

    def sidecars(self, store: Store, paths: Sequence[str], listed: bool) -> Iterator[Candidate | Unreadable]:
        """The pictures among the paths, each with its sidecars, and sidecars without a picture.

        listed: whether captions files list the pictures, so that one without a sidecar is theirs.
        """
        beside = {stem_and_kind(path): path for path in paths if not is_picture(path)}
        used: set[str | None] = set()
        for path in filter(is_picture, paths):
            stem = posixpath.splitext(path)[0]
            text, record = (beside.get((path, kind)) or beside.get((stem, kind)) for kind in SIDECARS)
            used |= {text, record}
            if text or record:
                yield from self.pairs(store, path, text, record)
            elif not listed:
                message = f"neither {' nor '.join(SIDECARS)} lies beside {path!r}"
                yield Unreadable(path, {"path": path}, "NoCaption", message)
        for path in beside.values():
            if path not in used:
                yield Unreadable(path, {"path": path}, "NoPicture", f"no picture lies beside {path!r}")

    def pairs(self, store: Store, path: str, text: str | None, record: str | None) -> Iterator[Candidate | Unreadable]:
        """The documents of one picture: one for each of its captions."""
        try:
            captions = sidecar_captions(store, text, record)
            data = read_file(store, path)
        except RecordError as error:
            yield Unreadable(path, {"path": path}, error.reason, error.message)
            return
        media = Media.of(data, extension_of(path))
        for number, caption in enumerate(captions, 1):
            locator: dict[str, str | int] = {"path": path} if number == 1 else {"path": path, "caption": number}
            source = Source(self.source, caption.url, locator, caption.licence or self.licence)
            yield pair(numbered(path, number), source, media, data, caption)


def survey(store: Store) -> tuple[int, int, list[Entry]]:
    """(number of pictures, their bytes, captions files) of an input."""
    pictures, size, found = 0, 0, []
    for entry in store.list():
        if is_picture(entry.path):
            pictures += 1
            size += entry.size
        elif extension_of(entry.path) == "jsonl" and entry.size:
            found.append(entry)
    return pictures, size, [entry for entry in found if names_pictures(store, entry.path, entry.size)]


def sidecar_groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Pictures and sidecars that belong together: those of one folder whose names agree up to the first dot.

    The listing is sorted by path, so a group's files follow one another, but for a folder's files between them:

        a.jpg  a.orig/old.png  a.txt
    """
    open_groups: dict[str, tuple[str, list[Entry]]] = {}  # folder -> its last name and group
    here = ""
    for entry in entries:
        folder, name = posixpath.split(entry.path)
        if folder != here:
            left = [other for other in open_groups if other and not f"{folder}/".startswith(f"{other}/")]
            yield from (open_groups.pop(other)[1] for other in left)
            here = folder
        if not is_picture(name) and (stem_and_kind(name)[1] not in SIDECARS or NO_SIDECAR.match(name)):
            continue
        stem = name.partition(".")[0]
        last, group = open_groups.get(folder, ("", []))
        if group and last == stem:
            group.append(entry)
            continue
        if group:
            yield group
        open_groups[folder] = (stem, [entry])
    yield from (group for _, group in open_groups.values())


def paths_of(group: Iterable[Entry]) -> list[str]:
    return [entry.path for entry in group]


def stem_and_kind(path: str) -> tuple[str, str]:
    """A sidecar's path without its last extension, and that extension in lower case."""
    stem, kind = posixpath.splitext(path)
    return stem, kind.lower()


def sidecar_captions(store: Store, text: str | None, record: str | None) -> list[Caption]:
    """The captions of a picture from its sidecars, at least one of which is there."""
    values = {} if record is None else parse_json(read_file(store, record, MAX_CAPTION_BYTES), repr(record))
    if text is None:
        return captions_of(values, repr(record))
    return captions_of(values, repr(record), caption_text(read_file(store, text, MAX_CAPTION_BYTES), repr(text)))
