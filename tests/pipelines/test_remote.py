"""A whole run from one bucket to another, against an S3 server on loopback: the same bytes as on local folders."""

import json
import os

import pytest

from manifests.store import Store
from pipelines import folder
from tests import s3
from tests.corpora import digests, pictures_folder
from winnow.command import main


@pytest.fixture
def buckets(monkeypatch):
    """Two prefixes of a bucket, for this process and the workers that it starts."""
    with s3.running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        folder.open_store.cache_clear()
        yield f"s3://{s3.BUCKET}/raw/pictures", f"s3://{s3.BUCKET}/curated"
        folder.open_store.cache_clear()


def test_a_run_between_buckets_gives_the_same_bytes_as_between_folders(tmp_path, buckets, capsys):
    raw, curated = buckets
    pictures = pictures_folder(tmp_path / "pictures", 24)
    bucket = Store(raw)
    for path in sorted(pictures.iterdir()):
        bucket.put(path.name, path)
    options = ["--workers", "2", "--quiet", "--json"]
    assert main(["run", "image-text-light", "--input", raw, "--output", curated, *options]) == 0
    remote = json.loads(capsys.readouterr().out)
    assert main(["run", "image-text-light", "--input", str(pictures), "--output", str(tmp_path / "out"), *options]) == 0
    here = json.loads(capsys.readouterr().out)
    assert {**remote, "dataset": 0, "seconds": 0} == {**here, "dataset": 0, "seconds": 0}
    target = Store(curated)
    fetched = tmp_path / "fetched"
    for entry in target.list():
        if not entry.path.startswith("work/"):
            (fetched / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (fetched / entry.path).write_bytes(target.read(entry.path))
    assert digests(fetched) == digests(tmp_path / "out")
    assert main(["verify", curated]) == 0
    assert main(["select", curated, "--set", "image.short_side.min=64", "--output", curated + "-64", "--quiet"]) == 0
    assert main(["verify", curated + "-64"]) == 0


def test_a_bucket_that_is_not_there_is_named(buckets, tmp_path, capsys):
    arguments = ["run", "image-text-light", "--input", "s3://no-such-bucket/raw", "--output", str(tmp_path / "x")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "no-such-bucket" in error
    assert error.count("\n") == 1
    assert "AWS_ENDPOINT_URL" in os.environ
