"""A small WebDataset input that makes several tasks, in which keys meet across tars."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.readers.base import BYTES_A_TASK, in_tasks
from tests.corpora import pictures_folder

TARS = 4


def pictures_tars(folder: Path, count: int = 48) -> Path:
    """pictures_folder, dealt to four tars; the first sample comes twice, and the key of the eleventh names two."""
    pictures = pictures_folder(folder / "loose", count)
    tars = folder / "tars"
    tars.mkdir()
    stems = sorted({path.stem for path in pictures.iterdir()})
    samples = [(stem, stem, number % TARS) for number, stem in enumerate(stems)]
    samples += [(stems[0], stems[0], TARS - 1), (stems[9], stems[10], 0)]
    for number in range(TARS):
        with tarfile.open(tars / f"{number:05d}.tar", "w") as tar:
            for stem, key in ((stem, key) for stem, key, place in samples if place == number):
                for path in sorted(pictures.glob(f"{stem}.*")):
                    member = tarfile.TarInfo(f"{key}{path.suffix}")
                    member.size = path.stat().st_size
                    tar.addfile(member, io.BytesIO(path.read_bytes()))
    return tars


@contextmanager
def small_tasks() -> Iterator[None]:
    """While it lasts, readers plan a task for each file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_tasks, "__defaults__", (1, BYTES_A_TASK))
        yield
