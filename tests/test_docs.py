"""The README's and the guides' commands and code, run as they stand on a small rendered corpus."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall((ROOT / page).read_text()) if kind == language]


def shell(script: str, folder: Path) -> str:
    """Runs a shell block as a reader would, with `winnow` on the path; returns what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(script: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's own commands have run, on rendered pages instead of Debian's."""
    made = tmp_path_factory.mktemp("readme")
    use_it = next(block for block in blocks("README.md", "sh") if "winnow explain" in block)
    first, explain, rest = re.split(r"^(winnow explain.*)$", use_it, flags=re.MULTILINE)
    assert "winnow sample corpus " in first
    printed = shell(first.replace("winnow sample corpus ", "winnow sample corpus --synthetic 120 "), made)
    assert "kept" in printed
    uid = next((made / "curated" / "shards").glob("*.tar")).read_bytes()[:32].decode()
    assert uid in shell(explain.replace("3f2a", uid[:8]), made)
    assert "as the manifest says" in shell(rest, made)
    return made


def test_the_readmes_code_reads_what_its_commands_made(folder):
    read_shards, ask_ledger = blocks("README.md", "python")
    assert python(read_shards, folder).strip()
    assert "kept" in python(ask_ledger, folder)


def test_the_readmes_make_targets_exist():
    script = "\n".join(block for block in blocks("README.md", "sh") if block.startswith("make"))
    for target in re.findall(r"^make ([\w-]+)$", script, re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.fixture
def pictures(folder, tmp_path):
    """A folder of pictures with their captions beside them, taken from the shards."""
    shell(f"mkdir pictures && cd pictures && tar -xf '{folder}'/curated/shards/*.tar && rm *.json", tmp_path)
    return tmp_path


def test_curating_a_folder_goes_as_its_guide_says(pictures):
    page = "docs/curate-a-folder.md"
    (pictures / "pictures.yaml").write_text(blocks(page, "yaml")[0])
    for script in blocks(page, "sh"):
        shell(script, pictures)
    assert (pictures / "curated-2" / "MANIFEST.json").exists()


def test_a_scorer_of_ones_own_goes_as_its_guide_says(pictures):
    page = "docs/write-a-scorer.md"
    (pictures / "blur.py").write_text(blocks(page, "python")[0])
    (pictures / "sharp.yaml").write_text(blocks(page, "yaml")[0])
    shell(blocks(page, "sh")[0], pictures)
    query = """
        select min(image_sharpness) from 'curated/ledger/media/*.parquet' m
        join 'curated/ledger/documents/*.parquet' d using (uid) where outcome = 'kept'
    """
    listed = python(f"import duckdb; print(duckdb.sql({query!r}))", pictures)
    assert float(re.findall(r"\d+\.\d+", listed)[0]) >= 40


def test_the_ledgers_example_query_runs(folder):
    query = blocks("docs/dataset.md", "sql")[0]
    assert python(f"import duckdb; print(duckdb.sql({query!r}))", folder).strip()
