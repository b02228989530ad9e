import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.rules import Bounds, Choose, Evaluation, losers

KEY = pa.binary(16)


def table(**columns):
    return pa.table(columns)


def evaluate(rules, documents, media=None, owner=(), judged=None, lost=None):
    judged = np.ones(documents.num_rows, bool) if judged is None else np.array(judged)
    media = table(image_short_side=pa.array([], pa.int32())) if media is None else media
    return Evaluation(documents, media, np.array(owner, int), judged).apply(rules, lost or {})


def test_a_document_is_counted_by_the_first_rule_it_fails_and_every_rule_is_recorded():
    documents = table(caption_words=[1, 5, 500], caption_language=["en", "de", "de"])
    rules = [Bounds("caption.words", min=3, max=200), Bounds("caption.language", allowed=("en",))]
    verdicts = evaluate(rules, documents)
    assert list(verdicts.rule) == ["caption.words.min", "caption.language.in", "caption.words.max"]
    assert list(verdicts.value) == ["1", "de", "500"]
    assert list(verdicts.bound) == ["3", "en", "200"]
    assert verdicts.document_passes["caption.language"].to_pylist() == [True, False, False]


def test_bounds_are_inclusive():
    verdicts = evaluate([Bounds("caption.words", min=3, max=5)], table(caption_words=[2, 3, 5, 6]))
    assert verdicts.alive.tolist() == [False, True, True, False]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_score_fails_and_says_so(missing):
    verdicts = evaluate(
        [Bounds("clip.similarity", min=0.0)], table(clip_similarity=pa.array([missing, 0.5], pa.float32()))
    )
    assert list(verdicts.rule) == ["clip.similarity.missing", None]


def test_a_float32_score_is_compared_at_its_own_value():
    verdicts = evaluate(
        [Bounds("clip.similarity", min=0.3)], table(clip_similarity=pa.array([0.3, 0.29999998], pa.float32()))
    )
    # float32(0.3) lies just above 0.3: the same on every machine, whatever its arithmetic width
    assert verdicts.alive.tolist() == [True, False]
    assert verdicts.value[1] == "0.29999998"


def test_a_media_rule_drops_the_document_with_the_value_of_its_first_failing_picture():
    media = table(image_short_side=pa.array([300, 90, 50, 400], pa.int32()))
    verdicts = evaluate([Bounds("image.short_side", min=100)], table(caption_words=[1, 1]), media, [0, 0, 0, 1])
    assert verdicts.alive.tolist() == [False, True]
    assert (verdicts.rule[0], verdicts.value[0], verdicts.bound[0]) == ("image.short_side.min", "90", "100")
    assert verdicts.media_passes["image.short_side"].to_pylist() == [True, False, False, True]


def test_a_segment_rule_takes_the_picture_and_leaves_the_page():
    media = table(image_short_side=pa.array([300, 90], pa.int32()))
    verdicts = evaluate([Bounds("image.short_side", min=100, drop="segment")], table(caption_words=[1]), media, [0, 0])
    assert verdicts.alive.tolist() == [True]
    assert verdicts.media_dropped.tolist() == [False, True]
    assert list(verdicts.media_rule) == [None, "image.short_side.min"]


def test_what_is_not_judged_has_no_verdict():
    verdicts = evaluate([Bounds("caption.words", min=3)], table(caption_words=[None, 1]), judged=[False, True])
    assert list(verdicts.rule) == [None, "caption.words.min"]
    assert verdicts.document_passes["caption.words"].to_pylist() == [None, False]


def test_a_choose_rule_is_recorded_for_survivors_only():
    documents = table(caption_words=[1, 9, 9], duplicate_image=pa.array([b"a" * 16] * 3, KEY))
    rules = [Bounds("caption.words", min=3), Choose("duplicate.image")]
    verdicts = evaluate(rules, documents, lost={"duplicate.image": np.array([False, True, False])})
    assert list(verdicts.rule) == ["caption.words.min", "duplicate.image.choose", None]
    assert verdicts.document_passes["duplicate.image"].to_pylist() == [None, False, True]
    assert verdicts.value[1] == (b"a" * 16).hex()


def words(keys):
    return np.array([[0, key] for key in keys], np.uint64).reshape(-1, 2)


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10_000), st.sampled_from([1.0, 2.0, np.nan])), max_size=40)


@given(rows, st.integers(1, 3), st.booleans(), st.randoms())
def test_losers_agree_with_a_plain_sort_whatever_the_row_order(items, keep, descending, random):
    items = list({uid: (cluster, uid, value) for cluster, uid, value in items}.values())
    random.shuffle(items)
    clusters, uids, values = [list(c) for c in zip(*items, strict=True)] if items else [[], [], []]
    lost = losers(words(clusters), words(uids), [np.array(values, float)], [descending], keep)

    def order(item):
        _, uid, value = item
        return (np.isnan(value), 0.0 if np.isnan(value) else (-value if descending else value), uid)

    kept = set()
    for cluster in set(clusters):
        kept.update(item[1] for item in sorted((i for i in items if i[0] == cluster), key=order)[:keep])
    assert {uid for uid, gone in zip(uids, lost, strict=True) if not gone} == kept


def test_keys_that_share_their_first_half_are_not_one_cluster():
    clusters = np.array([[7, 1], [7, 2], [7, 1]], np.uint64)
    assert losers(clusters, words([1, 2, 3]), [], [], 1).tolist() == [False, False, True]
