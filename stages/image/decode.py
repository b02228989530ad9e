"""Decodes one picture, inside the sandbox: facts of its header and a small RGB thumbnail, by an explicit pixel policy.

Every picture is decoded to its end, which is how a cut one is found; a JPEG at the smallest DCT scale that still gives
the thumbnail, which costs half of a whole decode and reads every coded byte all the same.

The pixel policy. What it did is recorded, comma-separated, in this order:
    mpo           a JPEG with further pictures behind it (phones, stereo): the first is the picture, as browsers show it
    first-frame   animated or of several pages: the first frame is the picture
    exif:2-8      the EXIF orientation is applied, to the size too
    icc-ignored   a colour profile is there and not applied: values are read as sRGB
    16bit         16 bits a channel become 8 by their high byte; nothing is clipped
    stretched     integers beyond 16 bits and floats outside 0-1: their own minimum to maximum becomes 0-255
    float         floats in 0-1 become 0-255
    cmyk          converted to RGB without a profile (Adobe's inverted values are turned round)
    ycbcr, lab    converted to RGB
    alpha         not all pixels are opaque: composited on white
Palettes, grey and 1 bit become RGB without loss and are told by the picture's mode.

Only these formats are opened, by their signature and never by their name: JPEG (and MPO), PNG, WebP, GIF, AVIF,
JPEG 2000, TIFF, BMP, ICO, PNM. What ends in an error has one of these reasons: EmptyFile, UnknownFormat, VectorImage,
DecompressionBomb (more than max_pixels, by its header), Truncated, Corrupt; more come from the sandbox.
"""

import math
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,  # noqa: F401 - Pillow imports it when it meets LAB, and the sandbox lets nothing be opened by then
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from manifests.errors import RecordError
from stages.image.containers import frames_of, sniff, webp_size
from stages.image.decoded import THUMBNAIL, Decoded

OPEN: dict[str, Callable[..., ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "ICO": IcoImagePlugin.IcoImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
ORIENTATION = 0x0112  # EXIF tag
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = range(5, 9)  # orientations that swap width and height
CONVERTED = {"CMYK": "cmyk", "YCbCr": "ycbcr", "LAB": "lab"}
NEEDED = {"JPEG": b"\xff\xd9", "AVIF": b"mdat"}  # where these bytes are nowhere, the file was cut before them
ADDRESS = re.compile(r"<[^>]* at 0x[0-9a-f]+>")

AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def decode(data: bytes, max_pixels: int, side: int = THUMBNAIL) -> bytes:
    """`Decoded.to_bytes()` of one picture file. Raises RecordError with one of the reasons above.

    side: the most pixels that a side of the thumbnail has; scores are of the default.
    """
    form = sniff(data)
    frames = frames_of(form, data)
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels // 2  # Pillow refuses twice that in pictures inside pictures (ICO, GIF frames)
    try:
        return picture(data, form, frames, max_pixels, side).to_bytes()
    except (RecordError, MemoryError, ImportError, NameError):
        raise
    except Image.DecompressionBombError as error:
        raise RecordError("DecompressionBomb", str(error)) from None
    except Exception as error:  # Pillow's plugins raise whatever a broken file makes of them
        raise broken(form, data, error) from None
    finally:
        Image.MAX_IMAGE_PIXELS = before


def broken(form: str, data: bytes, error: Exception) -> RecordError:
    """Why Pillow could not decode it."""
    spoken = isinstance(error, OSError | SyntaxError | ValueError) and str(error)
    message = ADDRESS.sub("the file", f"{form}: {spoken or repr(error)}")
    if "Decompressed data too large" in message or "too much memory" in message.lower():
        return RecordError("DecompressionBomb", message)
    no_end = form in NEEDED and NEEDED[form] not in data
    if no_end or "truncated" in message.lower() or isinstance(error, EOFError):
        return RecordError("Truncated", message)
    return RecordError("Corrupt", message)


def picture(data: bytes, form: str, frames: int, max_pixels: int, side: int) -> Decoded:
    if form == "WEBP":
        check_size(*webp_size(data), max_pixels)  # Pillow makes room for all pixels when it opens one
    image: Image.Image = OPEN[form](BytesIO(data))
    mode, (width, height) = image.mode, image.size
    check_size(width, height, max_pixels)
    policy: list[str] = []
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        policy.append("mpo")
    if form == "AVIF":
        frames = getattr(image, "n_frames", 1)
    if frames > 1:
        policy.append("first-frame")
    if form == "JPEG":
        image.draft(None, draft_size(width, height, side))
    before = tag_of(image)
    image.load()
    orientation = before or orientation_of(image)
    if orientation != 1:
        policy.append(f"exif:{orientation}")
    if image.info.get("icc_profile"):
        policy.append("icc-ignored")
    if deep(form, data):
        policy.append("16bit")
    small = thumbnail(image, policy, side)
    if orientation != 1 and not before:
        small = small.transpose(TRANSPOSE[orientation])
        if orientation in TURNED:
            width, height = height, width
    done = ",".join(dict.fromkeys(policy))
    return Decoded(width, height, frames, orientation, *small.size, form, mode, done, small.tobytes())


def check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        message = f"{width} x {height} is {width * height:,} pixels, more than {max_pixels:,}"
        raise RecordError("DecompressionBomb", message)
    if width < 1 or height < 1:
        raise RecordError("Corrupt", f"{width} x {height} pixels")


def draft_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The least that a DCT-scaled JPEG may have: a longest side of the thumbnail's."""
    longest = max(width, height, side)
    return max(1, width * side // longest), max(1, height * side // longest)


def tag_of(image: Image.Image) -> int:
    """A TIFF's orientation, which Pillow applies by itself and then forgets; 0 for other formats."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    value = image.tag_v2.get(ORIENTATION, 1)
    return value if value in TRANSPOSE else 1


def orientation_of(image: Image.Image) -> int:
    """1 to 8; 1 where there is none or it makes no sense."""
    if not ("exif" in image.info or "XML:com.adobe.xmp" in image.info or "xmp" in image.info):
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata: the pixels are fine, and viewers show them unturned
        return 1
    return value if value in TRANSPOSE else 1


def deep(form: str, data: bytes) -> bool:
    """A PNG of 16 bits a channel: Pillow takes the high byte of colours by itself and says nothing."""
    return form == "PNG" and data[24] == 16


def thumbnail(image: Image.Image, policy: list[str], side: int) -> Image.Image:
    """RGB, at most `side` pixels a side, every pixel an average over its area; transparent ones weigh nothing."""
    if image.mode.startswith(("I", "F")):
        return eight_bits(image, policy, side).convert("RGB")
    if image.mode == "P":
        return reduced(from_palette(image, policy), side)
    translucent = with_alpha(image)
    if translucent is not None:
        policy.append("alpha")
        small = reduced(translucent.convert("RGBa"), side).convert("RGBA")
        white = Image.new("RGB", small.size, (255, 255, 255))
        white.paste(small, mask=small.getchannel("A"))
        return white
    if image.mode in CONVERTED:
        policy.append(CONVERTED[image.mode])
        return reduced(image, side).convert("RGB") if image.mode == "CMYK" else reduced(image.convert("RGB"), side)
    return reduced(image if image.mode in ("L", "RGB") else opaque(image), side).convert("RGB")


def from_palette(image: Image.Image, policy: list[str]) -> Image.Image:
    """RGB; where colours are transparent it is they that are composited on white, which costs nothing."""
    alphas = image.info.get("transparency")
    if alphas is None:
        return image.convert("RGB")
    if isinstance(alphas, int):
        alphas = bytes(255 * (index != alphas) for index in range(256))
    used = image.histogram()
    if any(alpha < 255 and count for alpha, count in zip(alphas, used, strict=False)):
        policy.append("alpha")
    colors = image.getpalette("RGB") or []
    for index, alpha in enumerate(alphas[: len(colors) // 3]):
        for at in range(3 * index, 3 * index + 3):
            colors[at] = (colors[at] * alpha + 255 * (255 - alpha) + 127) // 255
    image.putpalette(colors, "RGB")
    del image.info["transparency"]
    return image.convert("RGB")


def reduced(image: Image.Image, side: int) -> Image.Image:
    """Every pixel the mean of a square of pixels: the smallest integer factor that leaves at most `side` a side."""
    factor = -(-max(image.size) // side)
    return image.reduce(factor) if factor > 1 else image


def opaque(image: Image.Image) -> Image.Image:
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def with_alpha(image: Image.Image) -> Image.Image | None:
    """RGBA, if any pixel is not opaque."""
    if image.mode in ("RGBA", "LA", "RGBa", "La", "PA"):
        lowest: Any = image.getchannel(image.getbands()[-1]).getextrema()[0]
        if lowest == 255:
            return None
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if "transparency" in image.info and image.mode in ("L", "RGB", "1"):  # one colour of it
        return with_alpha(image.convert("RGBA"))
    return None


def eight_bits(image: Image.Image, policy: list[str], side: int) -> Image.Image:
    """Integers and floats as a small picture of 8 bits. Reduced first: a large one would need room for copies."""
    image.info.pop("transparency", None)  # a grey value that Pillow does not look up in deep pixels
    image = reduced(image.convert("I") if image.mode.startswith("I;16") else image, side)
    extrema: Any = image.getextrema()
    low, high = (float(value) for value in extrema)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RecordError("Corrupt", f"pixel values from {low} to {high}")
    if image.mode == "I" and low >= 0 and high <= 65535:
        policy.append("16bit")
        scale, offset = 1 / 256, 0.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        policy.append("float")
        scale, offset = 255.0, 0.0
    else:
        policy.append("stretched")
        scale = 255 / (high - low) if high > low else 0.0
        offset = -low * scale
    return image.point(lambda value: value * scale + offset).convert("L")
