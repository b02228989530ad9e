"""Odd and hostile inputs against the readers: each item is read, or dead for its own reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from manifests.document import uid_of
from manifests.store import Store
from stages.readers.base import Candidate, Range
from stages.readers.detect import make_reader
from synth.odd_inputs import ODD_INPUTS, Odd

READ = {"kept", "dropped", "repeated", "DuplicateKey"}  # what a reader reads; the rest is decided later


def as_read(odd: Odd) -> tuple[str, str, str]:
    """(key, outcome, caption) as a reader gives them."""
    return (odd.key, "document", odd.caption) if odd.outcome in READ else (odd.key, odd.outcome, "")


@pytest.mark.parametrize("name", ODD_INPUTS)
def test_every_item_is_read_or_dead_with_its_reason(name: str, tmp_path: Path):
    format, make = ODD_INPUTS[name]
    expected = make(tmp_path / "input")
    reader = make_reader("auto", str(tmp_path / "input"), "odd")
    assert reader.name == format
    store = Store(str(tmp_path / "input"))
    key_of = {uid_of("odd", odd.key): odd.key for odd in expected}
    found: Counter[tuple[str, str, str]] = Counter()
    for task in reader.plan(store):
        for item in reader.read(store, json.loads(json.dumps(task))):
            if isinstance(item, Candidate):
                key = key_of.get(item.document.uid, item.document.uid)
                found[key, "document", item.document.text()] += 1
                [payload] = item.payloads
                data = (
                    store.read_range(payload.path, payload.offset, payload.size)
                    if isinstance(payload, Range)
                    else payload
                )
                assert data.startswith(b"\xff\xd8"), f"{key!r} is no JPEG of ours: something else was read"
            else:
                found[item.key, item.reason, ""] += 1
    assert found == Counter(map(as_read, expected))


@pytest.mark.parametrize("name", ODD_INPUTS)
def test_an_odd_input_is_the_same_each_time(name: str, tmp_path: Path):
    make = ODD_INPUTS[name][1]
    assert make(tmp_path / "one") == make(tmp_path / "two")
    stores = [Store(str(tmp_path / place)) for place in ("one", "two")]
    listings = [[(entry.path, entry.size) for entry in store.list()] for store in stores]
    assert listings[0] == listings[1]
    assert len(listings[0]) > 3
