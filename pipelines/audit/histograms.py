"""Histograms of a score with its cuts: edges are fixed before counting, so parts are counted one after the other.

A cut is always an edge, so every bar lies wholly on one side of it and its colour is exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

BINS = 44  # about how many bars
WIDE = 8  # a range from 1 or more up by at least this factor is drawn on a logarithmic axis,
WIDE_FROM_ZERO = 50  # or from zero up to at least this
NEAR = 0.3  # a cut farther outside the data than this share of the axis, and
NEAR_VALUE = 0.1  # than this share of the value there, is named beside the drawing, not drawn

Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One bound of a rule. side: `min` keeps what is at or above it, `max` what is at or below it."""

    side: Literal["min", "max"]
    value: float

    def edge(self, whole: bool) -> float:
        """Where bars must end so that none holds values of both sides. Whole numbers are centred in their bars."""
        if whole:
            return math.ceil(self.value) - 0.5 if self.side == "min" else math.floor(self.value) + 0.5
        return self.value if self.side == "min" else math.nextafter(self.value, math.inf)


@dataclass(frozen=True, slots=True)
class Axis:
    """edges: ascending, half-open bars. scale: how positions are spread. whole: the values are integers."""

    edges: np.ndarray
    scale: Scale
    whole: bool
    off: float = 0.0  # added before the logarithm, 1 where the range starts at zero

    def position(self, value: float) -> float:
        """0 at the first edge, 1 at the last."""
        low, high, at = (spread(v, self.scale, self.off) for v in (self.edges[0], self.edges[-1], value))
        return (at - low) / (high - low)

    def shows(self, cut: Cut) -> bool:
        return bool(self.edges[0] <= cut.edge(self.whole) <= self.edges[-1])


def spread(value: float, scale: Scale, off: float) -> float:
    return math.log10(value + off) if scale == "log" else value


def unspread(value: float, scale: Scale, off: float) -> float:
    return float(10**value - off) if scale == "log" else value


def axis_for(low: float, high: float, whole: bool, cuts: Sequence[Cut]) -> Axis:
    """An axis over finite data low..high whose edges include the cuts that lie on it or near it."""
    scale: Scale = "log" if is_wide(low, high, cuts) else "linear"
    off = 1.0 if scale == "log" and low < 1 else 0.0
    pad = 0.5 if whole else 0.0
    first, last = low - pad, high + pad if whole else math.nextafter(high, math.inf)
    if first == last or math.nextafter(first, math.inf) == last:
        width = max(abs(first) * 0.05, 0.5)
        first, last = first - (width if scale == "linear" else 0), last + width
    wanted = [cut.edge(whole) for cut in cuts]
    first, last = widened(first, last, wanted, scale, off, least=1.0 if whole and scale == "linear" else 0.0)
    inner = [edge for edge in wanted if first < edge < last]
    if whole and scale == "linear" and last - first <= 2 * BINS:
        edges = np.arange(first, last + 0.5)
    elif scale == "linear":
        edges = round_edges(first, last, whole)
    else:
        a, b = spread(first, scale, off), spread(last, scale, off)
        edges = np.array([unspread(v, scale, off) for v in np.linspace(a, b, BINS + 1)])
        edges[0], edges[-1] = first, last
    if whole:
        edges = np.unique(np.floor(edges) + 0.5) if pad else edges
        edges[0], edges[-1] = first, last
    return Axis(with_cuts(np.unique(edges), inner), scale, whole, off)


def is_wide(low: float, high: float, cuts: Sequence[Cut]) -> bool:
    """Whether the range spans orders of magnitude. Shares of one and signed scores stay linear."""
    if low < 0 or high <= 1 or any(cut.value < 0 for cut in cuts):
        return False
    return high / low >= WIDE if low >= 1 else high >= WIDE_FROM_ZERO


def widened(
    first: float, last: float, cuts: Sequence[float], scale: Scale, off: float, least: float
) -> tuple[float, float]:
    """The range with the cuts that are near enough, and a little room beyond them, at least `least`."""
    a, b = spread(first, scale, off), spread(last, scale, off)
    span = b - a
    room = max(0.04 * span, least)
    for cut in cuts:
        if scale == "log" and cut + off <= 0:
            continue
        at = spread(cut, scale, off)
        if at <= a <= max(at + NEAR * span, at + NEAR_VALUE * abs(a)):
            first = min(first, unspread(at - room, scale, off))
        if at >= b >= min(at - NEAR * span, at - NEAR_VALUE * abs(b)):
            last = max(last, unspread(at + room, scale, off))
    return first, last


def round_edges(first: float, last: float, whole: bool) -> np.ndarray:
    """Edges at multiples of 1, 2 or 5 times a power of ten, so that people can read a bar's ends."""
    step = nice_step((last - first) / BINS)
    if whole:
        step = max(1.0, step)
    inner = np.arange(math.floor(first / step) + 1, math.ceil(last / step)) * step
    return np.concatenate([[first], inner[(inner > first) & (inner < last)], [last]])


def nice_step(rough: float) -> float:
    power = 10 ** math.floor(math.log10(rough))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999))


def with_cuts(edges: np.ndarray, cuts: Sequence[float]) -> np.ndarray:
    """The edges with each cut among them: in place of the nearest inner edge, else beside it."""
    fixed: set[float] = set()
    values = [float(edge) for edge in edges]
    for cut in cuts:
        if cut in values:
            fixed.add(cut)
            continue
        inner = [edge for edge in values[1:-1] if edge not in fixed]
        if inner:
            values.remove(min(inner, key=lambda edge: (abs(edge - cut), edge)))
        values.append(cut)
        fixed.add(cut)
        values.sort()
    return np.array(values)


@dataclass(slots=True)
class Histogram:
    """counts[3, bars]: kept in the end; passes this rule but dropped by another; fails this rule.

    missing: documents without the score, or with NaN. infinite: with a value that no axis holds.
    """

    axis: Axis
    cuts: tuple[Cut, ...]
    counts: np.ndarray = field(init=False)
    missing: int = 0
    infinite: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros((3, len(self.axis.edges) - 1), np.int64)

    def add(self, values: np.ndarray, kept: np.ndarray) -> None:
        """values: float64[n], NaN where there is none. kept: bool[n], the document's outcome."""
        known = ~np.isnan(values)
        self.missing += int((~known).sum())
        finite = np.isfinite(values)
        self.infinite += int((known & ~finite).sum())
        values, kept = values[finite], kept[finite]
        bar = np.clip(np.searchsorted(self.axis.edges, values, "right") - 1, 0, self.counts.shape[1] - 1)
        kind = np.where(kept, 0, np.where(passes(values, self.cuts), 1, 2))
        np.add.at(self.counts, (kind, bar), 1)

    @property
    def total(self) -> int:
        return int(self.counts.sum())


def passes(values: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    """bool[n]: inside every cut. The rules' own verdict is by the same comparison on the same float64."""
    inside = np.ones(len(values), bool)
    for cut in cuts:
        inside &= values >= cut.value if cut.side == "min" else values <= cut.value
    return inside
