"""The rendered corpus: what it plants is really there, the same each time, and the same in every layout."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifests.document import uid_of
from manifests.store import Store
from stages.readers.base import Candidate
from stages.readers.folder import FolderReader
from stages.readers.html import HtmlReader
from stages.readers.parquet import ParquetReader
from synth.corpus import (
    CAPTIONS_KEPT,
    CYCLE,
    DEFECTS,
    Item,
    Planted,
    expected_counts,
    items,
    render_folder,
    render_pages,
    render_parquet,
    render_webdataset,
    settled,
)


@pytest.fixture(scope="module")
def some() -> list[Item]:
    return list(items(3 * CYCLE))


def opened(item: Item) -> Image.Image:
    picture = Image.open(io.BytesIO(item.data))
    picture.load()
    return picture


def of(items: list[Item], defect: str) -> list[Item]:
    found = [item for item in items if item.defect == defect]
    assert len(found) == 3
    return found


def test_an_item_depends_on_its_number_and_the_seed_alone(some: list[Item]):
    assert list(items(CYCLE + 7)) == some[: CYCLE + 7]
    other = list(items(CYCLE, seed=1))
    assert not {item.data for item in other} & {item.data for item in some}


def test_every_defect_stands_once_in_each_cycle(some: list[Item]):
    for start in range(0, len(some), CYCLE):
        found = Counter(item.defect for item in some[start : start + CYCLE])
        assert found == {"": CYCLE - len(DEFECTS), **dict.fromkeys(DEFECTS, 1)}


def test_sound_pictures_are_large_readable_and_like_no_other(some: list[Item]):
    sound = [item for item in some if not item.defect]
    for item in sound:
        picture = opened(item)
        assert min(picture.size) >= 224
        assert max(picture.size) <= 2 * min(picture.size)
        assert {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[item.extension] == picture.format
        assert picture.width * picture.height == item.pixels
        assert picture.convert("L").resize((64, 64)).entropy() > 2.5  # bits
        assert 8 <= len(item.caption.split()) < 60
    assert len({item.data for item in sound}) == len({item.caption for item in sound}) == len(sound)
    assert {item.extension for item in sound} == {"jpg", "png", "webp"}


def test_duplicates_repeat_the_item_before_them(some: list[Item]):
    for item in of(some, "same_pair"):
        before = some[item.number - 1]
        assert (item.data, item.caption, item.extension) == (before.data, before.caption, before.extension)
    for item in of(some, "same_picture"):
        before = some[item.number - 1]
        assert item.data == before.data
        assert len(item.caption.split()) < len(before.caption.split())
    assert len({item.caption for item in of(some, "common_caption")}) == 1


def test_pictures_have_the_defect_that_they_are_planted_with(some: list[Item]):
    assert all(len(opened(item).getcolors(1 << 20) or []) == 1 for item in of(some, "one_colour"))
    assert all(len(opened(item).getcolors(1 << 20) or []) == 2 for item in of(some, "little_to_see"))
    assert all(min(opened(item).size) < 100 for item in of(some, "small"))
    for item in of(some, "wide"):
        width, height = opened(item).size
        assert (height >= 200, width > 5 * height) == (True, True)
    assert {opened(item).format for item in of(some, "other_format")} == {"GIF"}
    for item in of(some, "cut_short"):
        with pytest.raises(OSError, match=r"truncated|broken"):
            opened(item)


def test_captions_have_the_defect_that_they_are_planted_with(some: list[Item]):
    assert all(len(item.caption) < 6 for item in of(some, "few_characters"))
    assert all(
        (len(item.caption) >= 6, len(item.caption.split()) < 3) == (True, True) for item in of(some, "few_words")
    )
    assert all(len(item.caption) > 2000 for item in of(some, "many_characters"))
    for item in of(some, "many_words"):
        assert (len(item.caption) <= 2000, len(item.caption.split()) > 300) == (True, True)
    assert all(item.language != "en" for item in of(some, "other_language"))


def test_of_a_common_caption_the_smallest_pictures_are_dropped():
    base = Item(0, b"", "png", "A text", 0, defect="common_caption")
    made = [(str(number), replace(base, number=number, pixels=(number * 7) % 13)) for number in range(13)]
    planted = settled(made)
    dropped = {one.key for one in planted if one.outcome == "dropped"}
    assert {one.reason for one in planted if one.outcome == "dropped"} == {"duplicate.caption.choose"}
    assert dropped == {key for key, item in made if item.pixels < 13 - CAPTIONS_KEPT}


@given(number=st.integers(0, 300))
def test_expected_counts_add_up_for_any_number(number: int):
    planted = settled((item.stem, item) for item in many()[:number])
    counts = expected_counts(planted)
    assert counts["in"] == number == counts["kept"] + sum(counts["dropped"].values()) + sum(counts["dead"].values())


@cache
def many() -> list[Item]:
    return [replace(item, data=b"") for item in items(300)]


LAYOUTS: dict[str, tuple[Callable[..., list[Planted]], Any]] = {
    "folder": (render_folder, FolderReader("corpus")),
    "html": (render_pages, HtmlReader("corpus")),
    "parquet": (render_parquet, ParquetReader("corpus")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_readers_find_every_item_of_a_layout_under_its_key(layout: str, tmp_path: Path, some: list[Item]):
    render, reader = LAYOUTS[layout]
    planted = render(tmp_path / "corpus", 60)
    store = Store(str(tmp_path / "corpus"))
    found = {}
    for task in reader.plan(store):
        for candidate in reader.read(store, task):
            assert isinstance(candidate, Candidate)
            found[candidate.document.uid] = (candidate.document.text(), candidate.payloads[0])
    assert found == {
        uid_of("corpus", one.key): (item.caption, item.data) for one, item in zip(planted, some[:60], strict=True)
    }


def test_tars_hold_what_img2dataset_would_put_there(tmp_path: Path, some: list[Item]):
    planted = render_webdataset(tmp_path, 60)
    with tarfile.open(tmp_path / "00000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert len(members) == 180
    for one, item in zip(planted, some[:60], strict=True):
        assert members[f"{one.key}.{item.extension}"] == item.data
        assert members[f"{one.key}.txt"].decode() == item.caption


def test_all_layouts_plant_the_same(tmp_path: Path):
    renders = (render_folder, render_pages, render_parquet, render_webdataset)
    planted = [render(tmp_path / render.__name__, 55) for render in renders]
    assert all(
        [replace(one, key="") for one in other] == [replace(one, key="") for one in planted[0]] for other in planted
    )
    assert len({one.key for other in planted for one in other}) == 4 * 55
