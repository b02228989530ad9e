"""What every scorer of the image-text family keeps to: declared columns, and values that depend on the record alone."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import canonical_json
from pipelines import image_text
from stages.guard import guarded
from stages.scorer import Batch, Scorer
from tests.stages.toys import document, picture, random_picture

SCORERS = image_text.scorers()
CAPTIONS = st.one_of(
    st.none(),
    st.text(max_size=60),
    st.sampled_from(
        ["", "  ", "a red boat", "\udcff lone surrogate", "北京的秋天", "12:30 — 4/5", "ßtraße", "e\u0301"]
    ),
)
RECORDS = st.lists(st.tuples(st.lists(st.integers(0, 500), max_size=3), CAPTIONS), max_size=12)


def batch_from(records: list[tuple[list[int], str | None]]) -> Batch:
    pictures = [[random_picture(seed) for seed in seeds] for seeds, _ in records]
    documents = [document(str(n), caption, pictures[n]) for n, (_, caption) in enumerate(records)]
    return Batch(documents, pictures)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
@given(records=RECORDS, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_values_do_not_depend_on_how_the_batch_is_cut(
    scorer: Scorer, records: list[tuple[list[int], str | None]], cuts: list[int]
):
    batch = batch_from(records)
    whole, dead = guarded(scorer, batch)
    assert dead == []
    places = sorted({0, len(batch), *(cut for cut in cuts if cut <= len(batch))})
    parts = [guarded(scorer, batch.slice(start, stop))[0] for start, stop in pairwise(places)]
    for name, column in whole.items():
        assert column == [value for part in parts for value in part[name]]


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_a_scorer_declares_itself_and_travels_to_workers(scorer: Scorer):
    scorer.setup()
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert scorer.version >= 1
    for score in scorer.scores:
        assert score.description
        assert score.unit
        assert score.column == score.name.replace(".", "_")


def test_no_two_scorers_share_a_name_or_a_column():
    names = [scorer.name for scorer in SCORERS]
    columns = [score.column for scorer in SCORERS for score in scorer.scores]
    assert len({*names}) == len(names)
    assert len({*columns}) == len(columns)


@given(st.integers(0, 10_000))
def test_values_are_finite_and_fit_the_ledger(seed: int):
    shown = random_picture(seed)
    batch = Batch([document("x", "a caption", [shown])], [[shown]])
    for scorer in SCORERS:
        values, _ = guarded(scorer, batch)
        canonical_json([value for column in values.values() for value in column if not isinstance(value, bytes)])


def test_the_smallest_picture_has_every_score():
    dot = picture(random_picture(3).thumbnail[:1, :1])
    for scorer in SCORERS:
        values, dead = guarded(scorer, Batch([document("x", "a", [dot])], [[dot]]))
        assert dead == []
        assert values
