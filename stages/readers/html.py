"""Reads web pages that lie beside their pictures: one document for each use of a local picture on a page.

A picture is local where its address leads to a file of the input: relative to the page or to its <base>, or from the
input's root where it starts with a slash; or where it lies in the page itself (`data:`). Others are on the web: Winnow
does not download, and they are not documents.
"""

import atexit
import base64
import binascii
import functools
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from manifests.document import Media, Source
from manifests.errors import RecordError, RunError
from manifests.store import Store
from stages.readers.base import Candidate, Unreadable, in_tasks
from stages.readers.captions import Caption, CaptionFacts, pair
from stages.readers.html_captions import choose
from stages.readers.html_page import Page, PagePicture, decode, may_hold_pictures, page_from_json
from stages.readers.media import PAGE_EXTENSIONS, PictureFiles, extension_of, join_below_root, read_file
from stages.sandbox.parent import Limits, Sandbox

PAGES_A_TASK = 300
BYTES_A_TASK = 32 * 1024 * 1024  # of pages, not of their pictures
MAX_PAGE_BYTES = 64 * 1024 * 1024
PAGES_A_BATCH, BYTES_A_BATCH = 16, 8 * 1024 * 1024  # that are parsed at once
MAX_PARSED_BYTES = 8 * 1024 * 1024  # of one page's pictures, as JSON: some 8,000 pictures

OUTSIDE = "../"
SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*:", re.IGNORECASE)
DATA_ADDRESS = re.compile(r"data:image/([\w.+\-]+)((?:;[^,;]*)*),", re.IGNORECASE)
EXTENSIONS = {"jpeg": "jpg", "svg+xml": "svg", "x-icon": "ico", "vnd.microsoft.icon": "ico", "tiff": "tif"}


@dataclass(frozen=True)
class HtmlReader:
    """Pairs from pages and their local pictures; see `stages.readers.html_captions` for which text is the caption.

    Key: page path, picture path and the how many-th use of it on the page. Dead: `NoCaption`, `MissingFile`,
    `OutsideInput` (an address that leads out of the input), `BadAddress` (a broken `data:`), `TooLarge`; and the
    sandbox's reasons for a page that cannot be parsed within `page_seconds` of CPU and its memory.
    """

    source: str
    licence: str | None = None
    page_seconds: float = 20.0
    name = "html"
    version = 1

    def plan(self, store: Store) -> Iterator[dict[str, Any]]:
        pages = ((entry.path, entry.size) for entry in store.list() if extension_of(entry.path) in PAGE_EXTENSIONS)
        empty = True
        for paths in in_tasks(pages, PAGES_A_TASK, BYTES_A_TASK):
            empty = False
            yield {"pages": paths}
        if empty:
            raise RunError(f"no web pages found under {store.uri}; looked for .{', .'.join(PAGE_EXTENSIONS)}")

    def read(self, store: Store, task: Mapping[str, Any]) -> Iterator[Candidate | Unreadable]:
        files = PictureFiles(store)
        contents = ((path, read_page(store, path)) for path in task["pages"])
        weighed = ((item, len(item[1]) if isinstance(item[1], bytes) else 0) for item in contents)
        for batch in in_tasks(weighed, PAGES_A_BATCH, BYTES_A_BATCH):
            for path, page in self.parse(batch):
                if isinstance(page, RecordError):
                    yield Unreadable(path, {"page": path}, page.reason, page.message)
                elif page is not None:
                    yield from self.pairs(files, path, page)

    def parse(
        self, batch: Sequence[tuple[str, bytes | RecordError]]
    ) -> Iterator[tuple[str, Page | RecordError | None]]:
        """Each page, None where it holds no picture, or why it cannot be had."""
        pages = [decode(data).encode() for _, data in batch if isinstance(data, bytes) and may_hold_pictures(data)]
        parsed = iter(page_parser(self.page_seconds).map(pages))
        for path, data in batch:
            found: Page | RecordError | None = None
            if isinstance(data, RecordError):
                found = data
            elif may_hold_pictures(data):
                reply = next(parsed)
                found = page_from_json(reply) if isinstance(reply, bytes) else reply
            yield path, found

    def pairs(self, files: PictureFiles, path: str, page: Page) -> Iterator[Candidate | Unreadable]:
        """One page's pictures in their order."""
        uses: Counter[str] = Counter()
        for picture in page.pictures:
            address = locate(path, page.base, picture.source)
            if address is None:
                continue
            uses[address] += 1
            shown = name_of_embedded(address) if address.startswith("data:") else address
            key = f"{path}\0{shown}\0{uses[address]}"
            locator: dict[str, str | int] = {"page": path, "image": shown, "use": uses[address]}
            try:
                caption = caption_of(picture, shown)
                data, media = bytes_of(files, address)
            except RecordError as error:
                yield Unreadable(key, locator, error.reason, error.message)
                continue
            source = Source(self.source, page.uri, locator, page.licence or self.licence)
            yield pair(key, source, media, data, caption, {"page": picture.facts.to_json()})


@functools.lru_cache(maxsize=4)
def page_parser(cpu_seconds: float) -> Sandbox:
    """One child a process, however many tasks it runs: starting it takes longer than most tasks' pages do."""
    limits = Limits(
        cpu_seconds=cpu_seconds, reply_bytes=MAX_PARSED_BYTES, chunk_records=PAGES_A_BATCH, chunk_bytes=BYTES_A_BATCH
    )
    sandbox = Sandbox("stages.readers.html_page:parse_to_json", limits=limits)
    atexit.register(sandbox.close)
    return sandbox


def read_page(store: Store, path: str) -> bytes | RecordError:
    try:
        return read_file(store, path, MAX_PAGE_BYTES)
    except RecordError as error:
        return error


def caption_of(picture: PagePicture, shown: str) -> Caption:
    """The chosen caption with the texts that it was chosen from. RecordError `NoCaption`."""
    chosen = choose(picture.captions, picture.source)
    if chosen is None:
        raise RecordError("NoCaption", f"no alt text, title or caption beside {shown!r}")
    name, text = chosen
    return Caption(text, CaptionFacts(name, {k: v for k, v in picture.captions.items() if k != name}))


def bytes_of(files: PictureFiles, address: str) -> tuple[bytes, Media]:
    """What lies at an address that `locate` gave. RecordError where there is nothing."""
    if address.startswith(OUTSIDE):
        raise RecordError("OutsideInput", f"{address!r} leads out of the input")
    return embedded(address) if address.startswith("data:") else files.get(address)


def locate(page: str, base: str, source: str) -> str | None:
    """Where a picture lies: a path below the input root, a `data:` address, `../…` for outside, None for the web.

    page: the page's own path. base: its <base>, or empty. source: as in `src`.
    """
    source = tidy(source)
    if SCHEME.match(source) or source.startswith("//"):
        return source if DATA_ADDRESS.match(source) else None
    path = file_path(source)
    if not path:
        return None
    base = tidy(base)
    if SCHEME.match(base) or base.startswith("//"):
        return None
    folder = posixpath.dirname(page)
    if base:
        start = "" if base.startswith("/") else folder
        folder = posixpath.join(start, posixpath.dirname(file_path(base)).lstrip("/"))
    if path.startswith("/"):
        # A browser stops at a site's root.
        folder, path = "", posixpath.normpath(path)
    found = join_below_root(folder, path)
    return OUTSIDE + posixpath.basename(path) if found is None else found or None


def tidy(address: str) -> str:
    """An address as a browser takes it: no line breaks inside, slashes forward. `data:` stays as it is."""
    address = re.sub(r"[\t\r\n]", "", address.strip())
    return address if address[:5].lower() == "data:" else address.replace("\\", "/")


def file_path(address: str) -> str:
    """The path of a relative address: without query and fragment, per cent escapes resolved."""
    path = re.split(r"[?#]", address, maxsplit=1)[0]
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape")


def name_of_embedded(address: str) -> str:
    """A short name for a picture inside a page: it goes into locator and uid in place of a path."""
    return "data:" + Media.of(address.encode("utf-8", "surrogatepass"), "").sha256[:32]


def embedded(address: str) -> tuple[bytes, Media]:
    """The bytes of a `data:` address. RecordError `BadAddress`."""
    match = DATA_ADDRESS.match(address)
    assert match is not None, "locate() lets through only those that match"
    kind, parameters = match[1].lower(), match[2].lower()
    data = unquote_to_bytes(address[match.end() :])
    if parameters.endswith(";base64"):
        try:
            data = base64.b64decode(re.sub(rb"\s", b"", data) + b"==")
        except binascii.Error as error:
            raise RecordError("BadAddress", f"a data: address is not base64: {error}") from None
    return data, Media.of(data, EXTENSIONS.get(kind, kind))
