"""Whole runs on the local engine: the same bytes at any worker count and after any death, and what select promises."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.corpora import digests, pictures_folder
from winnow.command import main


def winnow(*arguments):
    """Runs the command in this process; fails unless it ends well."""
    assert main([str(argument) for argument in arguments]) == 0


def run(source, output, *more):
    winnow("run", "image-text-light", "--input", source, "--output", output, "--source", "farm", "--quiet", *more)
    return output


def result(capsys, *arguments):
    capsys.readouterr()
    winnow(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return pictures_folder(tmp_path_factory.mktemp("raw") / "pictures")


@pytest.fixture(scope="module")
def dataset(pictures, tmp_path_factory):
    return run(pictures, tmp_path_factory.mktemp("run") / "dataset", "--workers", 2)


def test_every_verdict_is_the_right_one(pictures, dataset, capsys):
    found = result(capsys, "run", "image-text-light", "--input", pictures, "--output", dataset, "--source", "farm")
    assert found == {
        "dataset": str(dataset),
        "in": 60,
        "kept": 20,
        "dropped": {
            "caption.characters.min": 5,
            "duplicate.image.choose": 10,
            "image.aspect_ratio.max": 5,
            "image.short_side.min": 5,
            "image.solid_share.max": 5,
        },
        "dead": {"NoCaption": 5, "Truncated": 5},
        "failed": 0,
        "repeated": 0,
        "seconds": found["seconds"],
        "shards": 1,
    }


def test_verify_finds_nothing_wrong_and_then_every_kind_of_damage(dataset, tmp_path, capsys):
    assert result(capsys, "verify", dataset)["ok"]
    damaged = tmp_path / "damaged"
    shutil.copytree(dataset, damaged, ignore=shutil.ignore_patterns("work"))
    shard = damaged / "shards" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    (damaged / "ledger" / "documents" / "000000.parquet").unlink()
    (damaged / "shards" / "train-000009.tar").touch()
    assert main(["verify", str(damaged), "--json"]) == 1
    problems = " | ".join(json.loads(capsys.readouterr().out)["problems"])
    assert "train-000000.tar: has SHA-256" in problems
    assert "000000.parquet: is missing" in problems
    assert "train-000009.tar: is not in the manifest" in problems


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_bytes_at_any_worker_count(pictures, dataset, tmp_path, workers):
    assert digests(run(pictures, tmp_path / "again", "--workers", workers)) == digests(dataset)


def test_nothing_in_the_dataset_names_a_path_host_or_time(dataset, pictures):
    for name in digests(dataset):
        data = (dataset / name).read_bytes()
        for word in (str(pictures), str(dataset), f'"{os.uname().nodename}"', "local"):
            assert word.encode() not in data, f"{word} in {name}"


@pytest.mark.parametrize(
    "sets",
    [
        ["image.short_side.min=64"],
        ["caption.characters.min=1", "caption.words.min=1"],
        # The copy with the most words no longer passes: another copy of its cluster must survive.
        ["caption.words.max=12"],
        ["duplicate.image.keep=2", "shards.samples=7"],
        ["image.short_side.min=5000"],
    ],
)
def test_select_equals_a_full_run_after_the_input_is_gone(pictures, tmp_path, sets, capsys):
    source = shutil.copytree(pictures, tmp_path / "pictures")
    first = run(source, tmp_path / "first", "--workers", 2)
    options = [part for item in sets for part in ("--set", item)]
    full = run(source, tmp_path / "full", "--workers", 2, *options)
    shutil.rmtree(source)
    selected = tmp_path / "selected"
    winnow("select", first, "--output", selected, "--workers", 2, "--quiet", *options)
    assert digests(selected) == digests(full)
    assert digests(selected) != digests(first)
    assert result(capsys, "verify", selected)["ok"]


def test_another_copy_of_a_cluster_becomes_the_survivor(dataset, tmp_path):
    winnow("select", dataset, "--output", tmp_path / "short", "--set", "caption.words.max=12", "--quiet")
    before, after = (kept_captions(folder) for folder in (dataset, tmp_path / "short"))
    assert any("with more words" in caption for caption in before)
    assert not any("with more words" in caption for caption in after)
    assert len(after) == len(before)


def kept_captions(folder):
    import webdataset

    tars = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    return [sample["txt"].decode() for sample in webdataset.WebDataset(tars, shardshuffle=False)]


def test_select_works_on_a_selection(dataset, pictures, tmp_path):
    winnow("select", dataset, "--output", tmp_path / "one", "--set", "caption.words.min=8", "--quiet")
    winnow("select", tmp_path / "one", "--output", tmp_path / "two", "--set", "image.short_side.min=64", "--quiet")
    full = run(pictures, tmp_path / "full", "--set", "caption.words.min=8", "--set", "image.short_side.min=64")
    assert digests(tmp_path / "two") == digests(full)


def test_a_finished_output_is_left_alone_and_another_recipe_is_refused(pictures, dataset, capsys):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    run(pictures, dataset)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    again = ["run", "image-text-light", "--input", str(pictures), "--output", str(dataset), "--source", "farm"]
    assert main([*again, "--set", "image.short_side.min=1"]) == 2
    error = capsys.readouterr().err
    assert "already holds a dataset made with other settings" in error
    assert "winnow select" in error


def test_clean_keeps_the_dataset_and_what_needs_the_work_refuses_by_name(pictures, dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    winnow("clean", copy)
    assert not (copy / "work").exists() or not any(path.is_file() for path in (copy / "work").rglob("*"))
    assert digests(copy) == digests(dataset)
    assert main(["verify", str(copy)]) == 0
    capsys.readouterr()
    for arguments in (["select", copy, "--output", tmp_path / "x"], ["report", copy]):
        assert main([str(argument) for argument in arguments]) == 2
        assert "removed by `winnow clean`" in capsys.readouterr().err


def test_a_dry_run_changes_nothing(pictures, tmp_path, capsys):
    found = result(capsys, "run", "image-text-light", "--input", pictures, "--output", tmp_path / "dry", "--dry-run")
    assert [phase["phase"] for phase in found["phases"]][:2] == ["ingest", "score"]
    assert found["input_bytes"] > 100_000
    assert not (tmp_path / "dry").exists()


def test_a_limit_is_exact(pictures, tmp_path, capsys):
    arguments = ["run", "image-text-light", "--input", pictures, "--output", tmp_path / "few", "--limit", 7, "--quiet"]
    assert result(capsys, *arguments)["in"] == 7


WORKER = ["before_data", "after_data", "before_receipt", "after_receipt"]
DRIVER = ["before_plan", "before_commit", "after_commit", "before_manifest"]


@pytest.mark.parametrize("point", [*WORKER, *DRIVER])
def test_a_kill_at_any_step_and_a_rerun_give_the_same_bytes(pictures, dataset, tmp_path, point):
    """SIGKILL to whoever passes the point for the third time: a worker is replaced, a driver is started again."""
    output = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "winnow.command",
        "run",
        "image-text-light",
        "--input",
        pictures,
        "--output",
        output,
    ]
    command += ["--source", "farm", "--quiet", "--workers", "2"]
    passage = 1 if point == "before_manifest" else 3
    faults = {"WINNOW_FAULTS": f"{point}:kill@{passage}", "WINNOW_FAULTS_DIR": str(tmp_path / "claims")}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    first = subprocess.run(command, env={**environment, **faults}, capture_output=True)
    assert first.returncode == (-signal.SIGKILL if point in DRIVER else 0), first.stderr
    assert any((tmp_path / "claims").iterdir()), "nobody was killed"
    if point in DRIVER:
        assert main(["verify", str(output)]) == 2  # no manifest, no dataset
        subprocess.run(command, env=environment, check=True, capture_output=True)
    assert digests(output) == digests(dataset)


@pytest.mark.parametrize("seconds", [0.6, 1.1, 1.6, 2.2])
def test_ctrl_c_at_any_moment_is_one_quiet_line(pictures, tmp_path, seconds):
    """As a terminal sends it: to the whole process group, also while workers are being started."""
    command = [
        sys.executable,
        "-m",
        "winnow.command",
        "run",
        "image-text-light",
        "--input",
        pictures,
        "--source",
        "farm",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = subprocess.Popen(
        [*command, "--output", tmp_path / "out", "--quiet", "--workers", "2"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(seconds)
    os.killpg(started.pid, signal.SIGINT)
    _, error = started.communicate(timeout=60)
    # Before Python has come to the command there is nobody to say a line; that is Python's own business.
    if started.returncode == 130:
        assert error.strip() == "winnow: interrupted; run the same command again to go on from here"
    assert "EOFError" not in error
    run(pictures, tmp_path / "out")
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_a_refused_run_leaves_no_claim_and_an_output_in_the_input_is_refused(pictures, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["run", "image-text-light", "--input", str(pictures), "--output", str(output), "--quiet"]
    assert main([*arguments, "--format", "parquet"]) == 2
    assert main(arguments) == 0
    for inside in (pictures, pictures / "out"):
        assert main([*arguments[:5], str(inside)]) == 2
        assert "lie in one another" in capsys.readouterr().err
        assert not (pictures / "work").exists()


def test_a_dataset_whose_report_was_lost_gets_it_back(pictures, tmp_path):
    output = run(pictures, tmp_path / "out")
    (output / "report.html").unlink()
    run(pictures, output)
    assert (output / "report.html").exists()
