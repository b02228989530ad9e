"""Small inputs for whole runs, and how their outputs are compared."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

SUBJECTS = (
    "a red barn",
    "two boats on a lake",
    "the old bridge at night",
    "a plate of ripe figs",
    "snow on pine trees",
)


def noise(seed: int, width: int, height: int) -> Image.Image:
    """A picture with texture, so that no rule on information drops it."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def pictures_folder(folder: Path, count: int = 60) -> Path:
    """Pictures with .txt captions: most are good; every kind of verdict of image-text-light occurs among them.

    Of each twelve: one small, one long and thin, one of a single colour, one with a short caption, one with the same
    picture as the first, one with the same picture and a longer caption, one cut off, one without a caption.
    """
    folder.mkdir(parents=True)
    for i in range(count):
        kind, path = i % 12, folder / f"{i:04d}.jpg"
        caption = f"{SUBJECTS[i % 5]}, number {i} of the series"
        size = {1: (90, 300), 2: (1200, 210)}.get(kind, (320, 240))
        picture = Image.new("RGB", size, (90, 60, 30)) if kind == 3 else noise(i, *size)
        if kind in (5, 6):
            picture = noise(i - kind, 320, 240)
        picture.save(path, quality=90)
        if kind == 4:
            caption = "barn"
        if kind == 6:
            caption += " with more words than the others have"
        if kind == 7:
            path.write_bytes(path.read_bytes()[:3000])
        if kind != 8:
            path.with_suffix(".txt").write_text(caption)
    return folder


def digests(dataset: Path) -> dict[str, str]:
    """SHA-256 of every file of the dataset that must be reproducible, by path."""
    files = [dataset / "MANIFEST.json"]
    files += [path for part in ("shards", "index", "ledger") for path in (dataset / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
