"""winnow.beam inside a job of one's own: the same verdicts and samples as `winnow run`, on every runner mode."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue

from manifests.document import Document
from manifests.errors import RecordError, RunError
from manifests.store import Store
from manifests.verify import verify
from pipelines.recipe import load
from pipelines.rows import Row, RowScorer, read_rows
from tests.corpora import digests, pictures_folder
from tests.tars import TARS, pictures_tars, small_tasks
from winnow.beam import Decide, MapDocuments, ReadDocuments, Score, WriteShards
from winnow.command import main

RECIPE = "image-text-light"
IN_MEMORY: list[str] = []
TWO_THREADS = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
REPLAYED = ["--direct_runner_bundle_repeat=1"]
DOCS = Path(__file__).parents[2] / "docs" / "beam.md"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_tars(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `winnow run` makes of it."""
    output = tmp_path_factory.mktemp("run") / "dataset"
    with small_tasks():
        assert main(["run", RECIPE, "--input", str(source), "--output", str(output), "--quiet", "--workers", "2"]) == 0
    return output


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: what one test has ingested the next ones read."""
    return tmp_path_factory.mktemp("staging")


def read(source: Path, staging: Path) -> ReadDocuments:
    with small_tasks():
        return ReadDocuments(str(source), str(staging), format="webdataset")


def job(build: Callable[[beam.Pipeline], Any], native: Sequence[str] = ()) -> Any:
    """Runs a pipeline that `build` adds to."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(native)))
    build(pipeline)
    with small_tasks():
        return pipeline.run()


def curate(source: Path, staging: Path, output: Path, native: Sequence[str] = ()) -> Any:
    def build(pipeline: beam.Pipeline) -> None:
        decided = pipeline | read(source, staging) | Score(RECIPE) | Decide(RECIPE)
        decided | WriteShards(str(output), RECIPE)

    return job(build, native)


@pytest.fixture(scope="module")
def curated(source: Path, staging: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    output = tmp_path_factory.mktemp("beam") / "dataset"
    return output, curate(source, staging, output)


def ledger(dataset: Path, which: str) -> list[dict[str, Any]]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((dataset / "ledger" / which).glob("*.parquet")))
    return sorted(
        table.to_pylist(), key=lambda row: (row["uid"], row["locator"] if "locator" in row else row["segment"])
    )


def members(dataset: Path) -> dict[str, bytes]:
    found = {}
    for path in (dataset / "shards").glob("*.tar"):
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    return found


def totals(dataset: Path) -> dict[str, Any]:
    return json.loads((dataset / "MANIFEST.json").read_text())["totals"]


def counters(result: Any) -> dict[str, int]:
    found = result.metrics().query()["counters"]
    return {c.key.metric.name: c.committed for c in found if c.key.metric.namespace == "winnow"}


def test_it_decides_what_the_command_decides(dataset: Path, curated: tuple[Path, Any]) -> None:
    output, _ = curated
    assert ledger(output, "documents") == ledger(dataset, "documents")
    assert ledger(output, "media") == ledger(dataset, "media")
    assert members(output) == members(dataset)
    expected = totals(dataset)
    assert expected.pop("repeated") == 1
    assert {**totals(output), "bytes": expected["bytes"]} == {**expected, "repeated": 0}, (
        "repeated ones never are elements"
    )


def test_verify_accepts_what_it_writes(curated: tuple[Path, Any]) -> None:
    assert verify(Store(str(curated[0]))) == []


def test_metrics_have_the_names_of_the_commands_receipts(dataset: Path, curated: tuple[Path, Any]) -> None:
    found = counters(curated[1])
    expected = totals(dataset)
    assert found["decide/in"] == expected["in"]
    assert found["decide/kept"] == found["materialize/samples"] == expected["kept"]
    for outcome in ("dropped", "dead"):
        there = {name.split("/")[2]: n for name, n in found.items() if name.startswith(f"decide/{outcome}/")}
        assert there == expected[outcome]
    assert found["ingest/documents"] + found["ingest/unreadable"] == expected["in"] + expected["repeated"]


@pytest.mark.parametrize("native", [TWO_THREADS, REPLAYED], ids=["two-threads", "replayed"])
def test_the_same_bytes_whatever_the_bundles(
    native: list[str], source: Path, curated: tuple[Path, Any], staging: Path, tmp_path: Path
) -> None:
    curate(source, tmp_path / "staging", tmp_path / "dataset", native)
    assert digests(tmp_path / "dataset") == digests(curated[0])


def test_elements_are_small_and_hold_no_picture(source: Path, staging: Path) -> None:
    def check(sizes: list[int]) -> None:
        assert len(sizes) == 49
        assert max(sizes) < 8_000

    def build(pipeline: beam.Pipeline) -> None:
        decided = pipeline | read(source, staging) | Score(RECIPE) | Decide(RECIPE)
        rows = tuple(decided) | beam.Flatten()
        assert_that(rows | beam.Map(lambda row: len(FastPrimitivesCoder().encode(row))), check)

    job(build)


def test_the_same_again_changes_nothing(source: Path, curated: tuple[Path, Any], staging: Path) -> None:
    output, _ = curated
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    curate(source, staging, output)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def shouting(document: Document) -> Document:
    segments = (replace(s, text=s.text.upper()) if s.text is not None else s for s in document.segments)
    return replace(document, segments=tuple(segments))


def no_boats(document: Document) -> Document:
    if "boats" in document.text():
        raise RecordError("Boat", "no boats, please")
    return document


def test_maps_and_filters_of_ones_own_between_the_steps(source: Path, staging: Path, tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        rows = pipeline | read(source, staging) | MapDocuments(no_boats) | "shout" >> MapDocuments(shouting)
        decided = rows | Score(RECIPE) | Decide(RECIPE)
        barns = decided.kept | beam.Filter(lambda row: "BARN" in row["document"]["segments"][1]["text"])
        barns | "barns" >> WriteShards(str(tmp_path / "barns"), RECIPE)
        decided.dead | "dead" >> WriteShards(str(tmp_path / "dead"), RECIPE)

    found = counters(job(build))
    assert found["decide/dead/Boat"] == 9
    captions = [text for name, text in members(tmp_path / "barns").items() if name.endswith(".txt")]
    assert captions
    assert all(re.fullmatch(rb"A RED BARN, NUMBER \d+ OF THE SERIES.*", caption) for caption in captions)
    kept = {"in": len(captions), "kept": len(captions), "dropped": {}, "dead": {}, "repeated": 0}
    assert {name: totals(tmp_path / "barns")[name] for name in kept} == kept
    assert members(tmp_path / "dead") == {}
    stages = Counter((row["dead_stage"], row["dead_reason"]) for row in ledger(tmp_path / "dead", "documents"))
    assert stages[("no_boats", "Boat")] == 9, "the ledger names the function that ended them"
    assert stages[("identity", "DuplicateKey")] == 1
    for name in ("barns", "dead"):
        assert verify(Store(str(tmp_path / name))) == []


@pytest.fixture(scope="module")
def scored(source: Path, staging: Path) -> list[Row]:
    """Scored elements, made without Beam."""
    transform = read(source, staging)
    job(lambda pipeline: pipeline | transform)
    with RowScorer(load(RECIPE)) as scorer:
        return scorer.score([row for part in range(TARS) for row in read_rows(transform.run, part)])


def test_choose_rules_compare_the_documents_of_one_window(scored: list[Row], dataset: Path) -> None:
    """Copies in one window: one of them stays. Each in a window of its own: all stay."""

    def lost(row: Row) -> bool:
        return str(row["ledger"]["rule"]).endswith(".choose")

    def check(number: int, found: list[Row]) -> None:
        assert len([row for row in found if lost(row)]) == number

    def build(pipeline: beam.Pipeline) -> None:
        rows = pipeline | beam.Create(scored)
        apart = (
            rows
            | beam.Map(lambda row: TimestampedValue(row, int(row["uid"][:6], 16)))
            | "a window each" >> beam.WindowInto(FixedWindows(1))
        )
        together = (rows | "together" >> Decide(RECIPE)).dropped
        alone = (apart | "apart" >> Decide(RECIPE)).dropped | beam.WindowInto(GlobalWindows())
        expected = sum(number for rule, number in totals(dataset)["dropped"].items() if rule.endswith(".choose"))
        assert expected
        assert_that(together, partial(check, expected), label="one stays")
        assert_that(alone, partial(check, 0), label="all stay")

    job(build)


def test_a_uid_that_comes_twice_is_refused(scored: list[Row], tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        again = next(row for row in scored if row["dead"] is None)
        rows = pipeline | beam.Create([*scored, again])
        (rows | Decide(RECIPE)) | WriteShards(str(tmp_path / "twice"), RECIPE)

    with pytest.raises(RunError, match=r"uid \w{32} comes twice"):
        job(build)
    assert not (tmp_path / "twice" / "MANIFEST.json").exists()


def test_what_lies_in_the_output_is_not_written_over(
    scored: list[Row], dataset: Path, curated: tuple[Path, Any]
) -> None:
    def build(output: Path, pipeline: beam.Pipeline) -> None:
        rows = pipeline | beam.Create(scored[:20])
        (rows | Decide(RECIPE)) | WriteShards(str(output), RECIPE)

    for output, message in ((dataset, "already holds a dataset"), (curated[0], "made from other rows")):
        before = digests(output)
        with pytest.raises(RunError, match=message):
            job(partial(build, output))
        assert digests(output) == before


def test_a_job_that_cannot_read_fails(source: Path, tmp_path: Path) -> None:
    """In somebody else's job there is no driver to judge: an empty collection must not look like success."""
    shutil.copytree(source, tmp_path / "tars")
    transform = read(tmp_path / "tars", tmp_path / "staging")
    shutil.rmtree(tmp_path / "tars")
    with pytest.raises(RunError, match="no tar files found"):
        job(lambda pipeline: pipeline | transform)


def test_the_guides_example_runs_as_it_stands(tmp_path: Path) -> None:
    pictures_folder(tmp_path / "pictures", 36)
    (script,) = re.findall(r"^```python\n(# curate.py\n.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "curate.py").write_text(script)
    command = [sys.executable, "curate.py", *TWO_THREADS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "('image.solid_share.max', 3)" in done.stdout
    captions = [text for name, text in members(tmp_path / "dataset").items() if name.endswith(".txt")]
    assert captions
    assert not any(b"number" in caption for caption in captions)
    assert verify(Store(str(tmp_path / "dataset"))) == []
