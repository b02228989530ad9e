"""A small input with hostile captions, and whole runs over it, for the tests of report and explain."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines import recipe, run
from pipelines.engines.local import LocalEngine
from pipelines.progress import Progress
from stages.readers.folder import FolderReader
from stages.scorer import Batch, Score

HOSTILE = {
    "script": "a photo <script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> of a hill",
    "link": "javascript:document.title='owned' is no place to go to from here",
    "attribute": "\" onmouseover=\"document.title='owned'\" data-x=\" and a caption with many quotes '''",
    "template": "{{ 7 * 7 }} {% raw %} </style><style>body{display:none}</style> a caption that closes tags",
    "reversed": "the invoice \u202egpj.exe and \u2067other marks\u2069 of direction, eight words",
    "controls": "a caption with \u0000 a zero, \u001b[31m an escape and \u0085 a next line in it",
    "long": "word " * 250_000,
}


def picture(seed: int, width: int, height: int) -> Image.Image:
    """Noise in large grains: no two alike, and no rule on information drops it."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def corpus(folder: Path) -> Path:
    """80 pictures or so around the bounds of image-text-light, one folder with a captions file."""
    folder.mkdir(parents=True)
    lines = []

    def add(name: str, image: Image.Image, caption: str) -> None:
        exif = Image.Exif()
        exif[0x010E] = "SECRET-IN-THE-FILE"
        image.save(folder / name, quality=88, exif=exif)
        lines.append({"file_name": name, "caption": caption})

    for i in range(24):
        add(f"small-{i:02d}.jpg", picture(i, 300, 188 + i), f"picture {i} of a series around the shortest side")
    for i in range(10):
        add(f"thin-{i}.jpg", picture(100 + i, 560 + 20 * i, 210), f"strip {i} of a series of thin ones")
    for i in range(6):
        add(f"words-{i}.jpg", picture(200 + i, 320, 240), " ".join(["barn"] * (i + 1)))
    for i in range(3):
        add(f"flat-{i}.png", Image.new("RGB", (300, 300), (90, 60 * i, 30)), f"a flat colour, number {i}")
    for i in range(5):
        add(f"same-{i}.png", picture(300, 320, 240), f"the same picture with caption number {'and again ' * i}{i}")
    for name, caption in HOSTILE.items():
        add(f"hostile-{name}.png", picture(sum(map(ord, name)), 320, 240), caption)
    lines.append({"file_name": "small-20.jpg", "caption": "another caption of a picture that has one already"})
    (folder / "cut.jpg").write_bytes((folder / "small-23.jpg").read_bytes()[:900])
    lines.append({"file_name": "cut.jpg", "caption": "a picture that was cut off on its way"})
    (folder / "evil.svg.jpg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    lines.append({"file_name": "evil.svg.jpg", "caption": "a drawing that says it is a photograph"})
    lines.append({"file_name": "gone <b>.jpg", "caption": "a picture that is not there"})
    with (folder / "captions.jsonl").open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder


@dataclass(frozen=True)
class Disturbing:
    """Stands for a network that says how likely a picture is to disturb: here, how wide it is."""

    name = "disturbing"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        return (Score("image.nsfw", pa.float32(), "media", "probability", "how likely the picture disturbs"),)

    def setup(self) -> None:
        pass

    def score(self, batch: Batch) -> dict[str, list[float]]:
        return {"image.nsfw": [0.9 if picture.width > 400 else 0.1 for picture in batch.all_pictures()]}


JUDGED = """
base: image-text-light
scorers: ["tests.pipelines.audit.material:Disturbing"]
rules:
  image.nsfw: {max: 0.8}
"""


def curate(source: Path, output: Path, name: str = "image-text-light") -> str:
    """Runs a recipe over a folder and returns the output's address."""
    made = recipe.load(name)
    reader = FolderReader(source="farm")
    plan = run.plan_run(made, reader, str(source), str(output), None, False)
    run.execute(plan, LocalEngine(1), Progress(quiet=True), "winnow run")
    return str(output)
