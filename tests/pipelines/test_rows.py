"""Laws of deciding on rows: it does not matter how they are cut, in which order they come, or who groups them."""

import random
from collections import defaultdict
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.assemble import in_order, part_of
from pipelines.image_text import phases_of
from pipelines.recipe import load
from pipelines.rows import FRONT_NAMES, Claim, Row, RowJudge, split_cluster
from pipelines.score import ScorePhase

SETS = ["duplicate.caption.keep=2", "caption.words.min=2", "image.short_side.min=100"]
RECIPE = load("image-text-light", SETS)
JUDGE = RowJudge(RECIPE)
(PHASE,) = (phase for phase in phases_of(RECIPE) if isinstance(phase, ScorePhase))
GOOD: dict[str, Any] = {
    "image_format": "JPEG", "image_frames": 1, "image_long_side": 400, "image_aspect_ratio": 1.5,
    "image_solid_share": 0.1, "image_entropy": 5.0, "caption_characters": 50, "caption_language": "en",
}  # fmt: skip
PLAIN = {"string": "", "int": 0, "float": 0.0, "bool": False}


def default(field: pa.Field) -> Any:
    return GOOD.get(field.name, next((value for kind, value in PLAIN.items() if kind in str(field.type)), None))


@st.composite
def scored_rows(draw: st.DrawFn) -> list[Row]:
    """Documents of one picture in few clusters; some fail a bound, some are dead."""
    rows = []
    for number in range(draw(st.integers(0, 14))):
        uid = f"{draw(st.integers(0, 2**32 - 1)):08x}{number:024x}"
        picture, caption = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        scores = {field.name: default(field) for field in PHASE.schemas()[0] if field.name not in FRONT_NAMES}
        scores |= {
            "caption_words": draw(st.integers(1, 4)),
            "duplicate_image": bytes([picture]) * 16,
            "duplicate_caption": draw(st.sampled_from([bytes([caption]) * 16, None])),
            "duplicate_pair": bytes([picture, caption]) * 8,
        }
        media = {field.name: default(field) for field in PHASE.schemas()[1] if field.name != "document"}
        side = draw(st.sampled_from([90, 200, 300]))
        media |= {"uid": uid, "segment": 0, "sha256": "0" * 64, "image_short_side": side, "image_pixels": side * 400}
        dead = draw(st.sampled_from([None, None, None, {"stage": "read", "reason": "Truncated", "message": "cut"}]))
        front: Row = {"uid": uid, "source": "s", "locator": "{}", "document": None, "media": [], "dead": dead}
        rows.append({**front, "scores": scores, "pictures": [] if dead else [media]})
    return rows


def lost_of(claims: list[Claim]) -> dict[str, set[str]]:
    """uid -> the rules in which it lost, as an engine finds them: a group for each cluster, rule after rule."""
    lost = defaultdict(set)
    for place, rule in enumerate(JUDGE.chooses):
        groups = defaultdict(list)
        for claim in claims:
            groups[(claim[1][place] or (b"", ()))[0]].append(claim)
        claims = groups.pop(b"", [])
        for group in groups.values():
            chosen, losers = split_cluster(rule, place, group)
            claims += chosen
            for uid, _ in losers:
                lost[uid].add(rule.name)
    return lost


def decided(rows: list[Row], size: int) -> list[Row]:
    """All rows, `size` at a time."""
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    lost = lost_of([claim for batch in batches for _, claim in JUDGE.claims(batch)])
    return [row for batch in batches for row in JUDGE.decide(batch, [lost[row["uid"]] for row in batch])]


def plainly(rows: list[Row]) -> dict[str, str | None]:
    """uid -> rule, spelled out: bounds first, then one choose rule after the other."""
    rule: dict[str, str | None] = {}
    for row in rows:
        if row["dead"] is None:
            small = row["pictures"][0]["image_short_side"] < 100
            short = "caption.words.min" if row["scores"]["caption_words"] < 2 else None
            rule[row["uid"]] = "image.short_side.min" if small else short
    alive = [row for row in rows if row["dead"] is None and rule[row["uid"]] is None]
    for name, keep, order in (
        ("duplicate.pair", 1, lambda row: 0),
        ("duplicate.image", 1, lambda row: -row["scores"]["caption_words"]),
        ("duplicate.caption", 2, lambda row: -row["pictures"][0]["image_pixels"]),
    ):
        clusters = defaultdict(list)
        for row in alive:
            clusters[row["scores"][name.replace(".", "_")]].append(row)
        clusters.pop(None, None)
        for cluster in clusters.values():
            for row in sorted(cluster, key=lambda row: (order(row), row["uid"]))[keep:]:
                rule[row["uid"]] = f"{name}.choose"
        alive = [row for row in alive if rule[row["uid"]] is None]
    return rule


@settings(max_examples=60)
@given(scored_rows(), st.integers(1, 15), st.randoms(use_true_random=False))
def test_verdicts_are_the_plain_ones_however_rows_are_cut_and_ordered(
    rows: list[Row], size: int, order: random.Random
) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    found = decided(shuffled, size)
    assert {row["uid"]: row["ledger"]["rule"] for row in found if row["dead"] is None} == plainly(rows)
    assert all(row["ledger"]["outcome"] == "dead" for row in found if row["dead"] is not None)
    whole, digest = in_order(decided(rows, 100))
    assert in_order(found) == (whole, digest)


@given(st.lists(st.integers(0, 2**128 - 1), min_size=1), st.integers(1, 50))
def test_parts_are_ranges_of_uids(numbers: list[int], parts: int) -> None:
    found = [part_of(f"{number:032x}", parts) for number in sorted(numbers)]
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] < parts
