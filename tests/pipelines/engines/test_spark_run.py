"""Whole runs on the spark engine: every shard, index, ledger file and manifest has the SHA-256 that local gives it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.store import Store
from manifests.verify import verify
from tests.corpora import digests
from tests.tars import TARS, pictures_tars, small_tasks
from winnow.command import main

RECIPE = ["run", "image-text-light", "--quiet"]


def run(source: Path, output: Path, *more: str) -> Path:
    with small_tasks():
        assert main([*RECIPE, "--input", str(source), "--output", str(output), *more]) == 0
    return output


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_tars(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(source, tmp_path_factory.mktemp("local") / "dataset", "--workers", "2")


@pytest.fixture
def worker_faults(spark) -> Iterator[tuple[Path, Path]]:
    """(file that arms faults in Spark's workers, folder in which they are claimed when they fire)."""
    settings = spark.sparkContext.getConf()
    schedule = Path(settings.get("spark.executorEnv.WINNOW_FAULTS").removeprefix("@"))
    claims = Path(settings.get("spark.executorEnv.WINNOW_FAULTS_DIR"))
    yield schedule, claims
    schedule.unlink(missing_ok=True)
    shutil.rmtree(claims, ignore_errors=True)


def test_spark_writes_the_dataset_that_local_writes(spark, source, dataset, tmp_path):
    output = run(source, tmp_path / "dataset", "--engine", "spark")
    assert len(list((output / "work").glob("score-*/receipts/*"))) == TARS, "there was something to distribute"
    assert digests(output) == digests(dataset)
    assert verify(Store(str(output))) == []


def test_workers_killed_at_each_step_of_the_commit_protocol_cost_nothing(
    spark, worker_faults, source, dataset, tmp_path
):
    """Each at another passage of a process, so that no task's worker dies so often that the task is given up."""
    schedule, claims = worker_faults
    schedule.write_text("before_data:kill@1 after_data:kill@2 before_receipt:kill@3 after_receipt:kill@4")
    output = run(source, tmp_path / "dataset", "--engine", "spark")
    assert len(list(claims.iterdir())) == 4, "each step killed a worker"
    assert digests(output) == digests(dataset)


def test_what_one_engine_began_another_ends(spark, source, dataset, tmp_path):
    output = shutil.copytree(dataset, tmp_path / "dataset")
    for name in ("MANIFEST.json", "RUN.json"):
        (output / name).unlink()
    for phase in ("choose-duplicate-image", "materialize"):
        (folder,) = (output / "work").glob(f"{phase}-*")
        (folder / "COMMIT.json").unlink()
        (folder / "receipts" / "000000.json").unlink()
    assert digests(run(source, output, "--engine", "spark")) == digests(dataset)


# In a process of its own, as the command makes its sessions: one after the other, with one core and with four.
SCRIPT = """
import sys
from tests.tars import small_tasks
from winnow.command import main

source, *outputs = sys.argv[1:]
with small_tasks():
    for workers, output in zip(("1", "4"), outputs):
        command = ["run", "image-text-light", "--input", source, "--output", output, "--engine", "spark"]
        code = main([*command, "--workers", workers])
        assert code == 0, code
"""


def test_one_core_and_four_do_the_same_in_sessions_of_their_own_that_are_quiet(source, dataset, tmp_path):
    script, outputs = tmp_path / "driver.py", [tmp_path / "one", tmp_path / "four"]
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(source), *map(str, outputs)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert [digests(output) for output in outputs] == [digests(dataset)] * 2
    assert "starting Spark on this machine" in done.stderr
    noise = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert noise == [], "Spark's own words stay in its log"
    assert not list(tmp_path.glob("winnow-spark-*")), "which is removed where nothing went wrong"
