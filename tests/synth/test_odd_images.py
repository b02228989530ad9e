"""Odd and hostile pictures are the same in every run, and each has a name of its own."""

from synth.hostile_images import hostile_images
from synth.odd_images import odd_images


def test_the_same_bytes_in_every_run():
    first, again = ([*odd_images(), *hostile_images()] for _ in range(2))
    assert [file.name for file, other in zip(first, again, strict=True) if file != other] == []


def test_names_and_bytes_are_their_own():
    files = [*odd_images(), *hostile_images()]
    assert len({file.name for file in files}) == len(files)
    contents = [file.data for file in files if not file.name.startswith(("png_called", "jpeg_called"))]
    assert len({*contents}) == len(contents)


def test_every_reason_of_the_decoder_is_there():
    reasons = {file.reason for file in hostile_images()}
    assert reasons == {"Truncated", "Corrupt", "DecompressionBomb", "EmptyFile", "VectorImage", "UnknownFormat"}
    assert {file.reason for file in odd_images()} == {None}
    assert {file.orientation for file in odd_images()} == {*range(1, 9)}


def test_a_hostile_file_is_small_however_large_it_unfolds():
    assert max(len(file.data) for file in hostile_images()) < 100_000
