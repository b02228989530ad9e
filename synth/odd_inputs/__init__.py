"""Makes inputs that are odd or hostile as containers, and says what should become of each item in them.

Tars that lead out of their folder, hold links and devices, end too early or are none; folders with links out, pipes and
names of every kind; pages with scripts, traversals and addresses that lead nowhere; tables with holes. The pictures
themselves are sound, so that whatever is read is kept by `image-text-light`; odd pictures are in `odd_images`.
"""

from collections.abc import Callable
from pathlib import Path

from synth.odd_inputs.folders import captions_files, folders
from synth.odd_inputs.pages import pages
from synth.odd_inputs.parts import Odd
from synth.odd_inputs.tables import tables
from synth.odd_inputs.tars import tars

__all__ = ["ODD_INPUTS", "Odd"]

# name -> (format, what makes it in an empty folder)
ODD_INPUTS: dict[str, tuple[str, Callable[[Path], list[Odd]]]] = {
    "tars": ("webdataset", tars),
    "folders": ("folder", folders),
    "captions files": ("folder", captions_files),
    "pages": ("html", pages),
    "tables": ("parquet", tables),
}
