"""Geometry of the report's drawings: numbers to boxes, ticks and labels. The template only writes it down as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.audit.histograms import Axis, Cut, Histogram, nice_step
from pipelines.audit.text import number, share

WIDTH, HEIGHT = 760, 236
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 40, 36
SERIES = ("kept", "elsewhere", "fails")  # kept; passes this rule but falls to another; fails this rule
SERIES_WORDS = ("kept", "pass here, dropped by another rule", "fail")
LEAST_PERCENT = 0.3  # width of a part of a line that is not empty
LEAST = 1.6  # height in pixels of a box that is not empty
BREAK = 2.5  # a few bars this many times higher than all the others are broken off, with their count written on them
BROKEN = 3


@dataclass(frozen=True, slots=True)
class Box:
    """One part of a bar, in the drawing's units."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Bar:
    """boxes: its parts from the bottom up. label: its count, where the bar is broken off."""

    boxes: Sequence[Box]
    title: str
    label: str = ""
    x: float = 0.0
    top: float = 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A cut on the axis. keeps: `right` of it or `left` of it. anchor: of its label, so that it stays inside."""

    at: float
    label: str
    keeps: str
    anchor: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram, all of it."""

    bars: Sequence[Bar]
    across: Sequence[Tick]
    up: Sequence[Tick]
    marks: Sequence[Mark]
    away: Sequence[str]  # cuts that lie too far out to be drawn
    zones: Sequence[Box]  # where the rule drops
    scale: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Row:
    """One line of numbers behind a chart: the bar's ends, and its count by series."""

    span: str
    counts: Sequence[int]


def histogram_chart(histogram: Histogram) -> Chart:
    axis, counts = histogram.axis, histogram.counts
    heights = counts.sum(axis=0)
    top = ceiling(heights)
    bars = [_bar(axis, counts[:, i], i, top, int(heights.max())) for i in range(counts.shape[1]) if heights[i]]
    drawn = [cut for cut in histogram.cuts if axis.shows(cut)]
    away = [cut for cut in histogram.cuts if not axis.shows(cut)]
    return Chart(
        bars=bars,
        across=[Tick(_x(axis, value), number(value)) for value in tick_values(axis)],
        up=[Tick(_y(value, top), number(value)) for value in up_values(top)],
        marks=[_mark(axis, cut, row) for row, cut in enumerate(drawn)],
        away=[f"{cut.side} {number(cut.value)} lies outside this axis" for cut in away],
        zones=[_zone(axis, cut) for cut in drawn],
        scale=axis.scale,
    )


def rows_of(histogram: Histogram) -> list[Row]:
    """The numbers behind the drawing, empty bars left out."""
    columns = range(histogram.counts.shape[1])
    return [
        Row(span_text(histogram.axis, i), [int(n) for n in histogram.counts[:, i]])
        for i in columns
        if histogram.counts[:, i].sum()
    ]


def ceiling(heights: np.ndarray) -> float:
    """The count at the top of the axis: the highest bar's, unless a few bars dwarf all the others."""
    ranked = np.sort(heights[heights > 0])[::-1].astype(float)
    if not len(ranked):
        return 1.0
    steps = ranked[:BROKEN] / ranked[1 : BROKEN + 1] if len(ranked) > BROKEN + 1 else np.ones(1)
    broken = int(np.argmax(steps))
    return float(ranked[broken + 1]) * 1.35 if steps[broken] > BREAK else float(ranked[0])


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.position(value) * (WIDTH - LEFT - RIGHT), 2)


def _y(count: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - min(1.0, count / top) * (HEIGHT - TOP - BOTTOM), 2)


def _bar(axis: Axis, counts: np.ndarray, index: int, top: float, highest: int) -> Bar:
    left, right = _x(axis, axis.edges[index]), _x(axis, axis.edges[index + 1])
    gap = min(1.0, (right - left) / 4)
    total = int(counts.sum())
    broken = total > top
    room = HEIGHT - TOP - BOTTOM
    boxes, base = [], float(HEIGHT - BOTTOM)
    for kind, count in zip(SERIES, counts.tolist(), strict=True):
        if count:
            height = max(LEAST, room * (count / total if broken else count / top))
            x, y, width = round(left + gap / 2, 2), round(base - height, 2), round(right - left - gap, 2)
            boxes.append(Box(x, y, width, round(height, 2), kind))
            base -= height
    parts = ", ".join(f"{n:,} {word}" for n, word in zip(counts.tolist(), SERIES_WORDS, strict=True) if n)
    title = f"{span_text(axis, index)}: {parts}"
    middle = round((left + right) / 2, 2)
    return Bar(boxes, title, f"{total:,}" if broken else "", middle, round(max(base, TOP), 2))


def span_text(axis: Axis, index: int) -> str:
    """`12`, `12–15` for whole numbers; `0.1–0.2` where the upper end belongs to the next bar."""
    low, high = axis.edges[index], axis.edges[index + 1]
    if axis.whole:
        first, last = math.ceil(low), math.ceil(high) - 1
        return number(first) if first == last else f"{number(first)}–{number(last)}"
    return f"{number(float(low))}–{number(float(high))}"


def tick_values(axis: Axis) -> list[float]:
    low, high = float(axis.edges[0]), float(axis.edges[-1])
    if axis.scale == "linear":
        step = nice_step((high - low) / 7)
        step = max(1.0, step) if axis.whole else step
        return [float(f"{at * step:.12g}") for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    decades = range(math.floor(math.log10(max(low, 1e-12))) if low > 0 else 0, math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [value for value in values if low <= value <= high and (value.is_integer() or not axis.whole)]
        if len(inside) <= 9:
            break
    return [0.0, *inside] if low <= 0 <= high and axis.off else inside


def up_values(top: float) -> list[float]:
    step = max(1.0, nice_step(top / 3.5))
    return [float(value) for value in np.arange(0, math.floor(top / step) + 1) * step]


def _mark(axis: Axis, cut: Cut, row: int) -> Mark:
    at = _x(axis, cut.edge(axis.whole))
    right = cut.side == "min"
    label = f"min {number(cut.value)} →" if right else f"← max {number(cut.value)}"
    anchor = "start" if right else "end"
    if anchor == "end" and at < LEFT + 90:
        anchor = "start"
    if anchor == "start" and at > WIDTH - RIGHT - 90:
        anchor = "end"
    return Mark(at, label, "right" if right else "left", anchor, row)


def _zone(axis: Axis, cut: Cut) -> Box:
    at = _x(axis, cut.edge(axis.whole))
    left, right = (LEFT, at) if cut.side == "min" else (at, WIDTH - RIGHT)
    return Box(left, TOP, round(max(0.0, right - left), 2), HEIGHT - TOP - BOTTOM, "zone")


Part = tuple[str, float, float]  # of a horizontal bar: class of the drawing, start and length in percent


def parts(counts: Sequence[tuple[str, int]], longest: int) -> list[Part]:
    """Counts of (class, count) side by side, as parts of a bar in which `longest` is the whole."""
    at, out = 0.0, []
    for kind, count in counts:
        if count:
            length = 100 * count / max(longest, 1)
            shown = max(round(length, 3), LEAST_PERCENT)
            out.append((kind, min(round(at, 3), round(100 - shown, 3)), shown))
            at += length
    return out


@dataclass(frozen=True, slots=True)
class Line:
    """One horizontal bar with its label. title: its counts in words. share: of all, in percent."""

    label: str
    total: int
    parts: Sequence[Part]
    title: str
    share: str = ""
    mark: str = ""


def lines(rows: Sequence[tuple[str, Sequence[tuple[str, str, int]], str]], whole: int) -> list[Line]:
    """rows: (label, [(class, words, count)], mark). whole: what the shares are of. Bars are relative to the longest."""
    longest = max((sum(count for _, _, count in made) for _, made, _ in rows), default=0)
    out = []
    for label, made, mark in rows:
        total = sum(count for _, _, count in made)
        title = ", ".join(f"{count:,} {words}" for _, words, count in made if count)
        drawn = parts([(kind, count) for kind, _, count in made], longest)
        out.append(Line(label, total, drawn, title, share(total, whole), mark))
    return out
