"""Every kind of input through the whole pipeline: planted defects, odd containers, hostile pictures. No job dies."""

import json
import shutil
from collections import Counter

import duckdb
import pytest

from manifests.document import uid_of
from synth import corpus
from synth.hostile_images import hostile_images
from synth.odd_images import odd_images
from synth.odd_inputs import ODD_INPUTS
from tests.corpora import digests
from winnow.command import main

LAYOUTS = {
    "html": corpus.render_pages,
    "folder": corpus.render_folder,
    "webdataset": corpus.render_webdataset,
    "parquet": corpus.render_parquet,
}


def run(capsys, source, output, *more):
    arguments = ["run", "image-text-light", "--input", source, "--output", output, "--source", "s", "--workers", "2"]
    assert main([str(argument) for argument in [*arguments, "--quiet", "--json", *more]]) == 0
    return json.loads(capsys.readouterr().out)


def ledger(output, columns="uid, outcome, rule, dead_reason"):
    return duckdb.sql(f"select {columns} from '{output}/ledger/documents/*.parquet'").fetchall()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planted_defects_come_out_as_planted(tmp_path, capsys, layout):
    raw, output = tmp_path / "raw", tmp_path / "out"
    planted = LAYOUTS[layout](raw, 200)
    summary = run(capsys, raw, output, "--format", layout)
    expected = corpus.expected_counts(planted)
    assert {name: summary[name] for name in expected} == expected
    found = {uid: (outcome, rule or dead) for uid, outcome, rule, dead in ledger(output)}
    for one in planted:
        outcome, reason = found[uid_of("s", one.key)]
        if one.outcome == "one of":
            assert outcome == "kept" or reason == one.reason, one
        else:
            assert (outcome, reason or "") == (one.outcome, one.reason), one
    assert main(["verify", str(output)]) == 0


@pytest.mark.parametrize("name", ODD_INPUTS)
def test_odd_containers_end_kept_dead_or_repeated_with_the_right_reason(tmp_path, capsys, name):
    format, make = ODD_INPUTS[name]
    raw, output = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    made = make(raw)
    summary = run(capsys, raw, output, "--format", format)
    found = Counter((uid, dead or outcome) for uid, outcome, _, dead in ledger(output))
    expected = Counter((uid_of("s", odd.key), odd.outcome) for odd in made if odd.outcome != "repeated")
    assert found == expected
    assert summary["repeated"] == sum(odd.outcome == "repeated" for odd in made)
    assert summary["in"] == sum(expected.values())
    assert main(["verify", str(output)]) == 0
    outside = [path for path in tmp_path.iterdir() if path.name not in ("raw", "out")]
    assert not outside, "something was written outside"


def test_odd_and_hostile_pictures_end_decoded_or_dead_with_the_right_reason(tmp_path, capsys):
    raw, output = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    pictures = [*odd_images(), *hostile_images()]
    for number, odd in enumerate(pictures):
        folder = raw / f"{number:04d}"
        folder.mkdir()
        # The folder reader takes pictures by their names; what matters here is what the bytes are.
        (folder / "picture.jpg").write_bytes(odd.data)
        (folder / "picture.txt").write_text(f"what is in the file {odd.name} of the collection")
    run(capsys, raw, output, "--set", "image.short_side.min=1", "--max-dead-share", "1")
    dead = {uid: reason for uid, _, _, reason in ledger(output)}
    query = f"select uid, decoded_format, width, height, orientation, policy from '{output}/ledger/media/*.parquet'"
    seen = {row[0]: row[1:] for row in duckdb.sql(query).fetchall()}
    for number, odd in enumerate(pictures):
        uid = uid_of("s", f"{number:04d}/picture.jpg")
        assert dead[uid] == odd.reason, odd.name
        if odd.reason is None:
            assert seen[uid] == (odd.format, odd.width, odd.height, odd.orientation, odd.policy), odd.name


def test_tars_read_in_place_and_copied_give_the_same_dataset(tmp_path, capsys):
    raw = tmp_path / "raw"
    corpus.render_webdataset(raw, 60)
    run(capsys, raw, tmp_path / "in-place")
    run(capsys, raw, tmp_path / "copied", "--ingest", "copy")
    assert digests(tmp_path / "in-place") == digests(tmp_path / "copied")
    assert not list((tmp_path / "in-place" / "work").rglob("*.tar"))
    shutil.rmtree(raw)
    select = ["--set", "image.short_side.min=64", "--quiet"]
    assert main(["select", str(tmp_path / "copied"), "--output", str(tmp_path / "selected"), *select]) == 0
    assert main(["select", str(tmp_path / "in-place"), "--output", str(tmp_path / "refused"), *select]) == 2
    error = capsys.readouterr().err
    assert "--ingest copy" in error
    assert error.count("\n") == 1


def test_an_input_that_changed_since_is_refused_by_name(tmp_path, capsys):
    raw, output = tmp_path / "raw", tmp_path / "out"
    corpus.render_folder(raw, 20)
    run(capsys, raw, output)
    shutil.copy(next(raw.rglob("*.jpg")), raw / "another.jpg")
    assert main(["run", "image-text-light", "--input", str(raw), "--output", str(output), "--source", "s"]) == 2
    assert "another input" in capsys.readouterr().err


def test_a_run_in_which_nearly_everything_dies_stops_as_misconfigured(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(220):
        (raw / f"{number}.jpg").write_bytes(b"not a picture")
        (raw / f"{number}.txt").write_text("a caption as it should be")
    arguments = ["run", "image-text-light", "--input", str(raw), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "records died of UnknownFormat in image.decode" in error
    assert "--max-dead-share" in error
    assert main([*arguments, "--max-dead-share", "1.01"]) == 0
