"""winnow.spark inside a job of one's own: the same verdicts and samples as `winnow run`, however rows lie."""

import math
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from manifests.document import Document
from manifests.errors import RecordError, RunError
from manifests.rules import Choose, losers
from manifests.store import Store
from manifests.verify import verify
from pipelines.engines.spark_rows import claim_schema, ddl
from pipelines.verbs import key_words
from tests.corpora import digests, pictures_folder
from tests.datasets import ledger, members, totals
from tests.tars import TARS, pictures_tars, small_tasks
from winnow.command import main
from winnow.spark import Decided, decide, lost_in, map_documents, read_documents, score, write_shards

RECIPE = "image-text-light"
DOCS = Path(__file__).parents[2] / "docs" / "spark.md"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return pictures_tars(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory) -> Path:
    """What `winnow run` makes of it."""
    output = tmp_path_factory.mktemp("run") / "dataset"
    with small_tasks():
        assert main(["run", RECIPE, "--input", str(source), "--output", str(output), "--quiet", "--workers", "2"]) == 0
    return output


@pytest.fixture(scope="module")
def documents(spark, source, tmp_path_factory) -> DataFrame:
    with small_tasks():
        return read_documents(spark, str(source), str(tmp_path_factory.mktemp("staging")), format="webdataset")


@pytest.fixture(scope="module")
def scored(documents) -> Iterator[DataFrame]:
    rows = score(documents, RECIPE)
    yield rows
    rows.unpersist()


@pytest.fixture(scope="module")
def curated(scored, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("spark") / "dataset"
    write_shards(decide(scored, RECIPE), str(output), RECIPE)
    return output


def test_it_decides_what_the_command_decides(dataset, curated):
    assert ledger(curated, "documents") == ledger(dataset, "documents")
    assert ledger(curated, "media") == ledger(dataset, "media")
    assert members(curated) == members(dataset)
    expected = totals(dataset)
    assert expected.pop("repeated") == 1
    assert {**totals(curated), "bytes": expected["bytes"]} == {**expected, "repeated": 0}, "repeated ones are no rows"


def test_verify_accepts_what_it_writes(curated):
    assert verify(Store(str(curated))) == []


def test_rows_are_small_and_hold_no_picture(scored):
    assert scored.rdd.getNumPartitions() == TARS
    rows = scored.select(F.length(F.to_json(F.struct("*"))).alias("size")).collect()
    assert max(row.size for row in rows) < 4_000


def test_the_same_bytes_however_rows_are_partitioned_and_nothing_is_written_twice(scored, curated):
    before = {path: path.stat().st_mtime_ns for path in curated.rglob("*") if path.is_file()}
    write_shards(decide(scored.repartition(3, "locator"), RECIPE), str(curated), RECIPE)
    assert {path: path.stat().st_mtime_ns for path in curated.rglob("*") if path.is_file()} == before


def shouting(document: Document) -> Document:
    segments = (replace(s, text=s.text.upper()) if s.text is not None else s for s in document.segments)
    return replace(document, segments=tuple(segments))


def no_boats(document: Document) -> Document:
    if "boats" in document.text():
        raise RecordError("Boat", "no boats, please")
    return document


def test_maps_and_filters_of_ones_own_between_the_steps(documents, tmp_path):
    changed = map_documents(map_documents(documents, no_boats), shouting)
    decided = decide(score(changed.where("source = 'tars'"), RECIPE), RECIPE)
    barns = decided.kept.where(F.get_json_object("document", "$.segments[1].text").contains("BARN"))
    dead = decided.dead.where("dead.stage = 'no_boats'").withColumn("mine", F.lit(1))
    manifest = write_shards(Decided(barns, decided.dropped.where("false"), dead), str(tmp_path / "barns"), RECIPE)
    captions = [text for name, text in members(tmp_path / "barns").items() if name.endswith(".txt")]
    assert captions
    assert all(re.fullmatch(rb"A RED BARN, NUMBER \d+ OF THE SERIES.*", caption) for caption in captions)
    boats = documents.where("dead is null and document like '%boats%'").count()
    assert boats
    assert (manifest.totals.kept, manifest.totals.dead) == (len(captions), {"Boat": boats})
    assert verify(Store(str(tmp_path / "barns"))) == []


def test_other_documents_in_the_same_output_are_refused_in_one_line(scored, curated):
    before = digests(curated)
    decided = decide(scored.withColumn("locator", F.upper("locator")), RECIPE)
    with pytest.raises(RunError, match=r"^/\S+ holds \(a part of\) a dataset made from other rows .* another output$"):
        write_shards(decided, str(curated), RECIPE)
    assert digests(curated) == before


def test_a_dataset_of_the_command_is_not_written_over(scored, dataset):
    before = digests(dataset)
    with pytest.raises(RunError, match="already holds a dataset"):
        write_shards(decide(scored, RECIPE), str(dataset), RECIPE)
    assert digests(dataset) == before


def test_a_uid_that_comes_twice_is_refused(scored, tmp_path):
    with pytest.raises(RunError, match=r"uid \w{32} comes twice"):
        write_shards(decide(scored.union(scored), RECIPE), str(tmp_path / "twice"), RECIPE)
    assert not (tmp_path / "twice" / "MANIFEST.json").exists()


def test_without_choose_rules_nothing_is_compared(scored, tmp_path):
    off = [f"duplicate.{name}.keep=0" for name in ("image", "caption", "pair")]
    decided = decide(scored, RECIPE, off)
    plan = decided.kept._jdf.queryExecution().toString()
    assert "Window" not in plan
    assert "Join" not in plan
    assert not decided.dropped.where("ledger.rule like 'duplicate%'").count()


VALUES = st.sampled_from([-1.0, -0.0, 0.0, 2.0, math.nan, math.inf])
CLUSTERS = st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=5), min_size=1, max_size=60)


@settings(max_examples=4)
@given(clusters=CLUSTERS, keep=st.integers(1, 2))
def test_spark_chooses_whom_the_rule_chooses(spark, clusters, keep):
    """One of each cluster by (first up, second down, uid), NaN last either way: in Spark's words and in numpy's."""
    rule = Choose("duplicate.image", ("first", "-second"), keep)
    claims = [(number, *values) for number, cluster in enumerate(clusters) for values in cluster]
    uids = [f"{pow(3, number, 10**9 + 7):032x}" for number in range(len(claims))]
    keys = [number.to_bytes(16, "big") for number, *_ in claims]
    rows = [
        {"uid": uid, "lost": [], "claim_0": {"cluster": key, "order": order}}
        for uid, key, (_, *order) in zip(uids, keys, claims, strict=True)
    ]
    frame = spark.createDataFrame(rows, ddl(claim_schema([rule]))).withColumn("lost", lost_in(rule, "claim_0"))
    lost = {row.uid for row in frame.where("size(lost) > 0").collect()}
    words = [key_words(pa.array(items, pa.binary(16))) for items in (keys, [bytes.fromhex(uid) for uid in uids])]
    columns = [np.array([claim[place] for claim in claims], float) for place in (1, 2)]
    expected = losers(*words, columns, [False, True], keep)
    assert lost == {uid for uid, is_lost in zip(uids, expected, strict=True) if is_lost}


def test_the_guides_example_runs_as_it_stands(spark, tmp_path, monkeypatch, capfd):
    pictures_folder(tmp_path / "pictures", 36)
    (script,) = re.findall(r"^```python\n(# curate.py\n.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "curate.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("curate.py", run_name="__main__")  # its session is the one that is there
    assert "image.solid_share.max" in capfd.readouterr().out
    captions = [text for name, text in members(tmp_path / "dataset").items() if name.endswith(".txt")]
    assert captions
    assert not any(b"number" in caption for caption in captions)
    assert verify(Store(str(tmp_path / "dataset"))) == []
