import io

import numpy as np
import pytest
from PIL import Image

from pipelines.audit.thumbnails import QUALITIES, Drawn, data_uri, encode, text_size, within

NOISE = {str(i): Drawn(np.random.default_rng(i).integers(0, 256, (200, 150, 3), np.uint8), 24, 18) for i in range(16)}


def test_a_thumbnail_is_webp_of_the_pixels_and_nothing_else():
    picture = Image.open(io.BytesIO(encode(NOISE["0"].pixels, 160, 70)))
    assert (picture.format, picture.size, picture.mode) == ("WEBP", (120, 160), "RGB")
    assert set(picture.info) <= {"loop", "background", "timestamp", "duration"}


def test_small_pictures_are_not_blown_up():
    assert Image.open(io.BytesIO(encode(NOISE["0"].pixels[:24, :20], 160, 70))).size == (20, 24)


def test_the_same_pixels_give_the_same_bytes():
    assert encode(NOISE["3"].pixels, 160, 50) == encode(NOISE["3"].pixels.copy(), 160, 50)


@pytest.mark.parametrize("budget", [10_000_000, 100_000, 20_000, 500])
def test_pictures_stay_within_the_budget_wherever_they_are_shown(budget):
    shown = [*NOISE, *list(NOISE)[:6], "unknown"]
    encoded = within(NOISE, shown, budget)
    assert sum(text_size(encoded[name]) for name in shown if name in encoded) <= budget
    assert len(data_uri(encoded["0"])) <= text_size(encoded["0"]) if encoded else budget <= 500


def test_the_best_quality_that_fits_is_taken_and_the_first_places_go_first():
    best = within(NOISE, list(NOISE), 10_000_000)
    assert best["0"] == encode(NOISE["0"].pixels, *QUALITIES[0])
    few = within(NOISE, list(NOISE), 8_000)
    assert 0 < len(few) < 16
    assert list(few) == list(NOISE)[: len(few)]
