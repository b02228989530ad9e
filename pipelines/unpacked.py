"""Takes what belongs to web pages out of an unpacked tree: pages, styles, scripts, pictures and clips."""

import gzip
import os
import shutil
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.readers.media import PICTURE_EXTENSIONS

PAGES = frozenset({"html", "htm", "xhtml", "xht"})
CLIPS = frozenset({"mp4", "webm", "ogv", "avi", "mov", "mkv", "mpg", "mpeg"})
BESIDE_PAGES = frozenset({"css", "js"})
LICENCES = frozenset({"copyright", "license", "licence", "copying", "notice", "authors"})  # names without extension
MAX_UNPACKED_BYTES = 256 * 1024 * 1024  # of one .gz


@dataclass(frozen=True, slots=True)
class Taken:
    """How much was taken. files: all of them. left_out: files and links that were not."""

    pages: int = 0
    pictures: int = 0
    clips: int = 0
    files: int = 0
    bytes: int = 0
    left_out: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @classmethod
    def of(cls, path: Path) -> "Taken":
        """One file that was taken."""
        kind = extension(path.name)
        return cls(int(kind in PAGES), int(kind in PICTURE_EXTENSIONS), int(kind in CLIPS), 1, path.stat().st_size)

    def to_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Taken":
        return cls(*(int(value[name]) for name in cls.__slots__))


def take(source: Path, target: Path, root: Path) -> Taken:
    """Puts what belongs to pages from below `source` below `target`, under the same relative paths.

    Files are hard-linked where the file system allows it, else copied; gzipped ones (Debian packs clips and icons so)
    are unpacked. A link to a file below `root` becomes that file; other links, and links to folders, are left out:
    nothing in the target leads out of it.
    """
    real_root = root.resolve()
    taken = Taken()
    for folder, folders, files in os.walk(source, onerror=fail):
        left_out = sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        folders.sort()
        for name in sorted(files):
            path, to = Path(folder, name), Path(target, os.path.relpath(folder, source), name)
            put = put_file(path, to, real_root) if belongs(name) else None
            if put is None:
                left_out += 1
            else:
                taken += Taken.of(put)
        taken += Taken(left_out=left_out)
    return taken


def put_file(path: Path, to: Path, root: Path) -> Path | None:
    """One file at its new place; None where it cannot be taken."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a link that leads nowhere, or round in a circle
        return None
    if not real.is_relative_to(root) or not stat.S_ISREG(real.stat().st_mode):
        return None
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.suffix.lower() == ".gz":
        return unzip(real, to.with_suffix(""))
    try:
        os.link(real, to)
    except OSError:  # another file system, or one without links
        shutil.copyfile(real, to)
    return to


def unzip(path: Path, to: Path) -> Path | None:
    """A gzipped file, unpacked; None where it is broken, too large, or the file is there already."""
    if to.exists():
        return None
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_UNPACKED_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    if len(data) > MAX_UNPACKED_BYTES:
        return None
    to.write_bytes(data)
    return to


def belongs(name: str) -> bool:
    """Whether a file of this name is part of web pages, or says their licence."""
    name = name.lower().removesuffix(".gz")
    kind = extension(name)
    return kind in PAGES | PICTURE_EXTENSIONS | CLIPS | BESIDE_PAGES or os.path.splitext(name)[0] in LICENCES


def extension(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()


def fail(error: OSError) -> None:
    raise error
