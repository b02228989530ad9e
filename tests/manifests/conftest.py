"""Stores of every kind for the tests of this floor."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import store
from manifests.store import Store
from tests import s3

names = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.Server]:
    with s3.running() as server:
        yield server


@pytest.fixture
def s3_here(s3_server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    """The server, with obstore led to it by the environment, and attempts without waiting."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store, "FIRST_WAIT", 0)
    s3_server.gate.script.clear()
    s3_server.gate.requests.clear()
    yield s3_server
    s3_server.gate.script.clear()


@pytest.fixture
def bucket(s3_here: s3.Server) -> Store:
    """A prefix of its own in the bucket, with a space and a percent sign as people have them."""
    return Store(f"s3://{s3.BUCKET}/data {next(names)}%")


@pytest.fixture(params=["local", "memory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        made: Store = request.getfixturevalue("bucket")
        return made
    return Store(str(tmp_path / "data 1%") if request.param == "local" else f"memory://test-{next(names)}/data")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FIRST_WAIT", 0)
