import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import Document, Media, Segment, Source, canonical_json, uid_of
from manifests.regions import Region, from_per_mille, to_per_mille, to_pixels


def pair(caption: str = "a red barn", data: bytes = b"pixels") -> Document:
    return Document(
        uid=uid_of("farm", "barn.jpg"),
        source=Source("farm", "https://example.org/barn", {"path": "barn.jpg"}, "CC0-1.0"),
        segments=(
            Segment("image", media=Media.of(data, ".JPG"), regions=(Region((1, 2, 3.5, 4), label="barn"),)),
            Segment("text", text=caption, loss=True),
        ),
        facts={"caption": {"from": "alt"}},
    )


def test_a_document_survives_json():
    assert Document.from_json(json.loads(canonical_json(pair().to_json()))) == pair()


def test_uid_is_the_first_128_bits_of_sha256_over_source_zero_key():
    # printf 'farm\0barn.jpg' | sha256sum
    import hashlib

    assert uid_of("farm", "barn.jpg") == hashlib.sha256(b"farm\0barn.jpg").hexdigest()[:32]
    assert uid_of("far", "mbarn.jpg") != uid_of("farm", "barn.jpg")


def test_uid_takes_names_that_are_not_utf8():
    assert uid_of("farm", "b\udcffrn.jpg") != uid_of("farm", "b\udcfern.jpg")


def test_digest_sees_content_and_not_where_it_was_found():
    moved = Document(pair().uid, Source("farm", locator={"path": "elsewhere"}), pair().segments, facts=pair().facts)
    assert moved.digest() == pair().digest()
    assert pair("a blue barn").digest() != pair().digest()
    assert pair(data=b"other").digest() != pair().digest()


@pytest.mark.parametrize("wrong", [{"kind": "text"}, {"kind": "image"}, {"kind": "image", "text": "x"}])
def test_a_segment_is_text_or_media(wrong):
    with pytest.raises(ValueError, match="segment has"):
        Segment(**wrong)


@given(st.text(st.characters(codec=None), max_size=40))
def test_canonical_json_takes_any_text(text):
    assert json.loads(canonical_json({"text": text})) == {"text": text}


cells = st.integers(0, 999)
sides = st.integers(1, 20_000)


@given(cells, cells, cells, cells, sides, sides)
def test_per_mille_to_pixels_and_back_is_exact(a, b, c, d, width, height):
    box = (min(a, c), min(b, d), max(a, c), max(b, d))
    assert to_per_mille(from_per_mille(box, width, height), width, height) == box


@given(st.floats(0, 1), st.floats(0, 1), sides)
def test_pixels_to_per_mille_and_back_is_within_half_a_step(a, b, side):
    box = (min(a, b) * side, 0.0, max(a, b) * side, float(side))
    back = from_per_mille(to_per_mille(box, side, side), side, side)
    assert all(abs(x - y) <= side / 1000 / 2 * (1 + 1e-9) for x, y in zip(box, back, strict=True))


@pytest.mark.parametrize(
    ("convention", "box"),
    [
        ("xyxy", (10, 20, 30, 60)),
        ("xywh", (10, 20, 20, 40)),
        ("unit_xyxy", (0.1, 0.1, 0.3, 0.3)),
        ("unit_xywh", (0.1, 0.1, 0.2, 0.2)),
        ("thousand_xyxy", (100, 100, 300, 300)),
    ],
)
def test_conventions_become_pixels(convention, box):
    assert to_pixels(box, convention, 100, 200) == pytest.approx((10, 20, 30, 60))


@pytest.mark.parametrize(
    ("convention", "box"),
    [("unit_xyxy", (0, 0, 2, 1)), ("thousand_xyxy", (0, 0, 1001, 5)), ("per_mille", (0, 0, 1000, 1))],
)
def test_a_box_that_cannot_be_in_the_stated_convention_is_refused(convention, box):
    with pytest.raises(ValueError, match="box"):
        to_pixels(box, convention, 100, 100)


def test_a_box_with_a_negative_side_is_refused():
    with pytest.raises(ValueError, match="negative side"):
        Region((5, 0, 1, 1))
