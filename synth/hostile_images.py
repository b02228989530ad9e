"""Picture files that must not decode, each with the reason of its death: cut, corrupt, empty, bombs, not pictures."""

import gzip
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from synth.odd_images import OddImage, encoded, png_chunk, png_file, scene

SIDE = 60_000  # of a bomb: 3.6 thousand million pixels


def hostile_images() -> Iterator[OddImage]:
    """Every one of them, with its reason."""
    families = {
        "Truncated": truncated(),
        "Corrupt": corrupt(),
        "DecompressionBomb": bombs(),
        "EmptyFile": iter([("empty.jpg", b"")]),
        "VectorImage": vectors(),
        "UnknownFormat": no_pictures(),
    }
    for reason, files in families.items():
        for name, data in files:
            yield OddImage(name, data, reason=reason, quadrants=None)


def noise() -> Image.Image:
    """Pixels that do not compress, so that a cut through a file is a cut through its pixels."""
    return Image.frombytes("RGB", (96, 64), random.Random(7).randbytes(96 * 64 * 3))


def truncated() -> Iterator[tuple[str, bytes]]:
    image = noise()
    whole = {
        "baseline.jpg": encoded(image, "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "picture.png": encoded(image, "PNG"),
        "picture.gif": encoded(image.quantize(256), "GIF"),
        "picture.webp": encoded(image, "WEBP"),
        "picture.avif": encoded(image, "AVIF"),
        "picture.jp2": encoded(image, "JPEG2000"),
        "picture.bmp": encoded(image, "BMP"),
        "picture.ppm": encoded(image, "PPM"),
        "picture.tif": encoded(image, "TIFF"),
        "packed.tif": encoded(image, "TIFF", compression="tiff_lzw"),
    }
    for name, data in whole.items():
        yield f"half_{name}", data[: len(data) // 2]
    for name in ("baseline.jpg", "progressive.jpg", "picture.png", "picture.webp", "picture.avif", "picture.tif"):
        yield f"less_one_{name}", whole[name][:-1]
    yield "header_only.jpg", whole["baseline.jpg"][:100]
    yield "start_only.jpg", b"\xff\xd8\xff\xe0"
    yield "signature_only.png", b"\x89PNG\r\n\x1a\n"
    yield "no_end_chunk.png", whole["picture.png"][:-12]
    frames = encoded(image.quantize(256), "GIF", save_all=True, append_images=[scene().quantize(16)])
    yield "second_frame_cut.gif", frames[:-400]


def corrupt() -> Iterator[tuple[str, bytes]]:
    png = bytearray(encoded(noise(), "PNG"))
    at = png.index(b"IDAT") + 1000
    flipped = bytearray(png)
    flipped[at] ^= 0x10
    yield "checksum.png", bytes(flipped)
    header = bytearray(png)
    header[18] ^= 1
    yield "header_checksum.png", bytes(header)
    rows = zlib.compress(b"\0" * (1501 * 500), 9)
    damaged = rows[:40] + b"\xff" * 40 + rows[80:]
    chunks = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 500, 500, 8, 2, 0, 0, 0)) + png_chunk(b"IDAT", damaged)
    yield "stream.png", b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")
    yield "no_width.png", png_file(0, 10, 8, 2, b"\0" * 10)
    noisy = random.Random(11)
    yield "noise_behind_signature.jpg", b"\xff\xd8\xff" + noisy.randbytes(3000) + b"\xff\xd9"
    riff = b"WEBPVP8 " + struct.pack("<I", 2000) + noisy.randbytes(2000)
    yield "noise_behind_signature.webp", b"RIFF" + struct.pack("<I", len(riff)) + riff


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that state or unfold into something huge."""
    yield "stated.png", png_file(SIDE, SIDE, 8, 2, b"\0" * 1000)
    jpeg = bytearray(encoded(scene(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", SIDE, SIDE)
    yield "stated.jpg", bytes(jpeg)
    gif = bytearray(encoded(scene().quantize(16), "GIF"))
    gif[6:10] = struct.pack("<HH", SIDE, SIDE)
    yield "stated.gif", bytes(gif)
    bmp = bytearray(encoded(scene(), "BMP"))
    bmp[18:26] = struct.pack("<ii", SIDE, SIDE)
    yield "stated.bmp", bytes(bmp)
    yield "stated.ppm", f"P6 {SIDE} {SIDE} 255\n".encode() + bytes(1000)
    rows = b"".join(b"\0" + bytes(SIDE // 8) for _ in range(2000))
    webp = bytearray(encoded(scene(), "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", 16383 | 16383 << 14)
    yield "stated.webp", bytes(webp)
    tags = [
        (256, 4, SIDE),
        (257, 4, SIDE),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, 1),
        (279, 4, 8),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    yield "stated.tif", b"II*\0" + struct.pack("<I", 16) + bytes(8) + directory
    yield "unfolding.png", png_file(SIDE, SIDE, 1, 0, rows)
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4 << 20), 9))
    yield "text.png", png_file(1, 1, 8, 2, b"\0\0\0\0", text)
    inner = png_file(SIDE, SIDE, 8, 2, b"\0" * 1000)
    yield "inside.ico", struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(inner), 22) + inner


def vectors() -> Iterator[tuple[str, bytes]]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
    yield "script.svg", svg
    yield "declared.svg", b'<?xml version="1.0"?>\n<!-- made by hand -->\n' + svg
    yield "svg_called.png", b"\xef\xbb\xbf  " + svg


def no_pictures() -> Iterator[tuple[str, bytes]]:
    yield "random.jpg", random.Random(3).randbytes(5000)
    yield "zeros.png", bytes(5000)
    yield "one_byte.gif", b"G"
    yield "not_found.jpg", b"<!doctype html><title>404</title><p>Not found</p>"
    yield "document.png", b"%PDF-1.7\n1 0 obj\n"
    yield "script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    yield "packed.svgz", gzip.compress(b"<svg xmlns='http://www.w3.org/2000/svg'/>", mtime=0)
    yield "text.jpg", "not a picture: ¿qué?".encode()
    yield "photoshop.psd", b"8BPS\0\1" + bytes(100)
