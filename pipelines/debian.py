"""Takes Debian packages without installing them and without root: downloaded by apt-get, unpacked by dpkg-deb.

apt-get checks signatures and digests with the system's keys, and takes up a half-finished download where it ended.
Where the system's own package lists are empty, old, or do not know a package, lists of our own are fetched beside them:

    folder/
      packages/   the .deb files
      lists/      our own package lists, only where they were needed
      state/, cache/
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import RunError

Say = Callable[[str], None]

TOOLS = ("apt-get", "dpkg-deb")
REMEDY = (
    "give an unpacked copy of the packages with --from DIR (made on another machine with `apt-get download` and "
    "`dpkg-deb -x FILE DIR`), or render a corpus with --synthetic N"
)
SAY_EVERY_SECONDS = 5.0
URI_LINE = re.compile(r"^'(?P<uri>[^']*)' (?P<file>\S+) (?P<size>\d+)")

# As root apt-get would switch to the user _apt, warn where that one cannot write here, and stay root all the same.
OPTIONS = ("-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=60")


@dataclass(frozen=True, slots=True)
class Download:
    """One package file, as apt-get announces it. size: bytes."""

    file: str
    size: int


class AptError(Exception):
    """What apt-get said when it failed, in one line."""


def fetch_packages(required: Sequence[str], wanted: Sequence[str], folder: Path, say: Say) -> dict[str, Path]:
    """Package files by package name, in `folder`. A `wanted` one that nobody offers is left out.

    RunError with the remedy where the machine has no such tools, no network, or nobody offers a required package.
    """
    folder = folder.resolve()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise RunError(f"there is no {' and no '.join(missing)} on this machine: {REMEDY}")
    try:
        return with_lists(required, wanted, folder, (), say)
    except AptError as error:
        say(f"  the system's package lists do not serve ({error}); fetching lists of our own ...")
    said = ""
    try:
        options, said = own_lists(folder)
        return with_lists(required, wanted, folder, options, say)
    except AptError as error:
        words = f"{error}; {said}" if said else str(error)
        raise RunError(f"apt-get cannot fetch {' and '.join(required)} ({words}): {REMEDY}") from None


def with_lists(
    required: Sequence[str], wanted: Sequence[str], folder: Path, options: Sequence[str], say: Say
) -> dict[str, Path]:
    """Packages through one set of lists. AptError where they do not know a required one or its file is gone."""
    packages = [*required, *offered(wanted, folder, options)] if announce(required, folder, options) else []
    downloads = announce(packages, folder, options)
    if len(downloads) != len(packages):
        raise AptError(f"it offers {len(downloads)} files for {len(packages)} packages")
    target = folder / "packages"
    target.mkdir(parents=True, exist_ok=True)
    download(packages, downloads, target, options, say)
    return {fields_of(target / item.file)["Package"]: target / item.file for item in downloads}


def offered(packages: Sequence[str], folder: Path, options: Sequence[str]) -> list[str]:
    """Those of the packages that these lists know."""
    known = []
    for package in packages:
        try:
            known += [package] if announce([package], folder, options) else []
        except AptError:
            continue
    return known


def announce(packages: Sequence[str], folder: Path, options: Sequence[str]) -> list[Download]:
    """What apt-get would download for the packages. AptError where it knows one of them not."""
    with tempfile.TemporaryDirectory(dir=folder) as empty:  # it says nothing of a file that is there already
        output, _ = apt_get([*options, "--print-uris", "download", *packages], Path(empty))
    found = [match for line in output.splitlines() if (match := URI_LINE.match(line))]
    return [Download(os.path.basename(match["file"]), int(match["size"])) for match in found]


def download(
    packages: Sequence[str], downloads: Sequence[Download], target: Path, options: Sequence[str], say: Say
) -> None:
    total = sum(item.size for item in downloads)
    last = time.monotonic()
    say(f"  downloading {', '.join(packages)} ({megabytes(total)})")

    def watch() -> None:
        nonlocal last
        if time.monotonic() - last >= SAY_EVERY_SECONDS:
            last = time.monotonic()
            there = sum(entry.stat().st_size for entry in target.rglob("*.deb*") if entry.is_file())
            say(f"  {megabytes(min(there, total))} of {megabytes(total)}")

    apt_get([*options, "download", *packages], target, watch)
    gone = [item.file for item in downloads if not (target / item.file).is_file()]
    if gone:
        raise AptError(f"it left no {' and no '.join(gone)}")


def own_lists(folder: Path) -> tuple[tuple[str, ...], str]:
    """Fetches package lists of our own, from the system's list of sources.

    The options to use them, and what apt-get said: it counts as done where some or all of the sources did not answer.
    AptError.
    """
    for name in ("lists/partial", "state", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    status = folder / "state" / "status"  # nothing is installed, as far as these lists are concerned
    status.touch()
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": status,
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
    }
    options = tuple(part for name, value in settings.items() for part in ("-o", f"{name}={value}"))
    _, said = apt_get([*options, "update"], folder)
    return options, complaint(said).split("; ")[0]


def apt_get(arguments: Sequence[str], folder: Path, watch: Callable[[], None] | None = None) -> tuple[str, str]:
    """Runs apt-get in a folder; its stdout and stderr. AptError where it fails. watch: called while it works."""
    command = ["apt-get", *OPTIONS, *arguments]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        try:
            while True:
                try:
                    process.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    if watch is not None:
                        watch()
        except BaseException:  # an interrupt too: nothing of ours goes on writing
            process.terminate()
            process.wait()
            raise
        output.seek(0)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
        if process.returncode:
            raise AptError(complaint(said) or f"apt-get ended with {process.returncode}")
        return output.read().decode("utf-8", "replace"), said


def complaint(text: str) -> str:
    """apt-get's own words in one line: its errors, else its warnings."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E:")]
    return "; ".join(errors or [line.removeprefix("W: ") for line in lines])[:300]


def fields_of(package: Path) -> dict[str, str]:
    """Name and version of a package file."""
    text = dpkg_deb("--field", str(package), "Package", "Version")
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def unpack(package: Path, target: Path) -> None:
    """The package's files below `target`; nothing of it is run."""
    target.mkdir(parents=True, exist_ok=True)
    dpkg_deb("--extract", str(package), str(target))


def dpkg_deb(*arguments: str) -> str:
    """Runs dpkg-deb and returns its stdout. RunError with its words where it fails."""
    done = subprocess.run(["dpkg-deb", *arguments], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = " ".join(done.stderr.split())[:300]
        raise RunError(f"dpkg-deb fails on {os.path.basename(arguments[1])} ({words}): {REMEDY}")
    return done.stdout


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
