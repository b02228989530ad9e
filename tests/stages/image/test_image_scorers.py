"""Sizes, shapes, flatness, information and file sanity of pictures whose values are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import Media
from stages.guard import guarded
from stages.image.aspect_ratio import AspectRatio
from stages.image.decoder import Decoder
from stages.image.file_sanity import FileSanity
from stages.image.information import Information
from stages.image.picture import Picture
from stages.image.size import Size
from stages.image.solid_color import SolidColor
from stages.scorer import Batch, Scorer
from synth.odd_images import encoded, exif, odd_images, scene
from tests.stages.toys import document, one_color, picture, random_picture


def value(scorer: Scorer, shown: Picture, name: str) -> float:
    values, dead = guarded(scorer, Batch([document("x", None, [shown])], [[shown]]))
    assert dead == []
    return values[name][0]


def grey(levels: np.ndarray) -> Picture:
    return picture(np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2))


def decoded(*files: tuple[bytes, str]) -> list[Picture]:
    with Decoder().open() as decoder:
        found = decoder.decode([(Media.of(data, extension), data) for data, extension in files])
    return [item for item in found if isinstance(item, Picture)]


def test_sizes_are_those_displayed():
    (turned,) = decoded((encoded(scene(300, 200), "JPEG", exif=exif(6)), "jpg"))
    sizes = {
        name: value(Size(), turned, f"image.{name}")
        for name in ("width", "height", "short_side", "long_side", "pixels")
    }
    assert sizes == {"width": 200, "height": 300, "short_side": 200, "long_side": 300, "pixels": 60_000}


def test_the_most_pixels_that_decode_fit_their_column():
    vast = picture(np.zeros((1, 1, 3), np.uint8), width=1, height=Decoder.max_pixels)
    assert value(Size(), vast, "image.pixels") == Decoder.max_pixels


@pytest.mark.parametrize(("width", "height"), [(300, 100), (100, 300)])
def test_the_aspect_ratio_is_the_same_both_ways(width: int, height: int):
    assert value(AspectRatio(), one_color(width, height), "image.aspect_ratio") == 3


def test_one_colour_is_wholly_solid_and_has_no_information():
    flat = one_color(40, 30)
    assert value(SolidColor(), flat, "image.solid_share") == 1
    assert value(Information(), flat, "image.entropy") == 0
    assert value(Information(), flat, "image.contrast") == 0


def test_the_solid_share_is_that_of_the_background():
    pixels = np.full((10, 10, 3), (250, 250, 250), np.uint8)
    pixels[:3] = (10, 200, 30)
    assert value(SolidColor(), picture(pixels), "image.solid_share") == pytest.approx(0.7)


def test_near_is_by_the_farthest_channel_and_a_setting():
    pixels = np.full((10, 10, 3), 100, np.uint8)
    pixels[:4, :, 1] = 108
    assert value(SolidColor(), picture(pixels), "image.solid_share") == 1
    pixels[:4, :, 1] = 109
    assert value(SolidColor(), picture(pixels), "image.solid_share") == pytest.approx(0.6)
    assert value(SolidColor(tolerance=9), picture(pixels), "image.solid_share") == 1


def test_entropy_counts_greys_in_bits():
    halves = np.zeros((8, 8))
    halves[:, 4:] = 255
    assert value(Information(), grey(halves), "image.entropy") == 1
    assert value(Information(), grey(halves), "image.contrast") == 127.5
    assert value(Information(), grey(np.arange(256).reshape(16, 16)), "image.entropy") == 8


@given(st.integers(0, 1000))
def test_information_is_what_its_formula_says(seed: int):
    shown = random_picture(seed)
    channels = shown.thumbnail.astype(int)
    levels = (77 * channels[..., 0] + 150 * channels[..., 1] + 29 * channels[..., 2] + 128) >> 8
    _, counts = np.unique(levels, return_counts=True)
    shares = counts / counts.sum()
    entropy = -sum(share * math.log2(share) for share in shares)
    assert value(Information(), shown, "image.entropy") == pytest.approx(entropy, abs=1e-4)
    assert value(Information(), shown, "image.contrast") == pytest.approx(levels.std(), abs=1e-3)


@given(st.integers(0, 1000), st.integers(0, 40))
def test_the_solid_share_is_what_its_formula_says(seed: int, tolerance: int):
    shown = random_picture(seed)
    pixels = shown.thumbnail.reshape(-1, 3).astype(int)
    median = np.sort(pixels, axis=0)[(len(pixels) - 1) // 2]
    share = (np.abs(pixels - median).max(axis=1) <= tolerance).mean()
    assert value(SolidColor(tolerance), shown, "image.solid_share") == pytest.approx(share, abs=1e-6)


def test_a_name_that_lies_is_seen():
    jpeg, png = encoded(scene(), "JPEG"), encoded(scene(), "PNG")
    names = [(jpeg, "jpg"), (jpeg, "jpeg"), (jpeg, "png"), (png, "jpg"), (png, "php"), (png, "")]
    matches = [value(FileSanity(), shown, "image.extension_matches") for shown in decoded(*names)]
    assert matches == [True, True, False, False, None, None]


def test_bytes_behind_the_end_are_counted():
    files = {
        form: encoded(scene().quantize(8) if form == "GIF" else scene(), form)
        for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP")
    }
    clean = [
        value(FileSanity(), shown, "image.trailing_bytes") for shown in decoded(*((d, "x") for d in files.values()))
    ]
    behind = [
        value(FileSanity(), shown, "image.trailing_bytes")
        for shown in decoded(*((d + b"PK\x03\x04", "x") for d in files.values()))
    ]
    assert clean == [0, 0, 0, 0, None]
    assert behind == [4, 4, 4, 4, None]


def test_formats_and_frames_are_those_of_the_content():
    wanted = {"animated.gif": ("GIF", 3), "phone.jpg": ("JPEG", 1), "png_called.jpg": ("PNG", 1)}
    files = [file for file in odd_images() if file.name in wanted]
    shown = decoded(*((file.data, file.extension) for file in files))
    found = [(value(FileSanity(), p, "image.format"), value(FileSanity(), p, "image.frames")) for p in shown]
    assert dict(zip((file.name for file in files), found, strict=True)) == wanted


def test_bytes_per_pixel():
    assert value(FileSanity(), one_color(8, 4), "image.bytes_per_pixel") == 3
