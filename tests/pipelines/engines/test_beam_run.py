"""Whole runs on the beam engine: every shard, index, ledger file and manifest has the SHA-256 that local gives it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.corpora import digests
from tests.pipelines.engines.test_beam import REPLAYED, TWO_THREADS
from tests.tars import TARS, pictures_tars, small_tasks
from winnow.command import main


def run(source: Path, output: Path, *more: str, native: list[str] | None = None) -> Path:
    arguments = ["run", "image-text-light", "--input", str(source), "--output", str(output), "--quiet", *more]
    with small_tasks():
        assert main([*arguments, *(["--", *native] if native else [])]) == 0
    return output


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_tars(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(source, tmp_path_factory.mktemp("local") / "dataset", "--workers", "2")


def test_the_corpus_has_several_tasks_and_every_kind_of_outcome(dataset: Path) -> None:
    assert len(list((dataset / "work").glob("score-*/receipts/*"))) == TARS
    totals = json.loads((dataset / "MANIFEST.json").read_text())["totals"]
    assert totals["kept"]
    assert totals["dead"]["DuplicateKey"] == 1
    assert totals["repeated"] == 1
    assert "duplicate.image.choose" in totals["dropped"]


@pytest.mark.parametrize("native", [TWO_THREADS, REPLAYED], ids=["two-threads", "in-memory-replayed"])
def test_beam_writes_the_dataset_that_local_writes(
    native: list[str], source: Path, dataset: Path, tmp_path: Path
) -> None:
    assert digests(run(source, tmp_path / "dataset", "--engine", "beam", native=native)) == digests(dataset)


def test_what_one_engine_began_another_ends(source: Path, dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    shutil.copytree(dataset, output)
    for name in ("MANIFEST.json", "RUN.json"):
        (output / name).unlink()
    for phase in ("choose-duplicate-image", "materialize"):
        (folder,) = (output / "work").glob(f"{phase}-*")
        (folder / "COMMIT.json").unlink()
        (folder / "receipts" / "000000.json").unlink()
    assert digests(run(source, output, "--engine", "beam", native=TWO_THREADS)) == digests(dataset)
