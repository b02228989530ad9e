"""Keys are equal for copies and for nothing else; the defects of the peers' hashes are tests here."""

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import Media
from stages.dedup.exact import ExactDuplicates, caption_key
from stages.guard import guarded
from stages.image.decoder import Decoder
from stages.image.picture import Picture
from synth.odd_images import encoded, exif, scene
from tests.stages.toys import batch_of, one_color, picture


def keys(captions: list[str | None], pictures: list[list[Picture]]) -> dict[str, list[bytes | None]]:
    values, dead = guarded(ExactDuplicates(), batch_of(captions, pictures))
    assert dead == []
    return values


def test_a_key_is_half_of_the_sha256_of_the_bytes():
    shown = one_color(5, 7)
    values = keys(["A boat"], [[shown]])
    assert values["duplicate.image"] == [hashlib.sha256(shown.data).digest()[:16]]
    assert values["duplicate.caption"] == [hashlib.sha256(b"a boat").digest()[:16]]


def test_pictures_of_one_colour_with_swapped_sides_are_no_copies():
    """A hash of the pixels without their shape says they are."""
    wide, high = (encoded(scene(*size).point(lambda _: 90), "PNG") for size in ((64, 32), (32, 64)))
    with Decoder().open() as decoder:
        found = decoder.decode([(Media.of(data, "png"), data) for data in (wide, high)])
    pictures = [item for item in found if isinstance(item, Picture)]
    assert pictures[0].thumbnail.tobytes() == pictures[1].thumbnail.tobytes()
    first, second = keys(["a", "a"], [[item] for item in pictures])["duplicate.image"]
    assert first != second


def test_a_picture_and_its_rotation_by_exif_are_no_copies():
    plain, turned = (encoded(scene(), "JPEG", exif=exif(n)) for n in (1, 6))
    with Decoder().open() as decoder:
        found = decoder.decode([(Media.of(data, "jpg"), data) for data in (plain, turned)])
    pictures = [item for item in found if isinstance(item, Picture)]
    assert [(item.width, item.height) for item in pictures] == [(96, 64), (64, 96)]
    first, second = keys(["a", "a"], [[item] for item in pictures])["duplicate.image"]
    assert first != second


def test_documents_without_picture_or_caption_have_no_key_rather_than_a_shared_one():
    """A hash of nothing makes one cluster of all that could not be hashed."""
    shown = one_color(2, 2)
    values = keys([None, None, "", " \n", "a", None], [[], [], [], [shown], [], [shown]])
    assert values["duplicate.caption"][:4] == [None] * 4
    assert values["duplicate.image"][:3] == [None] * 3
    assert values["duplicate.pair"] == [None] * 6
    assert values["duplicate.image"][3] == values["duplicate.image"][5] is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A Red  Boat", "a red boat"),
        (" a red\nboat ", "a red boat"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "CAFÉ"),
        ("ＡＢＣ １２３", "abc 123"),
        ("ﬁne", "FINE"),
    ],
)
def test_captions_are_the_same_but_for_case_width_and_white_space(one: str, other: str):
    assert caption_key(one) == caption_key(other) is not None


def test_other_captions_have_other_keys():
    texts = ["a red boat", "a redboat", "a red boat.", "the red boat", "a red boat 2"]
    assert len({caption_key(text) for text in texts}) == len(texts)


@given(st.text(max_size=60))
def test_a_caption_s_key_does_not_change_when_it_is_written_otherwise(text: str):
    for other in (text.upper().lower().upper(), unicodedata.normalize("NFD", text), f"\t{text} "):
        if other.casefold() == text.casefold() or other.strip() == text.strip():
            assert caption_key(other) == caption_key(text)


def test_the_pair_is_both_together_and_several_pictures_count_in_order():
    one, two = one_color(3, 3), picture(np.zeros((3, 3, 3), np.uint8))
    pictures = [[one], [one], [two], [one, two], [two, one], [one, two]]
    values = keys(["a", "b", "a", "a", "a", "A"], pictures)
    pairs, images = values["duplicate.pair"], values["duplicate.image"]
    assert len({*pairs[:5]}) == 5
    assert pairs[5] == pairs[3]
    assert images[0] == images[1]
    assert images[3] == images[5]
    assert images[3] != images[4]
    assert all(isinstance(key, bytes) and len(key) == 16 for key in (*pairs, *images))


def test_nothing_is_taken_for_a_copy_among_many():
    texts: list[str | None] = [f"caption {n}" for n in range(5000)]
    found = keys(texts, [[one_color(1, 1)]] * 5000)
    assert len({*found["duplicate.pair"]}) == len({*found["duplicate.caption"]}) == 5000
    assert len({*found["duplicate.image"]}) == 1
