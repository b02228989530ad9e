"""Boxes on a picture: one convention inside, others converted where they come in.

Inside Winnow a box is (x0, y0, x1, y1) in float pixels of the picture as displayed (EXIF rotation applied), half-open:
x1 and y1 are just outside, so width = x1 - x0. The 0-999 per mille integers that a GLM-V model speaks are a rendering.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Box = tuple[float, float, float, float]
Convention = Literal["xyxy", "xywh", "unit_xyxy", "unit_xywh", "thousand_xyxy", "per_mille"]


@dataclass(frozen=True, slots=True)
class Region:
    """A box on an image or frame, with what it shows.

    polygon: ((x, y), ...) in the same pixels. time: seconds, for a frame of a clip. label: a class name.
    link: (segment number, start, end) of the characters that speak of it. score: 0 to 1, the finder's confidence.
    """

    box: Box
    polygon: tuple[tuple[float, float], ...] = ()
    time: float | None = None
    text: str | None = None
    label: str | None = None
    score: float | None = None
    link: tuple[int, int, int] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (x0 <= x1 and y0 <= y1):
            raise ValueError(f"box {self.box} has a negative side: expected x0 <= x1 and y0 <= y1")

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"box": list(self.box)}
        for name in ("time", "text", "label", "score"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        if self.polygon:
            out["polygon"] = [list(point) for point in self.polygon]
        if self.link is not None:
            out["link"] = list(self.link)
        if self.attributes:
            out["attributes"] = dict(self.attributes)
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Region":
        x0, y0, x1, y1 = (float(v) for v in value["box"])
        link = value.get("link")
        return cls(
            box=(x0, y0, x1, y1),
            polygon=tuple((float(x), float(y)) for x, y in value.get("polygon", ())),
            time=value.get("time"),
            text=value.get("text"),
            label=value.get("label"),
            score=value.get("score"),
            link=None if link is None else (link[0], link[1], link[2]),
            attributes=value.get("attributes", {}),
        )


def to_per_mille(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels to the 0-999 integers a model writes: the cell of a 1000 x 1000 grid that each corner falls into.

    A corner on the far edge belongs to the last cell.
    """

    def cell(value: float, size: int) -> int:
        return min(999, max(0, round(value / size * 1000 - 0.5)))

    x0, y0, x1, y1 = box
    return cell(x0, width), cell(y0, height), cell(x1, width), cell(y1, height)


def from_per_mille(box: tuple[int, int, int, int], width: int, height: int) -> Box:
    """The 0-999 integers to pixels: the middle of each cell, so that to_per_mille gives the same integers back."""
    if any(not 0 <= value <= 999 for value in box):
        raise ValueError(f"per mille box {box} has a value outside 0-999")
    x0, y0, x1, y1 = ((value + 0.5) / 1000 for value in box)
    return x0 * width, y0 * height, x1 * width, y1 * height


def to_pixels(box: Box, convention: Convention, width: int, height: int) -> Box:
    """A box in a convention that the source states, in Winnow's pixels.

    Raises ValueError where the values cannot be it.
    """
    a, b, c, d = box
    if convention.startswith("unit") and not all(0 <= v <= 1 for v in box):
        raise ValueError(f"box {box} is not in 0-1 as {convention} says")
    if convention == "thousand_xyxy" and not all(0 <= v <= 1000 for v in box):
        raise ValueError(f"box {box} is not in 0-1000 as {convention} says")
    match convention:
        case "xyxy":
            return box
        case "xywh":
            return a, b, a + c, b + d
        case "unit_xyxy":
            return a * width, b * height, c * width, d * height
        case "unit_xywh":
            return a * width, b * height, (a + c) * width, (b + d) * height
        case "thousand_xyxy":
            return a * width / 1000, b * height / 1000, c * width / 1000, d * height / 1000
        case "per_mille":
            if any(v != int(v) for v in box):
                raise ValueError(f"per mille box {box} has a fraction")
            return from_per_mille((int(a), int(b), int(c), int(d)), width, height)
    raise ValueError(f"unknown box convention {convention!r}")
