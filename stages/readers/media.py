"""Files of an input: which names are pictures, pages or tables, and a bounded cache of pictures that are used often."""

import posixpath
from collections import OrderedDict

from manifests.document import Media
from manifests.errors import RecordError
from manifests.store import Store

# By name only: the decoder looks at the content. Formats that it refuses are here too, so that they end up dead with
# its reason instead of being passed over in silence.
PICTURE_NAMES = (
    "jpg jpeg jpe jfif png apng webp gif bmp dib tif tiff avif heic heif jp2 j2k jpx jxl ico pbm pgm ppm pnm tga svg"
)
PICTURE_EXTENSIONS = frozenset(PICTURE_NAMES.split())
PAGE_EXTENSIONS = ("html", "htm", "xhtml", "xht")
TABLE_EXTENSIONS = ("parquet", "pq")
STARTS = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"\0\0\0\x0cjP": "jp2",
}
MAX_BYTES = 256 * 1024 * 1024  # a single picture above this is not read
MAX_CAPTION_BYTES = 16 * 1024 * 1024  # nor a caption or its record
CACHED_BYTES = 32 * 1024 * 1024  # of files that one task keeps at hand


def extension_of(path: str) -> str:
    """Lower case, without the dot; empty where there is none (`.hidden` has none)."""
    return posixpath.splitext(posixpath.basename(path))[1][1:].lower()


def is_picture(path: str) -> bool:
    return extension_of(path) in PICTURE_EXTENSIONS


class PictureFiles:
    """Reads picture files of a store; the last ones used stay at hand, up to `limit` bytes.

    A page's logo is used by thousands of pages: it is read and hashed once a task, and so is what is missing.
    """

    def __init__(self, store: Store, limit: int = CACHED_BYTES):
        self._store = store
        self._limit = limit
        self._kept: OrderedDict[str, tuple[bytes, Media] | RecordError] = OrderedDict()
        self._bytes = 0

    def get(self, path: str) -> tuple[bytes, Media]:
        """The file's bytes and their name. RecordError `MissingFile` or `TooLarge`."""
        if path in self._kept:
            self._kept.move_to_end(path)
        else:
            self._keep(path, self._load(path))
        found = self._kept[path]
        if isinstance(found, RecordError):
            raise RecordError(found.reason, found.message)
        return found

    def _load(self, path: str) -> tuple[bytes, Media] | RecordError:
        try:
            data = read_file(self._store, path)
        except RecordError as error:
            return error
        return data, Media.of(data, extension_of(path))

    def _keep(self, path: str, found: tuple[bytes, Media] | RecordError) -> None:
        self._kept[path] = found
        self._bytes += weight(found)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= weight(self._kept.popitem(last=False)[1])


def weight(found: tuple[bytes, Media] | RecordError) -> int:
    """Bytes that one answer takes at hand, with its overhead."""
    return 500 + (0 if isinstance(found, RecordError) else len(found[0]))


def extension_in(data: bytes) -> str:
    """The extension that goes with the first bytes of a picture that has no name; `bin` where they are not known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((extension for start, extension in STARTS.items() if data.startswith(start)), "bin")


def read_file(store: Store, path: str, limit: int = MAX_BYTES) -> bytes:
    """The whole file. RecordError `MissingFile`, or `TooLarge` where it has more bytes than the limit."""
    try:
        size = store.size(path)
        if size is not None and size > limit:
            raise RecordError("TooLarge", f"{path!r} has {size:,} bytes; at most {limit:,} are read")
        if size is not None:
            return store.read(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        pass
    except ValueError as error:  # a name that this kind of store cannot have
        raise RecordError("MissingFile", f"{path!r} cannot be a name in the input: {error}") from None
    raise RecordError("MissingFile", f"{path!r} is not in the input")


def join_below_root(folder: str, path: str) -> str | None:
    """`path` as seen from `folder`, below the input root: empty for the root itself, None for outside of it."""
    parts: list[str] = []
    for part in f"{folder}/{path}".split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
