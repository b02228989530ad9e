"""What image-text-light costs: against a bare decode, against other people's tools, and on each engine, in one run.

The images are those of the sample corpus, each once, in a folder with captions; `four copies` is that list four times,
each image with other trailing bytes, so that nothing is a duplicate and every image is decoded.

    marginal CPU     (CPU of four copies - CPU of one copy) / 3      to compare with OpenCV's decode of one copy
    start-up         CPU of one copy - marginal CPU

CPU is user and system time of whole trees of processes. The figures of one round are taken one after the other, and
only ratios within a round mean something; the median of the rounds is the figure, least and most say how noisy it was.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.support import machine
from bench.support.corpus import Folder, Listed, distinct_images, write_copies, write_jsonl
from bench.support.tree import CommandFailed, Measured, measure

HERE = Path(__file__).parent
RECIPE = "image-text-light"
COPIES = 4
SMALL_SHARD = 1000  # samples
MOST_OF_DECODE = 2.0
MOST_START_UP = 3.0
LEAST_OF_PEERS = 5.0
PEER_PACKAGES = ("py-data-juicer", "imagededup", "torch", "datasets")


class Bench:
    """The folders and environment that every measured command gets.

    Byte code is kept in the scratch folder and made by a first run that is not counted: for the peers as for us.
    """

    def __init__(self, scratch: Path, options: argparse.Namespace):
        self.scratch, self.options = scratch, options
        self.env = {
            "PYTHONPYCACHEPREFIX": str(scratch / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
            "HF_HOME": str(scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
            "DATA_JUICER_CACHE_HOME": str(scratch / "cache"),
        }
        installed = Path(sys.executable).with_name("winnow")
        self.winnow = [str(installed)] if installed.exists() else [sys.executable, "-m", "winnow.command"]

    def progress(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def measure(self, name: str, command: Sequence[str]) -> Measured:
        found = measure(command, self.env, self.scratch)
        self.progress(f"  {name}: {found.cpu:.2f} CPU s, {found.wall:.2f} s")
        return found

    def run(
        self, folder: Path, kind: str = "folder", engine: str = "local", workers: int = 1, more: Sequence[str] = ()
    ) -> Measured:
        """One `winnow run` into an output folder that is removed again. One worker, since OpenCV runs on one core."""
        output = self.scratch / "output"
        words = ["run", RECIPE, "--input", str(folder), "--output", str(output), "--format", kind, "--json"]
        words += ["--engine", engine, "--workers", str(workers), "--quiet", *more]
        try:
            return self.measure(f"winnow, {engine}, {folder.name}", [*self.winnow, *words])
        finally:
            shutil.rmtree(output, ignore_errors=True)

    def sample(self) -> Path:
        """The unpacked sample corpus: the one given, or a new one."""
        if self.options.sample:
            return self.options.sample
        corpus = self.scratch / "sample"
        self.measure("winnow sample", [*self.winnow, "sample", str(corpus)])
        return corpus


def against_decode(bench: Bench, one: Folder, four: Folder) -> dict[str, Any]:
    """Rounds of OpenCV, one copy, four copies."""
    decode = [sys.executable, str(HERE / "peers" / "opencv_grey.py"), str(one.path)]
    bench.progress("not counted, so that files and byte code are at hand:")
    bench.measure("OpenCV", decode)
    bench.run(one.path)
    rounds: list[dict[str, float]] = []
    whole: list[Measured] = []
    for number in range(bench.options.rounds):
        bench.progress(f"round {number + 1} of {bench.options.rounds}")
        opencv = float(last_json(bench.measure("OpenCV", decode))["cpu"])
        first, fourth = bench.run(one.path), bench.run(four.path)
        marginal = (fourth.cpu - first.cpu) / (COPIES - 1)
        whole += [first, fourth]
        rounds.append(
            {
                "opencv": opencv,
                "one_copy": first.cpu,
                "four_copies": fourth.cpu,
                "marginal": marginal,
                "ratio": marginal / opencv,
                "start_up": first.cpu - marginal,
            }
        )
    counts = last_json(whole[0])
    return {
        "rounds": rounds,
        **{key: machine.spread([round_[key] for round_ in rounds]) for key in rounds[0]},
        "wall": statistics.median(found.wall for found in whole[::2]),
        "documents": counts["in"],
        "kept": counts["kept"],
        "dead": sum(counts["dead"].values()),
        "memory": [memory_of(1, None, whole[0]), memory_of(COPIES, None, whole[1])],
    }


def memory_of(copies: int, samples: int | None, found: Measured) -> dict[str, int | None]:
    return {"copies": copies, "samples a shard": samples, "driver": found.driver, "worker": found.others}


def memory_of_many(bench: Bench, images: list[Listed], copies: int) -> list[dict[str, int | None]]:
    """Four copies and many, with shards so small that even one copy fills some: a worker holds a shard's documents."""
    rows = []
    for number in (COPIES, copies):
        folder = write_copies(images, bench.scratch / "many", number)
        found = bench.run(folder.path, more=("--set", f"shards.samples={SMALL_SHARD}"))
        rows.append(memory_of(number, SMALL_SHARD, found))
        shutil.rmtree(folder.path)
    return rows


def last_json(found: Measured) -> dict[str, Any]:
    """The JSON object that a command printed on a line of its own."""
    lines = [line for line in found.output.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


def on_engine(bench: Bench, engine: str, one: Folder, four: Folder) -> dict[str, Any]:
    """One copy and four copies on an engine with a worker a core; the least of the rounds, as start-up varies much."""
    cores = os.cpu_count() or 1
    try:
        bench.run(one.path, "folder", engine, cores)  # not counted
        runs = [
            (bench.run(one.path, "folder", engine, cores), bench.run(four.path, "folder", engine, cores))
            for _ in range(bench.options.engine_rounds)
        ]
    except CommandFailed as error:
        return {"engine": engine, "failed": str(error).splitlines()[-1]}
    row: dict[str, Any] = {"engine": engine}
    for figure in ("cpu", "wall"):
        first, fourth = (min(getattr(pair[at], figure) for pair in runs) for at in (0, 1))
        marginal = (fourth - first) / (COPIES - 1)
        row |= {f"{figure}_one": first, f"{figure}_marginal": marginal, f"{figure}_start": first - marginal}
    return row | {"largest": max(found.largest for found in runs[0])}


def against_peers(bench: Bench, one: Folder, ours: float) -> list[dict[str, Any]]:
    """Whole processes over one copy, against our own whole process."""
    python = bench.options.peers / "bin" / "python"
    if not python.exists():
        bench.progress(f"no {python}: make it with `make bench-peers`, or name another with --peers")
        return [{"peer": name, "cpu": "not installed"} for name in ("Data-Juicer", "imagededup PHash")]
    listed = bench.scratch / "one.jsonl"
    write_jsonl(one.path, listed)
    juicer = [str(python.with_name("dj-process")), "--config", str(HERE / "peers" / "data_juicer.yaml")]
    juicer += ["--dataset_path", str(listed), "--export_path", str(bench.scratch / "juicer" / "out.jsonl")]
    commands = {
        "Data-Juicer": juicer,
        "Data-Juicer, op_fusion": [*juicer, "--op_fusion", "true"],
        "imagededup PHash": [str(python), str(HERE / "peers" / "imagededup_phash.py"), str(one.path)],
    }
    rows = []
    for name, command in commands.items():
        bench.measure(f"{name} (not counted)", command)
        runs = [bench.measure(name, command) for _ in range(bench.options.peer_rounds)]
        cpu = machine.spread([found.cpu for found in runs])
        wall = statistics.median(found.wall for found in runs)
        rows.append({"peer": name, "cpu": cpu, "wall": wall, "ratio": cpu["median"] / ours, "largest": runs[0].largest})
    return rows


def peer_versions(bench: Bench) -> dict[str, str]:
    python = bench.options.peers / "bin" / "python"
    if not python.exists():
        return {}
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {PEER_PACKAGES!r}}}))"
    return last_json(measure([str(python), "-c", code]))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    about = machine.describe()
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=options.scratch) as scratch:
        bench = Bench(Path(scratch), options)
        corpus = bench.sample()
        images = list(distinct_images(corpus, options.least_bytes))
        one, four = (write_copies(images, bench.scratch / str(n), n) for n in (1, COPIES))
        bench.progress(f"{one.images:,} distinct images, {one.bytes / 1e6:.0f} MB")
        value: dict[str, Any] = {
            "about": {**about, "peers": peer_versions(bench)},
            "images": one.images,
            "bytes": one.bytes,
            "decode": against_decode(bench, one, four),
        }
        if options.many:
            value["decode"]["memory"] += memory_of_many(bench, images, options.many)
        html = bench.run(corpus, "html")
        value["html"] = {**last_json(html), **asdict(html), "output": ""}
        value["engines"] = [on_engine(bench, engine, one, four) for engine in options.engines]
        value["peers"] = against_peers(bench, one, value["decode"]["one_copy"]["median"])
        value["load_after"] = machine.describe()["load_before"]
    print(json.dumps(value) if options.json else text_of(value))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.image_funnel", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=Path, help="an unpacked sample corpus (default: fetch it with winnow sample)")
    parser.add_argument("--least-bytes", type=int, default=0, help="leave out smaller images (default: none)")
    parser.add_argument("--rounds", type=int, default=3, help="of OpenCV, one copy and four copies (default 3)")
    parser.add_argument("--engines", nargs="*", default=["local", "beam", "spark"], help="engines to compare")
    parser.add_argument("--engine-rounds", type=int, default=1)
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers", help="the peers' environment")
    parser.add_argument(
        "--many", type=int, default=0, help="also measure the memory of runs over 4 and this many copies"
    )
    parser.add_argument("--scratch", type=Path, help="where the folders are made; some 800 MB (default: as tempfile)")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")
    return parser.parse_args(arguments)


def text_of(value: dict[str, Any]) -> str:
    return "\n\n".join(
        (
            machine.heading(value["about"]),
            f"{value['images']:,} distinct images, {value['bytes'] / 1e6:.0f} MB; {decode_text(value['decode'])}",
            memory_text(value["decode"]["memory"]),
            html_text(value["html"]),
            engines_text(value["engines"]),
            peers_text(value["peers"], value["about"]["peers"]),
        )
    )


def decode_text(found: dict[str, Any]) -> str:
    names = {
        "opencv": "OpenCV grey decode of one copy, CPU s",
        "one_copy": "one copy, whole process, CPU s",
        "four_copies": "four copies, whole process, CPU s",
        "marginal": "marginal CPU s of a copy",
        "ratio": f"marginal over OpenCV (at most {MOST_OF_DECODE:g})",
        "start_up": f"start-up, CPU s (under {MOST_START_UP:g})",
    }
    rows = [{"figure": text, **found[name]} for name, text in names.items()]
    head = f"{found['kept']:,} of {found['documents']:,} kept, {found['dead']} dead; {found['wall']:.1f} s for one copy"
    return f"{head}\n\n{machine.table(rows)}"


def memory_text(found: Sequence[dict[str, int | None]]) -> str:
    rows = [
        {
            "copies": row["copies"],
            "samples a shard": row["samples a shard"] or "as the recipe says",
            **{f"{name}, MiB": (row[name] or 0) >> 20 for name in ("driver", "worker")},
        }
        for row in found
    ]
    return f"peak resident memory of the driver and of the largest process below it\n\n{machine.table(rows)}"


def html_text(found: dict[str, Any]) -> str:
    return (
        f"the same recipe over the corpus's pages (html): {found['in']:,} pairs, {found['kept']:,} kept, "
        f"{found['cpu']:.1f} CPU s, {found['wall']:.1f} s, largest process {found['largest'] >> 20} MiB"
    )


def engines_text(found: Sequence[dict[str, Any]]) -> str:
    names = {
        "cpu_marginal": "marginal CPU s",
        "cpu_start": "start-up CPU s",
        "wall_marginal": "marginal wall s",
        "wall_start": "start-up wall s",
    }
    rows = [{"engine": row["engine"], **{text: row.get(name) for name, text in names.items()}} for row in found]
    failed = [f"{row['engine']}: {row['failed']}" for row in found if "failed" in row]
    head = f"engines with a worker for each of {os.cpu_count()} cores, a copy and the start apart\n"
    return "\n".join([head, machine.table(rows), *failed]) if rows else ""


def peers_text(found: Sequence[dict[str, Any]], versions: dict[str, str]) -> str:
    rows = [
        {
            "peer": row["peer"],
            "CPU s": row["cpu"]["median"] if isinstance(row["cpu"], dict) else row["cpu"],
            "wall s": row.get("wall"),
            f"its CPU over ours (at least {LEAST_OF_PEERS:g})": row.get("ratio"),
            "largest process, MiB": row["largest"] >> 20 if "largest" in row else None,
        }
        for row in found
    ]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"whole processes over one copy ({named or 'make them with: make bench-peers'})\n\n{machine.table(rows)}"


if __name__ == "__main__":
    sys.exit(main())
