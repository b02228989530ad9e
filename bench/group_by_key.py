"""Exact deduplication by group_by_key: does a row cost the same at 10^5, 10^6 and 10^7 rows, and how wide is it?

The exchange is the real one: the `Choose` phase of `duplicate.image` with every bound of image-text-light before it,
over scored parts that are written here (all documents pass the bounds, so every row is exchanged). On each engine:

    marginal cost a row     (cost of the next size - cost of this one) / (difference in rows)
    fixed cost              cost of the smallest size - its rows at the first marginal cost

The engine has run once before it is measured, so its start-up is not in the figures: a session of Spark is there.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.support import machine
from bench.support.tree import cpu_below
from manifests.document import canonical_json
from manifests.parquet import write_table
from manifests.rules import Bounds
from manifests.rules import Choose as ChooseRule
from manifests.store import Store
from pipelines import commit, recipe
from pipelines.choose import Choose
from pipelines.engines.base import Engine
from pipelines.engines.local import LocalEngine
from pipelines.folder import RunFolder
from pipelines.image_text import phases_of
from pipelines.phase import fingerprint
from pipelines.progress import Progress
from pipelines.score import ScorePhase

ROWS_A_PART = 10_000  # as a shard of img2dataset holds
DUPLICATES = 0.3  # share of rows that have another row's content
ZIPF = 1.1  # the exponent of how often a content is repeated: a few logos are everywhere, most pictures are not
MOST_BYTES_A_ROW = 64
MOST_RATIO = 1.3
SIZES = (100_000, 1_000_000, 10_000_000)


def mixed(numbers: np.ndarray, salt: int) -> np.ndarray:
    """uint64[n, 2] that look random and depend on the numbers alone (the finaliser of splitmix64, twice)."""
    out = np.empty((len(numbers), 2), np.uint64)
    for word in range(2):
        x = numbers.astype(np.uint64) * np.uint64(2) + np.uint64(word) + np.uint64(salt << 48)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        out[:, word] = x ^ (x >> np.uint64(31))
    return out


def clusters_of(rows: int, seed: int) -> np.ndarray:
    """int64[rows]: which content each row has; DUPLICATES of the rows repeat one by Zipf's law, in random places."""
    random = np.random.default_rng(seed)
    distinct = rows - int(rows * DUPLICATES)
    weight = np.cumsum(np.arange(1, distinct + 1, dtype=float) ** -ZIPF)
    repeated = np.searchsorted(weight, random.random(rows - distinct) * weight[-1])
    return random.permutation(np.concatenate([np.arange(distinct), repeated]))


def write_scores(run: RunFolder, score: ScorePhase, rows: int, rows_a_part: int) -> None:
    """What the phases before would have left: scored parts, and an identity phase that marked nothing."""
    clusters, random = clusters_of(rows, seed=rows), np.random.default_rng(rows)
    parts = -(-rows // rows_a_part)
    for part in range(parts):
        numbers = np.arange(part * rows_a_part, min(rows, (part + 1) * rows_a_part))
        documents, media = part_tables(score, numbers, clusters[numbers], random)
        run.store.put(run.data(score.name, part, "documents.parquet"), write_table(documents))
        run.store.put(run.data(score.name, part, "media.parquet"), write_table(media))
    for phase, tasks in ((score.name, parts), ("identity", 0)):
        value = {"phase": phase, "tasks": tasks, "counts": {"scored": rows}, "seconds": {}}
        run.store.create(run.path(phase, "COMMIT.json"), canonical_json(value))


def part_tables(
    score: ScorePhase, numbers: np.ndarray, clusters: np.ndarray, random: np.random.Generator
) -> tuple[pa.Table, pa.Table]:
    """One part's two tables: uid and cluster of these documents, and scores that pass every bound."""
    n = len(numbers)
    words = random.integers(3, 40, n)
    uid = [bytes(key).hex() for key in mixed(numbers, 1).astype(">u8").view("V16")[:, 0]]
    keys = pa.array([bytes(key) for key in mixed(clusters, 2).astype(">u8").view("V16")[:, 0]], pa.binary(16))
    side = random.integers(400, 4000, n)
    known: dict[str, Any] = {
        "uid": uid,
        "source": ["bench"] * n,
        "locator": [f'{{"path":"{number // 1000:05d}/{number:09d}.jpg"}}' for number in numbers],
        "document": np.arange(n, dtype=np.int32),
        "segment": np.zeros(n, np.int32),
        "sha256": [key.as_py().hex() * 2 for key in keys],
        "bytes": side.astype(np.int64) * 40,
        "extension": ["jpg"] * n,
        "decoded_format": ["JPEG"] * n,
        "image_format": ["JPEG"] * n,
        "duplicate_image": keys,
        "duplicate_pair": keys,
        "caption_words": words,
        "caption_characters": words * 6,
        "image_short_side": side,
        "image_long_side": side + 100,
        "image_pixels": side * (side + 100),
        "image_aspect_ratio": (side + 100) / side,
        "image_solid_share": random.random(n) / 2,
        "image_entropy": 2 + random.random(n) * 5,
        "image_frames": np.ones(n, np.int32),
    }
    tables = []
    for schema in score.schemas():
        columns = [column(known.get(field.name), field.type, n) for field in schema]
        tables.append(pa.table(columns, schema))
    return tables[0], tables[1]


def column(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    return (values if isinstance(values, pa.Array) else pa.array(values)).cast(kind)


def made_run(folder: Path, rows: int, rows_a_part: int) -> tuple[Choose, RunFolder]:
    """The phase to measure, and the output folder it finds its input in."""
    made = recipe.load("image-text-light")
    score = next(phase for phase in phases_of(made) if isinstance(phase, ScorePhase))
    rule = next(rule for rule in made.rules if isinstance(rule, ChooseRule) and rule.name == "duplicate.image")
    choose = Choose(rule, tuple(rule for rule in made.rules if isinstance(rule, Bounds)))
    prints = dict.fromkeys(choose.upstream, "0" * 12)
    prints[choose.name] = fingerprint(choose, prints)
    run = RunFolder(str(folder), None, prints)
    write_scores(run, score, rows, rows_a_part)
    return choose, run


def bytes_a_row(choose: Choose, run: RunFolder) -> float:
    """Bytes of the Arrow streams that one routing task hands to the exchange, headers included, over its rows."""
    commit.write_plan(choose, run)
    size = rows = 0
    for _, chunk in commit.run_route(choose, run, 0):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, chunk.schema) as writer:
            writer.write_table(chunk.combine_chunks())
        size, rows = size + sink.getvalue().size, rows + chunk.num_rows
    return size / rows


def execute(engine: Engine, choose: Choose, run: RunFolder) -> dict[str, float]:
    """Runs the phase from nothing and returns {cpu, wall} seconds of this process and everything below it."""
    store = Store(run.output)
    for entry in list(store.list(run.path(choose.name))):
        store.delete(entry.path)
    started, used = time.perf_counter(), cpu_below(os.getpid())
    engine.execute([choose], run, Progress(quiet=True))
    return {"wall": time.perf_counter() - started, "cpu": cpu_below(os.getpid()) - used}


@contextlib.contextmanager
def local(workers: int) -> Iterator[Engine]:
    yield LocalEngine(workers)


@contextlib.contextmanager
def spark(workers: int) -> Iterator[Engine]:
    from pipelines.engines.spark import SparkEngine
    from pipelines.engines.spark_session import open_session

    with open_session(workers, (), Progress(quiet=True)):
        yield SparkEngine(workers)


ENGINES: dict[str, Callable[[int], contextlib.AbstractContextManager[Engine]]] = {"local": local, "spark": spark}


def analysis(sizes: Sequence[int], runs: dict[int, list[dict[str, float]]], figure: str) -> dict[str, Any]:
    """Marginal and fixed cost from the least of each size's runs: what else ran on the machine only ever adds."""
    least = [min(run[figure] for run in runs[rows]) for rows in sizes]
    slopes = [(b - a) / (n - m) for (m, n), (a, b) in zip(pairwise(sizes), pairwise(least), strict=True)]
    return {
        "figure": figure,
        "seconds": dict(zip(map(str, sizes), least, strict=True)),
        "microseconds_a_row": [slope * 1e6 for slope in slopes],
        "ratio": slopes[-1] / slopes[0] if len(slopes) > 1 and slopes[0] > 0 else None,
        "fixed_seconds": least[0] - slopes[0] * sizes[0],
    }


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.group_by_key", description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), default=["local", "spark"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="ROWS")
    parser.add_argument("--runs", type=int, default=3, help="of each size; the least counts (default 3)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows-a-part", type=int, default=ROWS_A_PART)
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")
    options = parser.parse_args(arguments)
    about = machine.describe()
    sizes = sorted(options.sizes)
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as scratch:
        made = {}
        for rows in sizes:
            progress(f"writing {rows:,} scored rows")
            made[rows] = made_run(Path(scratch) / str(rows), rows, options.rows_a_part)
        width = bytes_a_row(*made[sizes[0]])
        results = [measured(name, made, options) for name in options.engines]
    value = {"about": about, "bytes_a_row": width, "engines": results}
    print(json.dumps(value) if options.json else text_of(value, sizes))
    return 0


def measured(name: str, made: dict[int, tuple[Choose, RunFolder]], options: Any) -> dict[str, Any]:
    runs: dict[int, list[dict[str, float]]] = {rows: [] for rows in made}
    with ENGINES[name](options.workers) as engine:
        execute(engine, *made[min(made)])  # not counted: workers and code are warm from here on
        for number in range(options.runs):
            for rows, (choose, run) in made.items():
                runs[rows].append(execute(engine, choose, run))
                check(name, rows, choose, run)
                progress(f"{name} run {number + 1}: {rows:,} rows, {runs[rows][-1]['cpu']:.2f} CPU s")
    sizes = sorted(made)
    return {"engine": name, "cpu": analysis(sizes, runs, "cpu"), "wall": analysis(sizes, runs, "wall")}


def check(name: str, rows: int, choose: Choose, run: RunFolder) -> None:
    """Every content has one winner, or the figures are of something else."""
    counts = json.loads(run.store.read(run.path(choose.name, "COMMIT.json")))["counts"]
    if counts != {"mark/1": int(rows * DUPLICATES)}:
        raise SystemExit(f"{name}, {rows:,} rows: expected {int(rows * DUPLICATES):,} losers, got {counts}")


def text_of(value: dict[str, Any], sizes: Sequence[int]) -> str:
    rows = []
    for result in value["engines"]:
        for figure in ("cpu", "wall"):
            found = result[figure]
            steps = zip(pairwise(sizes), found["microseconds_a_row"], strict=True)
            rows.append(
                {
                    "engine": result["engine"],
                    "seconds": figure,
                    **{f"{size:,} rows": found["seconds"][str(size)] for size in sizes},
                    **{f"µs a row, {a:,} to {b:,}": cost for (a, b), cost in steps},
                    f"ratio (at most {MOST_RATIO})": found["ratio"],
                    "fixed": found["fixed_seconds"],
                }
            )
    return (
        f"{machine.heading(value['about'])}\n{machine.table(rows)}\n\n"
        f"bytes through the exchange: {value['bytes_a_row']:.1f} a row (at most {MOST_BYTES_A_ROW})"
    )


if __name__ == "__main__":
    sys.exit(main())
