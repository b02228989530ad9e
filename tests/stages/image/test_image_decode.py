"""Every odd or hostile picture decodes as the pixel policy says, or dies of the right reason, in the real sandbox."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifests.document import Media
from manifests.errors import RecordError
from stages.image.containers import SIGNATURES, sniff
from stages.image.decode import OPEN, decode
from stages.image.decoded import THUMBNAIL, Decoded
from stages.image.decoder import Decoder, OpenDecoder
from stages.image.picture import Picture
from stages.sandbox.parent import Sandbox
from synth.hostile_images import hostile_images, noise
from synth.odd_images import HEIGHT, STORED, WIDTH, OddImage, encoded, exif, odd_images, scene

ODD, HOSTILE = list(odd_images()), list(hostile_images())
MAX_PIXELS = Decoder.max_pixels


@pytest.fixture(scope="module")
def decoder() -> Iterator[OpenDecoder]:
    with Decoder().open() as opened:
        yield opened


@pytest.fixture(scope="module")
def results(decoder: OpenDecoder) -> dict[str, Picture | RecordError]:
    files = [*ODD, *HOSTILE]
    found = decoder.decode([(Media.of(file.data, file.extension), file.data) for file in files])
    return {file.name: result for file, result in zip(files, found, strict=True)}


def show(file: OddImage) -> str:
    return file.name


@pytest.mark.parametrize("file", ODD, ids=show)
def test_an_odd_picture_decodes_as_the_policy_says(file: OddImage, results: dict[str, Picture | RecordError]):
    picture = results[file.name]
    assert isinstance(picture, Picture), picture
    facts = ("format", "mode", "width", "height", "frames", "orientation", "policy")
    assert {fact: getattr(picture, fact) for fact in facts} == {fact: getattr(file, fact) for fact in facts}
    assert (picture.extension, picture.data) == (file.extension, file.data)
    thumbnail = picture.thumbnail
    assert thumbnail.dtype == np.uint8
    assert max(thumbnail.shape[:2]) <= THUMBNAIL
    if file.quadrants is not None:
        rows, columns = (size * np.array([1, 3]) // 4 for size in thumbnail.shape[:2])
        seen = thumbnail[np.ix_(rows, columns)].reshape(4, 3).astype(int)
        assert np.abs(seen - file.quadrants).max() <= file.tolerance, seen.tolist()


@pytest.mark.parametrize("file", HOSTILE, ids=show)
def test_a_hostile_file_dies_of_its_reason(file: OddImage, results: dict[str, Picture | RecordError]):
    error = results[file.name]
    assert isinstance(error, RecordError), error
    assert error.reason == file.reason, error
    assert 0 < len(error.message) <= 1000


def test_no_message_names_this_process_or_machine(results: dict[str, Picture | RecordError]):
    for result in results.values():
        assert " at 0x" not in str(result) or isinstance(result, Picture)
        assert "/" not in getattr(result, "message", ""), result


def outcome(file: OddImage) -> bytes | str:
    try:
        return decode(file.data, MAX_PIXELS)
    except RecordError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_nothing_is_opened_late_so_the_sandbox_finds_what_a_plain_call_finds(
    results: dict[str, Picture | RecordError],
):
    for file in [*ODD, *HOSTILE]:
        plain, boxed = outcome(file), results[file.name]
        if isinstance(boxed, RecordError):
            assert plain == str(boxed)
        else:
            assert isinstance(plain, bytes)
            assert Decoded.from_bytes(plain).thumbnail == boxed.thumbnail.tobytes()


def test_a_picture_does_not_depend_on_those_before_it(decoder: OpenDecoder, results: dict[str, Picture | RecordError]):
    files = [*ODD, *HOSTILE]
    random.Random(1).shuffle(files)
    again = decoder.decode([(Media.of(file.data, file.extension), file.data) for file in files])
    for file, result in zip(files, again, strict=True):
        before = results[file.name]
        if isinstance(before, RecordError):
            assert str(result) == str(before)
        else:
            assert isinstance(result, Picture)
            assert np.array_equal(result.thumbnail, before.thumbnail)


def test_every_signature_has_a_plugin_and_no_other_plugin_is_used():
    assert {name for name, _ in SIGNATURES} == set(OPEN)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "PPM", "JPEG2000"])
def test_a_file_cut_anywhere_never_passes_for_a_picture(form: str):
    """But for the trailer of a GIF and the size of a BMP's last padding, which no viewer misses."""
    image = noise().resize((24, 16))
    whole = encoded(image.quantize(64) if form == "GIF" else image, form)
    spared = {"GIF": 1}.get(form, 0)
    for size in range(len(whole) - spared):
        with pytest.raises(RecordError) as caught:
            decode(whole[:size], MAX_PIXELS)
        expected = (
            {"EmptyFile"} if size == 0 else {"Truncated"} if size >= 100 else {"Truncated", "UnknownFormat", "Corrupt"}
        )
        assert caught.value.reason in expected, (size, str(caught.value))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_decoded_at_a_smaller_scale_is_still_found_cut(progressive: bool):
    whole = encoded(noise().resize((1024, 683)), "JPEG", progressive=progressive)
    for size in range(700, len(whole), len(whole) // 40):
        with pytest.raises(RecordError, match="Truncated"):
            decode(whole[:size], MAX_PIXELS)
    with pytest.raises(RecordError, match="Truncated"):
        decode(whole[:-1], MAX_PIXELS)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"P6 9 9 255 "]),
)
def test_any_bytes_at_all_give_a_picture_or_a_reason(data: bytes, signature: bytes):
    try:
        reason = Decoded.from_bytes(decode(signature + data, MAX_PIXELS)).format
    except RecordError as error:
        reason = error.reason
    assert reason in {*OPEN, "EmptyFile", "UnknownFormat", "VectorImage", "Truncated", "Corrupt", "DecompressionBomb"}


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["L", "RGB"]))
def test_a_thumbnail_is_the_mean_over_squares(width: int, height: int, mode: str):
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, len(mode)), np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)
    found = Decoded.from_bytes(decode(encoded(image, "PNG", compress_level=1), MAX_PIXELS))
    factor = -(-max(width, height) // THUMBNAIL)
    assert (found.columns, found.rows) == (-(-width // factor), -(-height // factor))
    thumbnail = np.frombuffer(found.thumbnail, np.uint8).reshape(found.rows, found.columns, 3)
    for row, column in ((0, 0), (found.rows - 1, found.columns - 1), (found.rows // 2, 0)):
        square = pixels[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert np.abs(thumbnail[row, column] - square.mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_a_rotation_by_exif_is_applied_to_the_size_and_to_the_pixels(orientation: int):
    """As the peers' tools do not: they give the stored size and show the picture on its side."""
    stored = scene(320, 200).transpose(STORED[orientation])
    found = Decoded.from_bytes(decode(encoded(stored, "JPEG", quality=95, exif=exif(orientation)), MAX_PIXELS))
    assert (found.width, found.height) == (320, 200)
    thumbnail = np.frombuffer(found.thumbnail, np.uint8).reshape(found.rows, found.columns, 3)
    upright = np.asarray(scene(320, 200).resize((found.columns, found.rows), Image.Resampling.BOX))
    assert np.abs(thumbnail[3:-3, 3:-3].astype(int) - upright[3:-3, 3:-3]).mean() < 6


def test_the_same_bytes_are_decoded_once_and_keep_their_own_names():
    data, other = encoded(scene(), "PNG"), encoded(scene(), "BMP")
    files = [(data, "png"), (other, "bmp"), (data, "jpg"), (data, "png")]
    with Sandbox("stages.image.decode:decode", {"max_pixels": MAX_PIXELS}) as sandbox:
        found = OpenDecoder(sandbox).decode([(Media.of(content, extension), content) for content, extension in files])
        assert sandbox.records == 2
        assert all(isinstance(picture, Picture) for picture in found)
        assert [(picture.data, picture.extension) for picture in found if isinstance(picture, Picture)] == files


def test_a_byte_behind_the_end_changes_the_content_but_not_what_is_seen():
    for form in ("JPEG", "PNG", "GIF"):
        whole = encoded(scene().quantize(16) if form == "GIF" else scene(), form)
        assert decode(whole + b"\x01", MAX_PIXELS) == decode(whole, MAX_PIXELS)


def test_the_limit_of_pixels_is_a_setting_and_is_read_from_the_header():
    data = encoded(scene(), "PNG")
    assert decode(data, WIDTH * HEIGHT)
    with pytest.raises(RecordError, match=r"DecompressionBomb: 96 x 64 is 6,144 pixels, more than 6,143"):
        decode(data, WIDTH * HEIGHT - 1)
    with Decoder(max_pixels=6143).open() as opened:
        (result,) = opened.decode([(Media.of(data, "png"), data)])
    assert isinstance(result, RecordError)


def test_a_larger_thumbnail_may_be_asked_for():
    data = encoded(scene(1000, 500), "JPEG")
    with Decoder().open(side=400) as opened:
        (picture,) = opened.decode([(Media.of(data, "jpg"), data)])
    assert isinstance(picture, Picture)
    assert picture.thumbnail.shape == (125, 250, 3)


def test_a_svg_is_known_by_its_content_wherever_it_begins():
    with pytest.raises(RecordError, match="VectorImage"):
        sniff(b"<?xml version='1.0'?><!--" + b" " * 3000 + b"--><svg>")
    with pytest.raises(RecordError, match="UnknownFormat"):
        sniff(b"<html><body>a page about svg</body></html>")
