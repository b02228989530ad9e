"""Odd and hostile pictures, each with what must become of it: the material of tests and of hardening by hand.

Every whole picture shows the same thing, four quadrants (red, green / blue, yellow) of 96 x 64 pixels as displayed,
so that a lost rotation, a wrong colour conversion or a swapped channel shows. The same bytes in every run with one
version of Pillow.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 96, 64
RED, GREEN, BLUE, YELLOW = (220, 40, 40), (40, 180, 60), (40, 60, 200), (230, 220, 60)
WHITE = (255, 255, 255)
QUADRANTS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right
STORED = {  # how a camera stores what is displayed after its EXIF orientation is applied
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class OddImage:
    """A picture file and what must become of it.

    name: a file name; its extension is a lie in some. reason: of its death, or None where it decodes, and then:
    format, mode, width, height, frames, orientation, policy as in `stages.image.picture`.
    quadrants: the colour in the middle of each quadrant as displayed, to within `tolerance` a channel, if stated.
    """

    name: str
    data: bytes
    reason: str | None = None
    format: str = "PNG"
    mode: str = "RGB"
    width: int = WIDTH
    height: int = HEIGHT
    frames: int = 1
    orientation: int = 1
    policy: str = ""
    quadrants: tuple[Color, Color, Color, Color] | None = QUADRANTS
    tolerance: int = 2

    @property
    def extension(self) -> str:
        return self.name.rpartition(".")[2]


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """The four quadrants, RGB."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(width: int, height: int, depth: int, color: int, rows: bytes, *before: bytes) -> bytes:
    """A PNG of these filtered rows; before: whole chunks that stand between IHDR and IDAT."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + body + png_chunk(b"IEND", b"")


def grey(color: Color) -> Color:
    """As Pillow makes grey of a colour."""
    value = (color[0] * 19595 + color[1] * 38470 + color[2] * 7471 + 0x8000) >> 16
    return value, value, value


GREYS = (grey(RED), grey(GREEN), grey(BLUE), grey(YELLOW))


def odd_images() -> Iterator[OddImage]:
    """Pictures that decode, however odd they are."""
    for family in (plain, pixel_modes, deep_pixels, transparent, animated, rotated, containers, deceiving):
        yield from family()


def plain() -> Iterator[OddImage]:
    image = scene()
    yield OddImage("baseline.jpg", encoded(image, "JPEG", quality=95), format="JPEG", tolerance=8)
    progressive = encoded(image, "JPEG", quality=95, progressive=True)
    yield OddImage("progressive.jpg", progressive, format="JPEG", tolerance=8)
    large = encoded(scene(1920, 1280), "JPEG", quality=90)
    yield OddImage("scaled.jpg", large, format="JPEG", width=1920, height=1280, tolerance=8)
    yield OddImage("truecolor.png", encoded(image, "PNG"))
    yield OddImage("lossless.webp", encoded(image, "WEBP", lossless=True), format="WEBP")
    yield OddImage("lossy.webp", encoded(image, "WEBP", quality=95), format="WEBP", tolerance=12)
    yield OddImage("picture.avif", encoded(image, "AVIF", quality=95), format="AVIF", tolerance=12)
    yield OddImage("picture.bmp", encoded(image, "BMP"), format="BMP")
    yield OddImage("picture.tif", encoded(image, "TIFF", compression="tiff_lzw"), format="TIFF")
    yield OddImage("picture.jp2", encoded(image, "JPEG2000"), format="JPEG2000")
    yield OddImage("picture.ppm", encoded(image, "PPM"), format="PPM")
    dot = png_file(1, 1, 8, 2, b"\0" + bytes(RED))
    yield OddImage("dot.png", dot, width=1, height=1, quadrants=(RED, RED, RED, RED))
    line = encoded(Image.new("RGB", (1, 5000), BLUE), "PNG")
    yield OddImage("line.png", line, width=1, height=5000, quadrants=(BLUE, BLUE, BLUE, BLUE))


def pixel_modes() -> Iterator[OddImage]:
    image = scene()
    cmyk = image.convert("CMYK")
    yield OddImage(
        "cmyk.jpg", encoded(cmyk, "JPEG", quality=95), format="JPEG", mode="CMYK", policy="cmyk", tolerance=8
    )
    yield OddImage("cmyk.tif", encoded(cmyk, "TIFF"), format="TIFF", mode="CMYK", policy="cmyk")
    lab = encoded(Image.new("LAB", (WIDTH, HEIGHT), (128, 128, 128)), "TIFF")
    yield OddImage("lab.tif", lab, format="TIFF", mode="LAB", policy="lab", quadrants=None)
    yield OddImage("grey.png", encoded(image.convert("L"), "PNG"), mode="L", quadrants=GREYS)
    yield OddImage(
        "grey.jpg",
        encoded(image.convert("L"), "JPEG", quality=95),
        format="JPEG",
        mode="L",
        quadrants=GREYS,
        tolerance=8,
    )
    bits = image.convert("L").point(lambda value: 255 * (value > 100), "1")
    black_white = tuple(WHITE if color[0] > 100 else (0, 0, 0) for color in GREYS)
    yield OddImage("bilevel.png", encoded(bits, "PNG"), mode="1", quadrants=black_white)  # type: ignore[arg-type]
    palette = image.quantize(16)
    yield OddImage("palette.png", encoded(palette, "PNG"), mode="P")
    yield OddImage("palette.gif", encoded(palette, "GIF"), format="GIF", mode="P")
    icc = encoded(image, "JPEG", quality=95, icc_profile=b"a profile that is not applied")
    yield OddImage("profile.jpg", icc, format="JPEG", policy="icc-ignored", tolerance=8)


def deep_pixels() -> Iterator[OddImage]:
    """More than 8 bits a channel: nothing may clip to white, which is what a plain conversion does."""
    levels = tuple((value, value, value) for value in (0x20, 0x60, 0xA0, 0xE0))
    deep = [level[0] * 256 + 77 for level in levels]
    half = WIDTH // 2

    def rows(pack: Callable[[int], bytes], start: bytes = b"") -> bytes:
        top = start + pack(deep[0]) * half + pack(deep[1]) * half
        bottom = start + pack(deep[2]) * half + pack(deep[3]) * half
        return top * (HEIGHT // 2) + bottom * (HEIGHT // 2)

    def big(value: int) -> bytes:
        return struct.pack(">H", value)

    def of(form: str, mode: str) -> dict[str, Any]:
        return {"format": form, "mode": mode, "policy": "16bit", "quadrants": levels}

    grey16 = png_file(WIDTH, HEIGHT, 16, 0, rows(big, b"\0"))
    yield OddImage("grey16.png", grey16, **of("PNG", "I;16"))
    key = png_chunk(b"tRNS", big(deep[1]))
    yield OddImage("grey16_key.png", png_file(WIDTH, HEIGHT, 16, 0, rows(big, b"\0"), key), **of("PNG", "I;16"))
    color16 = png_file(WIDTH, HEIGHT, 16, 2, rows(lambda value: big(value) * 3, b"\0"))
    yield OddImage("color16.png", color16, **of("PNG", "RGB"))
    image16 = Image.frombytes("I;16", (WIDTH, HEIGHT), rows(lambda value: struct.pack("<H", value)))
    yield OddImage("grey16.tif", encoded(image16, "TIFF"), **of("TIFF", "I;16"))
    header = f"P5 {WIDTH} {HEIGHT} 65535\n".encode()
    yield OddImage("grey16.pgm", header + rows(big), **of("PPM", "I"))
    unit = Image.frombytes("F", (WIDTH, HEIGHT), rows(lambda value: struct.pack("<f", value / 65535)))
    yield OddImage("unit.tif", encoded(unit, "TIFF"), **{**of("TIFF", "F"), "policy": "float"})
    span = tuple((value, value, value) for value in (0, 85, 170, 255))
    wide = Image.frombytes("F", (WIDTH, HEIGHT), rows(lambda value: struct.pack("<f", value * 1e6 - 3e9)))
    yield OddImage("wide.tif", encoded(wide, "TIFF"), format="TIFF", mode="F", policy="stretched", quadrants=span)  # type: ignore[arg-type]


def transparent() -> Iterator[OddImage]:
    """The right half is transparent; what lies under it is black and must not show."""
    image = scene()
    mask = Image.new("L", (WIDTH, HEIGHT), 255)
    mask.paste(0, (WIDTH // 2, 0, WIDTH, HEIGHT))
    left = Image.composite(image, Image.new("RGB", image.size), mask)
    seen: Any = {"policy": "alpha", "quadrants": (RED, WHITE, BLUE, WHITE)}
    rgba = left.copy()
    rgba.putalpha(mask)
    yield OddImage("alpha.png", encoded(rgba, "PNG"), mode="RGBA", **seen)
    yield OddImage("alpha.webp", encoded(rgba, "WEBP", lossless=True), format="WEBP", mode="RGBA", **seen)
    half = image.copy()
    half.putalpha(128)
    pale: Any = tuple(tuple(round((c * 128 + 255 * 127) / 255) for c in color) for color in QUADRANTS)
    yield OddImage("half.png", encoded(half, "PNG"), mode="RGBA", policy="alpha", quadrants=pale)
    opaque = image.copy()
    opaque.putalpha(255)
    yield OddImage("opaque.png", encoded(opaque, "PNG"), mode="RGBA")
    la = left.convert("L")
    la.putalpha(mask)
    grey_seen: Any = {"policy": "alpha", "quadrants": (GREYS[0], WHITE, GREYS[2], WHITE)}
    yield OddImage("grey_alpha.png", encoded(la, "PNG"), mode="LA", **grey_seen)
    yield OddImage("color_key.png", encoded(left, "PNG", transparency=(0, 0, 0)), **seen)
    palette = left.quantize(8)
    black = palette.getpixel((WIDTH - 1, 0))
    yield OddImage("palette_index.png", encoded(palette, "PNG", transparency=black), mode="P", **seen)
    alphas = bytes({black: 0, palette.getpixel((0, 0)): 128}.get(index, 255) for index in range(8))
    pale_red = {**seen, "quadrants": (pale[0], WHITE, BLUE, WHITE)}
    yield OddImage("palette_alphas.png", encoded(palette, "PNG", transparency=alphas), mode="P", **pale_red)
    yield OddImage("transparent.gif", encoded(palette, "GIF", transparency=black), format="GIF", mode="P", **seen)
    unused = encoded(image.quantize(8), "PNG", transparency=200)
    yield OddImage("unused_transparency.png", unused, mode="P")


def animated() -> Iterator[OddImage]:
    """Three frames, of which the first is the picture."""
    image = scene()
    others = [Image.new("RGB", image.size, color) for color in (BLUE, GREEN)]
    more: Any = {"save_all": True, "append_images": others}
    moving: Any = {"frames": 3, "policy": "first-frame"}
    gif = encoded(image.quantize(16), "GIF", save_all=True, append_images=[o.quantize(4) for o in others])
    yield OddImage("animated.gif", gif, format="GIF", mode="P", **moving)
    webp = encoded(image, "WEBP", lossless=True, **more)
    yield OddImage("animated.webp", webp, format="WEBP", mode="RGBA", **moving)
    yield OddImage("animated.png", encoded(image, "PNG", **more), **moving)
    yield OddImage("pages.tif", encoded(image, "TIFF", **more), format="TIFF", **moving)
    avif = without_times(encoded(image, "AVIF", quality=95, **more))
    yield OddImage("sequence.avif", avif, format="AVIF", tolerance=12, **moving)


def without_times(data: bytes) -> bytes:
    """An AVIF sequence whose headers say when it was made, without that."""
    out = bytearray(data)
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        at = out.find(kind)
        while at >= 0:
            size = 16 if out[at + 4] == 1 else 8  # version 1 has 64-bit times
            out[at + 8 : at + 8 + size] = bytes(size)
            at = out.find(kind, at + 1)
    return bytes(out)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def rotated() -> Iterator[OddImage]:
    """Each stored so that its EXIF orientation, applied, shows the same scene."""
    for orientation in range(1, 9):
        stored = scene() if orientation == 1 else scene().transpose(STORED[orientation])
        policy = "" if orientation == 1 else f"exif:{orientation}"
        said: Any = {"orientation": orientation, "policy": policy}
        jpeg = encoded(stored, "JPEG", quality=95, exif=exif(orientation))
        yield OddImage(f"orientation{orientation}.jpg", jpeg, format="JPEG", tolerance=8, **said)
    turned = scene().transpose(STORED[6])
    said = {"orientation": 6, "policy": "exif:6"}
    yield OddImage("orientation6.png", encoded(turned, "PNG", exif=exif(6)), **said)
    webp = encoded(turned, "WEBP", lossless=True, exif=exif(6))
    yield OddImage("orientation6.webp", webp, format="WEBP", **said)
    yield OddImage("orientation6.tif", encoded(turned, "TIFF", exif=exif(6)), format="TIFF", **said)
    avif = encoded(turned, "AVIF", quality=95, exif=exif(6))
    yield OddImage("orientation6.avif", avif, format="AVIF", tolerance=12, **said)
    nonsense = encoded(scene(), "JPEG", quality=95, exif=exif(9))
    yield OddImage("orientation9.jpg", nonsense, format="JPEG", tolerance=8)
    broken = encoded(scene(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    yield OddImage("broken_exif.jpg", broken, format="JPEG", tolerance=8)


def containers() -> Iterator[OddImage]:
    """Files that hold other pictures beside the one that counts."""
    image = scene()
    phone = encoded(image, "MPO", quality=95, save_all=True, append_images=[image.resize((48, 32))])
    yield OddImage("phone.jpg", phone, format="JPEG", policy="mpo", tolerance=8)
    icon = encoded(scene(64, 64), "ICO", sizes=[(16, 16), (64, 64)])
    yield OddImage("icon.ico", icon, format="ICO", width=64, height=64)


def deceiving() -> Iterator[OddImage]:
    """Files that are something else too, or not what they are called; the picture in them is whole."""
    image = scene()
    jpeg, png = encoded(image, "JPEG", quality=95), encoded(image, "PNG")
    yield OddImage("png_called.jpg", png)
    yield OddImage("jpeg_called.png", jpeg, format="JPEG", tolerance=8)
    yield OddImage("jpeg_called.html", jpeg, format="JPEG", tolerance=8)
    yield OddImage("trailing.jpg", jpeg + b"\0" * 100, format="JPEG", tolerance=8)
    archive = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)
    yield OddImage("archive_behind.png", png + archive)
    script = encoded(image.quantize(16), "GIF") + b"/*GIF*/=1;alert(1);"
    yield OddImage("script_behind.gif", script, format="GIF", mode="P")
    page = png_file(1, 1, 8, 2, b"\0" + bytes(RED), png_chunk(b"tEXt", b"Comment\0<script>alert(1)</script>"))
    yield OddImage("script_inside.png", page, width=1, height=1, quadrants=(RED, RED, RED, RED))
