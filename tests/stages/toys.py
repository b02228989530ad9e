"""Pictures and documents for tests of scorers: made from a seed, without a file."""

from collections.abc import Sequence

import numpy as np

from manifests.document import Document, Media, Segment, Source, uid_of
from stages.image.picture import Picture
from stages.scorer import Batch


def picture(thumbnail: np.ndarray, width: int | None = None, height: int | None = None, data: bytes = b"") -> Picture:
    """thumbnail: uint8 (rows, columns, 3). The displayed size is the thumbnail's unless it is given."""
    content = data or thumbnail.tobytes()
    return Picture(
        data=content,
        extension="png",
        sha256=Media.of(content, "png").sha256,
        format="PNG",
        mode="RGB",
        width=width or thumbnail.shape[1],
        height=height or thumbnail.shape[0],
        frames=1,
        orientation=1,
        thumbnail=thumbnail,
        policy="",
    )


def one_color(width: int, height: int, color: tuple[int, int, int] = (9, 90, 200)) -> Picture:
    return picture(np.full((height, width, 3), color, np.uint8))


def random_picture(seed: int) -> Picture:
    """Of any size up to 64 x 64; flat, noisy or in between."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 65, 2)
    spread = int(random.choice([1, 3, 20, 256]))
    pixels = (random.integers(0, 256, 3) + random.integers(0, spread, (rows, columns, 3))) % 256
    scale = int(random.choice([1, 5, 100]))
    return picture(pixels.astype(np.uint8), width=int(columns) * scale, height=int(rows) * scale)


def document(key: str, caption: str | None, pictures: Sequence[Picture] = ()) -> Document:
    segments = [Segment("image", media=Media(item.sha256, len(item.data), item.extension)) for item in pictures]
    if caption is not None:
        segments.append(Segment("text", text=caption))
    return Document(uid_of("tests", key), Source("tests"), tuple(segments))


def batch_of(captions: Sequence[str | None], pictures: Sequence[Sequence[Picture]] | None = None) -> Batch:
    """Documents of these captions and pictures; without pictures given, one of one colour each."""
    shown = [[one_color(4, 3)] for _ in captions] if pictures is None else pictures
    made = [document(str(n), caption, seen) for n, (caption, seen) in enumerate(zip(captions, shown, strict=True))]
    return Batch(made, shown)
