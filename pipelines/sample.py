"""Makes a sample corpus: real web pages with their pictures, without the web.

It is taken from two documentation packages of Debian, from an unpacked copy of them, or rendered.

    DIR/
      gimp-help-en/, opencv-doc/   pages, pictures and clips; or pages/, where they were rendered or copied
      SOURCES.md                   what they are, for people: packages, versions, licences
      SOURCES.json                 the same for programs; written last, so a folder without it is half made
      .partial/                    work in progress, and what a rerun goes on from
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.errors import RunError
from pipelines.debian import Say, fetch_packages, fields_of, megabytes, unpack
from pipelines.unpacked import Taken, take
from synth.corpus import render_pages

MARKER = "SOURCES.json"
SOURCES = "SOURCES.md"
PARTIAL = ".partial"
RENDERED = "pages"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Package:
    """One documentation package. places: where its pages may lie, below the root.

    licence_in: the package that holds its copyright file.
    """

    name: str
    what: str
    home: str
    licence: str
    places: tuple[str, ...]
    licence_in: str


PACKAGES = (
    Package(
        "gimp-help-en",
        "the GIMP manual in English",
        "https://docs.gimp.org",
        "GFDL-1.2-no-invariants-or-later",
        ("usr/share/gimp/*/help/en",),
        "gimp-help-common",
    ),
    Package(
        "opencv-doc",
        "the OpenCV documentation with its examples",
        "https://docs.opencv.org",
        "Apache-2.0 AND BSD-3-Clause; some files differ, see its copyright file",
        ("usr/share/doc/opencv-doc",),
        "opencv-doc",
    ),
)
TOP = (*(package.name for package in PACKAGES), RENDERED)
ORIGINS = {"packages": "taken from Debian's packages", "copy": "taken from a copy", "rendered": "rendered, not real"}


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What is in the folder. origin: `packages`, `copy` or `rendered`. packages: name to version, where known.

    taken: files by kind, and their bytes. synthetic, seed: of a rendered corpus. reused: it was there already.
    """

    directory: str
    origin: str
    packages: Mapping[str, str]
    taken: Taken
    synthetic: int | None = None
    seed: int | None = None
    seconds: float = 0.0
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"directory": self.directory, **self.contents(), "seconds": self.seconds, "reused": self.reused}

    def contents(self) -> dict[str, Any]:
        """What the corpus is, without where it lies and when it was made."""
        return {
            "origin": self.origin,
            "packages": dict(self.packages),
            **self.taken.to_json(),
            "synthetic": self.synthetic,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        taken = self.taken
        text = f"{self.directory}: {taken.pages:,} pages, {taken.pictures:,} pictures and {taken.clips} clips"
        text += f", {megabytes(taken.bytes)}, {ORIGINS[self.origin]}"
        if self.packages:
            text += f" ({', '.join(f'{name} {version}' for name, version in self.packages.items())})"
        return text + (", there already" if self.reused else f", in {self.seconds:.1f} s")


def fetch_sample(
    directory: Path,
    from_directory: Path | None = None,
    synthetic: int | None = None,
    seed: int = 0,
    progress: Say = lambda _: None,
) -> SampleSummary:
    """Makes the corpus in `directory`, or finds it there; a half-made one is completed.

    from_directory: an unpacked copy of the packages, or any folder of pages with their pictures. synthetic: how many
    pictures to render instead. RunError with the remedy where that cannot be done.
    """
    started = time.monotonic()
    if from_directory is not None and synthetic is not None:
        raise RunError("--from and --synthetic are two ways to make a corpus: give one of them")
    origin = "rendered" if synthetic is not None else "copy" if from_directory is not None else None
    try:
        found = find(directory, origin, synthetic, seed)
        if found is not None:
            return found
        with at_work(directory) as partial:
            tree = fresh(partial / "tree")
            if synthetic is not None:
                progress(f"Rendering {synthetic:,} pictures: this corpus is not real")
                render_pages(tree / RENDERED, synthetic, seed)
                made = SampleSummary(str(directory), "rendered", {}, count(tree), synthetic, seed)
            elif from_directory is not None:
                progress(f"Taking pages from {from_directory}")
                made = copy_tree(from_directory, directory, tree)
            else:
                made = SampleSummary(str(directory), "packages", *take_packages(partial, tree, progress))
            publish(directory, tree, made)
        shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        where = error.filename or directory
        raise RunError(f"cannot make a sample corpus: {where}: {error.strerror or error}") from None
    return replace(made, seconds=round(time.monotonic() - started, 1))


def find(directory: Path, origin: str | None, synthetic: int | None, seed: int) -> SampleSummary | None:
    """The corpus that is there already, or None where there is none or only part of one.

    origin: the one that is asked for, or None for any. RunError where the folder holds another corpus, or other things.
    """
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise RunError(f"{directory} is not a folder: name another one")
    names = sorted(entry.name for entry in directory.iterdir())
    if MARKER not in names:
        if names and PARTIAL not in names:
            raise RunError(f"{directory} holds other things ({names[0]} …): name a new or empty folder")
        return None
    there = read_marker(directory)
    if origin is not None and (origin, synthetic) != (there.origin, there.synthetic):
        raise RunError(f"{directory} holds another sample corpus ({ORIGINS[there.origin]}): name another folder")
    if origin == "rendered" and there.seed != seed:
        raise RunError(f"{directory} holds a corpus of seed {there.seed}, not {seed}: name another folder")
    if count(directory).files < there.taken.files:
        return None
    shutil.rmtree(directory / PARTIAL, ignore_errors=True)  # of one that was stopped after its last step but this
    return there


def read_marker(directory: Path) -> SampleSummary:
    """What the corpus in a folder says of itself. RunError where that cannot be understood."""
    try:
        value = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        known = {name: value[name] for name in ("origin", "packages", "synthetic", "seed")}
        made = SampleSummary(str(directory), taken=Taken.from_json(value), **known, reused=True)
        if value["schema"] == SCHEMA and made.origin in ORIGINS and isinstance(made.packages, dict):
            return made
    except (ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{directory / MARKER} is not of this version of Winnow: delete the folder, or name another one")


@contextmanager
def at_work(directory: Path) -> Iterator[Path]:
    """The folder for work in progress, held by one process at a time."""
    partial = directory / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another `winnow sample` is at work in {directory}: wait for it to end") from None
        yield partial


def take_packages(partial: Path, tree: Path, progress: Say) -> tuple[dict[str, str], Taken]:
    """The packages' versions, and their pages below `tree`, a folder each."""
    progress("Fetching documentation packages with apt-get, without installing them")
    names = [package.name for package in PACKAGES]
    licences = sorted({package.licence_in for package in PACKAGES} - set(names))
    files = fetch_packages(names, licences, partial, progress)
    unpacked = fresh(partial / "unpacked")
    for name, file in files.items():
        progress(f"  unpacking {name}")
        unpack(file, unpacked)
    taken = Taken()
    for package in PACKAGES:
        place = place_of(package, [unpacked])
        if place is None:
            raise RunError(f"package {package.name} holds no {' or '.join(package.places)}: try --synthetic N")
        taken += take(place, tree / package.name, unpacked) + take_licence(package, [unpacked], tree)
    return {name: fields_of(files[name])["Version"] for name in names}, taken


def place_of(package: Package, roots: Sequence[Path]) -> Path | None:
    """The package's pages below one of the roots."""
    found = (place for root in roots for pattern in package.places for place in sorted(root.glob(pattern)))
    return next((place for place in found if place.is_dir()), None)


def take_licence(package: Package, roots: Sequence[Path], tree: Path) -> Taken:
    """The package's copyright file, where its pages do not hold it already."""
    target = tree / package.name / "copyright"
    for root in roots:
        file = root / "usr/share/doc" / package.licence_in / "copyright"
        if file.is_file() and not target.exists():
            shutil.copyfile(file, target)
            return Taken.of(target)
    return Taken()


def copy_tree(source: Path, directory: Path, tree: Path) -> SampleSummary:
    """Pages out of an unpacked copy: of the packages, of an earlier sample, or any folder of pages with pictures.

    RunError where it holds no page or no picture, or where source and target lie in one another.
    """
    if not source.is_dir():
        raise RunError(f"--from {source} is not a folder")
    roots = [source, *sorted(entry for entry in source.iterdir() if entry.is_dir())]
    places = {package: place for package in PACKAGES if (place := place_of(package, roots)) is not None}
    versions: Mapping[str, str] = {}
    folders = {package.name: place for package, place in places.items()}
    if not folders and (source / MARKER).is_file():
        versions = read_marker(source).packages
        folders = {name: source / name for name in TOP if (source / name).is_dir()}
    taken = Taken()
    for name, folder in (folders or {RENDERED: source}).items():
        if nested(folder, directory):
            raise RunError(f"--from {source} and {directory} lie in one another: name another folder for the corpus")
        taken += take(folder, tree / name, source)
    for package in places:
        taken += take_licence(package, roots, tree)
    missing = [what for what, number in (("pages", taken.pages), ("pictures", taken.pictures)) if not number]
    if missing:
        raise RunError(
            f"--from {source} holds no {' and no '.join(missing)}: give a folder that "
            f"`dpkg-deb -x` unpacked {' and '.join(package.name for package in PACKAGES)} into"
        )
    return SampleSummary(str(directory), "copy", versions, taken)


def nested(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def count(root: Path) -> Taken:
    """What lies in the corpus's folders below `root`."""
    taken = Taken()
    for name in TOP:
        for folder, _, files in os.walk(root / name):
            for file in files:
                taken += Taken.of(Path(folder, file))
    return taken


def publish(directory: Path, tree: Path, made: SampleSummary) -> None:
    """Moves what was made into the folder, in place of what an earlier try left, and says last what it is."""
    for name in (MARKER, SOURCES):
        (directory / name).unlink(missing_ok=True)
    for name in TOP:
        shutil.rmtree(directory / name, ignore_errors=True)
    names = sorted(entry.name for entry in tree.iterdir())
    for name in names:
        (tree / name).rename(directory / name)
    (directory / SOURCES).write_text(sources_text(made, names), encoding="utf-8")
    marker = directory / PARTIAL / MARKER
    marker.write_text(json.dumps({"schema": SCHEMA, **made.contents()}, indent=1) + "\n", encoding="utf-8")
    marker.replace(directory / MARKER)


def sources_text(made: SampleSummary, names: Sequence[str]) -> str:
    """SOURCES.md: what the corpus is and under which licences. names: its folders."""
    taken = made.taken
    lines = [
        "# Where these pages come from\n",
        (
            f"{taken.pages:,} pages, {taken.pictures:,} pictures and {taken.clips} clips, {ORIGINS[made.origin]}; "
            "put here by `winnow sample`.\n"
        ),
    ]
    if made.origin == "rendered":
        lines.append(
            f"This corpus is rendered, not real: {made.synthetic:,} pictures of seed {made.seed} with captions and "
            "with planted defects.\nUse it to try the commands, not to judge a threshold. Nobody has rights in it.\n"
        )
    known = [package for package in PACKAGES if package.name in names]
    if known:
        lines.append("| folder | version | what | licence | home |\n|---|---|---|---|---|")
        for package in known:
            version = made.packages.get(package.name, "not known")
            lines.append(f"| `{package.name}/` | {version} | {package.what} | {package.licence} | {package.home} |")
        lines.append(
            "\nThe `copyright` file in a folder says its licence in full. Of each package, pages, styles, scripts, "
            f"pictures and\nclips were taken; {taken.left_out:,} other files (models, sources) were left out."
        )
    elif made.origin == "copy":
        lines.append("Their licence is not known to Winnow: ask where the copy came from.")
    return "\n".join(lines) + "\n"
