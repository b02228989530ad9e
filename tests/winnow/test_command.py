"""What a person types wrong gets one clear line with the remedy, and exit code 2."""

import json

import pytest

from winnow.command import main


def said(capsys):
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out, captured.err


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "pictures"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "image-text-lite", "--input", "{in}", "--output", "{out}"], "did you mean 'image-text-light'"),
        (["run", "image-text-light", "--input", "{in}/no", "--output", "{out}"], "does not exist"),
        (["run", "image-text-light", "--input", "{in}", "--output", "{out}"], "no "),
        (["run", "image-text-light", "--input", "ftp://x/y", "--output", "{out}"], "allowed: a local path, s3://"),
        (
            ["run", "image-text-light", "--input", "{in}", "--output", "{out}", "--format", "foldr"],
            "did you mean 'folder'",
        ),
        (
            ["run", "image-text-light", "--input", "{in}", "--output", "{out}", "--set", "image.short_sid.min=1"],
            "did you mean",
        ),
        (["run", "image-text-light", "--input", "{in}", "--output", "{out}", "--workers", "0"], "not 1 or more"),
        (["run", "image-text-light", "--input", "{in}", "--output", "{out}", "--engine", "flink"], "invalid choice"),
        (
            ["run", "image-text-light", "--input", "{in}", "--output", "{out}", "--", "--runner=X"],
            "local engine has none",
        ),
        (["run", "image-text-light", "--output", "{out}"], "--input"),
        (["select", "{in}", "--output", "{out}"], "not the output of a run"),
        (["select", "{in}", "--output", "{in}"], "is written once"),
        (["verify", "{in}"], "holds no MANIFEST.json"),
        (["explain", "{in}", "abcd"], "{in}"),
        (["report", "{in}"], "not the output of a run"),
        (["clean", "{in}"], "not the output of a run"),
        (["recipes", "nothing"], "no recipe is called 'nothing'"),
        (["sho"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, folder, arguments, line):
    places = {"in": str(folder), "out": str(tmp_path / "out")}
    code = main([argument.format(**places) for argument in arguments])
    out, err = said(capsys)
    assert code == 2
    assert out == ""
    assert line.format(**places) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_recipes_lists_every_key_with_default_unit_and_source(capsys):
    assert main(["recipes", "image-text-light"]) == 0
    out, _ = said(capsys)
    assert "image.short_side.min" in out
    assert "pixels" in out
    assert "DataComp" in out
    assert main(["recipes", "image-text-light", "--json"]) == 0
    keys = {key["key"]: key for key in json.loads(said(capsys)[0])["keys"]}
    assert keys["image.short_side.min"]["default"] == 200
    assert keys["shards.samples"]["default"] == 10_000


def test_recipes_lists_the_shipped_ones(capsys):
    assert main(["recipes"]) == 0
    assert "image-text-light" in said(capsys)[0]


@pytest.mark.parametrize("command", ["sample", "run", "select", "recipes", "explain", "report", "verify", "clean"])
def test_every_command_has_help_with_an_example(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"example: winnow {command}" in " ".join(said(capsys)[0].split())
