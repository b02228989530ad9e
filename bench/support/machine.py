"""What a measurement says of itself: the machine, the versions, the command; and how its figures are printed."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("winnow-vlm", "numpy", "pyarrow", "pillow", "opencv-python-headless", "apache-beam", "pyspark")


def describe() -> dict[str, Any]:
    """The machine and the versions that figures hold for, and the load it was under."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "command": "python " + shlex.join(spelled(sys.orig_argv[1:])),
    }


def spelled(words: Sequence[str]) -> list[str]:
    """A command line without the folders of this machine."""
    return [os.path.basename(word) if word.startswith("/") else word for word in words]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, median and most of repeated runs."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as a Markdown table: it reads well on a terminal and goes into the documentation as it is."""
    names = list(columns or rows[0])
    cells = [names, *([show(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in cells)
    lines = [f"| {' | '.join(line)} |" for line in padded]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def heading(about: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number != "not installed")
    return (
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}; "
        f"load {about['load_before']} when it began\nPython {about['python']}; {packages}\n{about['command']}\n"
    )
