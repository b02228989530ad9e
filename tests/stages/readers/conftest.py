"""What the tests of readers share: small pictures, files in a folder, and a reader's whole output."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from manifests.store import Store
from stages.readers.base import Reader
from tests.stages.readers.output import Output


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """picture(number, format="PNG"): a small picture, another one for each number."""

    def make(number: int = 0, format: str = "PNG") -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (8 + number % 5, 6), (number * 37 % 256, number * 11 % 256, number // 256)).save(out, format)
        return out.getvalue()

    return make


@pytest.fixture
def files(tmp_path: Path) -> Callable[[dict[str, bytes | str]], Store]:
    """files({path: content}): the input folder that holds them, as a store."""

    def make(contents: dict[str, bytes | str]) -> Store:
        for path, content in contents.items():
            target = tmp_path / "input" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        return Store(str(tmp_path / "input"))

    return make


@pytest.fixture
def read_all() -> Callable[[Reader, Store], Output]:
    """Plans and reads everything; each task goes through JSON, as it does in a run."""

    def read(reader: Reader, store: Store) -> Output:
        items = [item for task in reader.plan(store) for item in reader.read(store, json.loads(json.dumps(task)))]
        return Output(items)

    return read
