"""The folders of images that the measurements run over, made from the sample corpus of `winnow sample`.

1/0/000/00017.png  1/0/000/00017.txt    each distinct image of the corpus, with the caption that a page gives it
4/0/…  4/1/…  4/2/…  4/3/…              copies, each image with another trailing byte: no copy is a duplicate
"""

import hashlib
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.store import Store
from stages.readers.base import Candidate
from stages.readers.html import HtmlReader

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif"}
IMAGES_A_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """One distinct image of the corpus and its caption."""

    data: bytes
    suffix: str
    caption: str


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path
    images: int
    bytes: int


def distinct_images(corpus: Path, least: int = 0) -> Iterator[Listed]:
    """Each distinct image of at least `least` bytes, by path. Its caption is a page's, else the words of its name."""
    captions = captions_of(corpus)
    seen: set[bytes] = set()
    for path in sorted(corpus.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest in seen or len(data) < least:
            continue
        seen.add(digest)
        caption = captions.get(digest.hex()) or posixpath.splitext(path.name)[0].replace("_", " ").replace("-", " ")
        yield Listed(data, path.suffix.lower(), caption)


def captions_of(corpus: Path) -> dict[str, str]:
    """SHA-256 of an image -> the first caption that a page of the corpus gives it."""
    store, reader = Store(str(corpus)), HtmlReader("sample")
    captions: dict[str, str] = {}
    for task in reader.plan(store):
        for item in reader.read(store, task):
            if isinstance(item, Candidate):
                for _, media in item.document.media():
                    captions.setdefault(media.sha256, item.document.text())
    return captions


def write_copies(images: list[Listed], folder: Path, copies: int) -> Folder:
    """Every image `copies` times, each time with its caption beside it and with other bytes after the image's end."""
    size = 0
    for copy in range(copies):
        for number, image in enumerate(images):
            place = folder / str(copy) / f"{number // IMAGES_A_FOLDER:03d}"
            if number % IMAGES_A_FOLDER == 0:
                place.mkdir(parents=True)
            data = image.data + bytes([copy])
            (place / f"{number:05d}{image.suffix}").write_bytes(data)
            (place / f"{number:05d}.txt").write_text(image.caption, encoding="utf-8")
            size += len(data)
    return Folder(folder, len(images) * copies, size)


def write_jsonl(folder: Path, path: Path) -> None:
    """The folder as the list of records that Data-Juicer reads: text, and a list of image paths."""
    with path.open("w", encoding="utf-8") as stream:
        for image in sorted(folder.rglob("*")):
            if image.suffix in SUFFIXES:
                caption = image.with_suffix(".txt").read_text(encoding="utf-8")
                stream.write(json.dumps({"text": caption, "images": [str(image)]}) + "\n")
