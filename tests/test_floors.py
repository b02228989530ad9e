"""The import contracts allow what the house allows and name what it forbids."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

PACKAGES = [
    "manifests", "model", "model/processor", "stages", "stages/image", "stages/models", "stages/text", "synth",
    "pipelines", "training", "training/loader", "winnow",
]  # fmt: skip

ALLOWED = [
    ("stages.reads", "manifests"),
    ("stages.image.resizes", "model.processor"),
    ("stages.models.adapts", "model.network"),
    ("synth.writes", "manifests"),
    ("pipelines.scores", "stages.models.adapts"),
    ("pipelines.resizes", "model.processor"),
    ("pipelines.renders", "synth.writes"),
    ("pipelines.distributes", "apache_beam"),
    ("training.loader.counts", "stages.text"),
    ("training.trains", "model.network"),
    ("model.network", "torch"),
    ("winnow.offers", "training.trains"),
    ("winnow.offers_too", "pipelines.scores"),
]

FORBIDDEN = [
    ("manifests.looks_aside", "model"),
    ("manifests.looks_up", "stages.text"),
    ("model.looks_aside", "manifests"),
    ("model.processor.computes", "torch"),
    ("stages.looks_aside", "synth"),
    ("stages.image.adapts", "model.network"),
    ("stages.looks_up", "pipelines"),
    ("stages.distributes", "apache_beam"),
    ("synth.looks_aside", "stages.text"),
    ("synth.resizes", "model.processor"),
    ("pipelines.adapts", "model.network"),
    ("pipelines.looks_aside", "training"),
    ("pipelines.looks_up", "winnow"),
    ("training.looks_aside", "pipelines"),
    ("training.decodes", "stages.image"),
    ("training.renders", "synth"),
    ("training.distributes", "pyspark"),
]


def lint(house: Path, imports: list[tuple[str, str]]) -> subprocess.CompletedProcess[str]:
    """Builds a house with these imports only and runs the contracts of this project on it."""
    shutil.copy(PROJECT, house)
    for package in PACKAGES:
        (house / package).mkdir(parents=True, exist_ok=True)
        (house / package / "__init__.py").touch()
    (house / "model/network.py").touch()
    for importer, imported in imports:
        (house / (importer.replace(".", "/") + ".py")).write_text(f"import {imported}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)


def test_the_house_may_import_downwards(tmp_path: Path) -> None:
    result = lint(tmp_path, ALLOWED)
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def broken_house(tmp_path_factory: pytest.TempPathFactory) -> str:
    result = lint(tmp_path_factory.mktemp("house"), FORBIDDEN)
    assert result.returncode == 1, result.stdout
    return result.stdout


@pytest.mark.parametrize(("importer", "imported"), FORBIDDEN)
def test_an_import_up_or_aside_is_named(broken_house: str, importer: str, imported: str) -> None:
    assert f"{importer} -> {imported}" in " ".join(broken_house.split())
