"""Reads WebDataset tars in place: members that share a key are a sample, its picture and caption a document.

The key is a member's path up to the first dot of its name: `shard/0007.jpg`, `shard/0007.txt` and `shard/0007.json` are
the sample `shard/0007`. Understood as img2dataset and DataComp write it: the caption in .txt, else in .json, which also
has the picture's address, licence and DataComp's uid. Members of other kinds are passed over: nothing is unpickled.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.document import Media, Source
from manifests.errors import RecordError, RunError
from manifests.store import Store
from manifests.tar import Member, Tar, safe_name
from stages.readers.base import Candidate, Range, Unreadable, in_tasks
from stages.readers.captions import Caption, caption_text, captions_of, is_text, numbered, pair, parse_json
from stages.readers.media import MAX_BYTES, MAX_CAPTION_BYTES, PICTURE_EXTENSIONS, extension_of

PACKED = (".tgz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar.xz", ".tar.lz4")
WAITING_BYTES = 64 * 1024 * 1024
TEXT_SUFFIXES = ("txt", "caption", "text")


@dataclass(slots=True)
class Sample:
    """What one key's members hold. suffixes: of all its members.

    picture: (suffix, media, where its bytes lie). error: what is wrong with one of the members that count.
    """

    key: str
    suffixes: set[str] = field(default_factory=set)
    picture: tuple[str, Media, Range] | None = None
    text: bytes | None = None
    record: bytes | None = None
    error: RecordError | None = None

    @property
    def complete(self) -> bool:
        return self.picture is not None and (self.text is not None or self.record is not None)

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes, about."""
        return 1000 + 100 * len(self.suffixes) + len(self.text or b"") + len(self.record or b"")


@dataclass(frozen=True)
class WebDatasetReader:
    """Pairs from tars, whose picture bytes stay where they are.

    Key: the member key; the second and later captions of one record add their number. Of several pictures in a sample
    the first without a further dot in its suffix counts (`a.jpg`, not `a.mask.png`). A suffix that comes twice begins
    another sample with the same key. Dead: `NoPicture`, `NoCaption`, `BadEncoding`, `BadJson`, `BadCaption`,
    `TooLarge`, `UnsafeName` (absolute, with `..` or not UTF-8), `NotAFile` (a link, a device), and a tar that cannot be
    read on: `TruncatedTar`, `BadTar`, `CompressedTar`, after the samples before.
    """

    source: str
    licence: str | None = None
    name = "webdataset"
    version = 1

    def plan(self, store: Store) -> Iterator[dict[str, Any]]:
        empty = True
        for paths in in_tasks(self.tars(store)):
            empty = False
            yield {"tars": paths}
        if empty:
            raise RunError(f"no tar files found under {store.uri}; looked for .tar")

    def tars(self, store: Store) -> Iterator[tuple[str, int]]:
        for entry in store.list():
            if entry.path.lower().endswith(PACKED):
                raise RunError(f"{entry.path} is compressed and cannot be read in place: decompress it to .tar")
            if extension_of(entry.path) == "tar":
                yield entry.path, entry.size

    def read(self, store: Store, task: Mapping[str, Any]) -> Iterator[Candidate | Unreadable]:
        for path in task["tars"]:
            for found in samples(Tar(store, path), path):
                if isinstance(found, Unreadable):
                    yield found
                else:
                    yield from self.documents(path, found)

    def documents(self, path: str, sample: Sample) -> Iterator[Candidate | Unreadable]:
        """A document for each caption of a sample: mostly one."""
        locator: dict[str, str | int] = {"tar": path, "member": sample.key}
        try:
            if sample.error is not None:
                raise sample.error
            if sample.picture is None:
                suffixes = ", ".join(sorted(sample.suffixes))
                raise RecordError("NoPicture", f"{sample.key!r} has no picture among its members: {suffixes}")
            record = {} if sample.record is None else parse_json(sample.record, f"{sample.key}.json")
            captions = captions_in(sample, record)
        except RecordError as error:
            yield Unreadable(sample.key, locator, error.reason, error.message)
            return
        _, media, place = sample.picture
        if is_text(record.get("uid")):
            locator["uid"] = record["uid"]
        for number, caption in enumerate(captions, 1):
            key = numbered(sample.key, number)
            source = Source(self.source, caption.url, locator, caption.licence or self.licence)
            yield pair(key, source, media, place, caption)


def captions_in(sample: Sample, record: Mapping[str, Any]) -> list[Caption]:
    """The sample's captions. RecordError where there is none."""
    if sample.text is None and sample.record is None:
        raise RecordError("NoCaption", f"{sample.key!r} has neither .txt nor .json")
    text = None if sample.text is None else caption_text(sample.text, f"{sample.key}.txt")
    return captions_of(record, f"{sample.key}.json", text)


def samples(tar: Tar, path: str) -> Iterator[Sample | Unreadable]:
    """The samples of a tar in the order of their first members, and before them what in it is none.

    Members of a sample need not follow one another. All samples wait for the tar's end, for a member that may still
    come; but where what waits takes more than WAITING_BYTES, those that have waited longest wait no more.
    """
    waiting: dict[str, Sample] = {}
    weight = 0
    last: Sample | None = None
    try:
        for member in tar:
            problem, place = check(member, path), split(member.name)
            if problem is not None:
                yield problem
            if problem is not None or place is None or member.kind != "file":
                continue
            key, suffix = place
            if key in waiting and suffix in waiting[key].suffixes:
                weight -= waiting[key].weight
                yield waiting.pop(key)
            weight -= waiting[key].weight if key in waiting else 0
            last = waiting.setdefault(key, Sample(key))
            add(last, suffix, member, tar, path)
            weight += last.weight
            while weight > WAITING_BYTES and len(waiting) > 1:
                oldest = waiting.pop(next(iter(waiting)))
                weight -= oldest.weight
                yield oldest
    except RecordError as error:
        if last is not None and not last.complete:
            waiting.pop(last.key, None)  # the tar broke off within it
        yield from waiting.values()
        yield Unreadable(path, {"tar": path}, error.reason, f"{path!r} {error.message}")
        return
    yield from waiting.values()


def add(sample: Sample, suffix: str, member: Member, tar: Tar, path: str) -> None:
    """Takes what counts of a member into its sample."""
    sample.suffixes.add(suffix)
    extension = extension_of(f"x.{suffix}")
    is_picture = extension in PICTURE_EXTENSIONS
    if is_picture and sample.picture is not None and not ("." in sample.picture[0] and "." not in suffix):
        return  # it has one already, no worse
    if is_picture or suffix == "json" or suffix in TEXT_SUFFIXES:
        limit = MAX_BYTES if is_picture else MAX_CAPTION_BYTES
        if member.size > limit:
            message = f"{member.name!r} has {member.size:,} bytes; at most {limit:,} are read"
            sample.error = RecordError("TooLarge", message)
        elif is_picture:
            media = Media.of(tar.payload(member), extension)
            sample.picture = suffix, media, Range(path, member.offset, member.size)
        elif suffix == "json":
            sample.record = tar.payload(member)
        else:
            sample.text = sample.text or tar.payload(member)


def check(member: Member, path: str) -> Unreadable | None:
    """What is wrong with a member by its name or kind; folders and files are fine."""
    name = member.name.removeprefix("./")
    if name in ("", ".") or (member.kind in ("file", "folder") and safe_name(name)):
        return None
    reason, message = "NotAFile", f"{member.name!r} is a {member.kind}, which is never followed"
    if not safe_name(name):
        reason, message = "UnsafeName", f"{member.name!r} is absolute, leads out of its folder or is not UTF-8"
    return Unreadable(f"{path}\0{member.name}", {"tar": path, "member": member.name}, reason, message)


def split(name: str) -> tuple[str, str] | None:
    """(key, suffix) of a member's name, None for hidden files and for names without a dot."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem, dot, suffix = base.partition(".")
    return (posixpath.join(folder, stem), suffix.lower()) if stem and dot else None
