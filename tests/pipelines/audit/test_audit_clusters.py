from collections import Counter

import pytest

from manifests.store import Store
from pipelines.audit.clusters import CHOSEN, LOST, study_clusters
from pipelines.audit.parts import Ledger
from tests.pipelines.audit.tables import RULES, write_ledger


@pytest.fixture(scope="module")
def ledger():
    store = Store("memory://clusters")
    return Ledger(store, write_ledger(store, parts=5, rows=200, clusters=120), RULES)


def every_document(ledger):
    for part in ledger.parts({"duplicate_image", "pass_duplicate_image"}):
        columns = (part.documents[name].to_pylist() for name in ("uid", "duplicate_image", "pass_duplicate_image"))
        yield from (row for row, alive in zip(zip(*columns, strict=True), part.judged, strict=True) if alive)


def test_cluster_sizes_are_those_of_the_whole_ledger(ledger):
    study = study_clusters(ledger, RULES[2], 2, documents=1000)
    sizes = Counter(key for _, key, _ in every_document(ledger))
    for top, (clusters, *documents) in study.sizes.items():
        there = [size for size in sizes.values() if (top // 2 < size <= top if top > 1 else size == 1)]
        assert (clusters, sum(documents)) == (len(there), sum(there))
    assert sum(int(row[0]) for row in study.sizes.values()) == len(sizes)


def test_working_by_ranges_of_keys_finds_the_same(ledger):
    whole = study_clusters(ledger, RULES[2], 2, documents=1000)
    ranges = study_clusters(ledger, RULES[2], 2, documents=6 << 20)
    assert ranges.clusters == whole.clusters
    assert {k: v.tolist() for k, v in ranges.sizes.items()} == {k: v.tolist() for k, v in whole.sizes.items()}


def test_examples_lost_documents_and_show_the_chosen_first(ledger):
    study = study_clusters(ledger, RULES[2], 2, documents=1000)
    passed = {uid: won for uid, _, won in every_document(ledger)}
    lost = Counter(key.hex() for _, key, won in every_document(ledger) if won is False)
    assert study.clusters[0].lost == max(lost.values())
    for cluster in study.clusters:
        assert cluster.lost == lost[cluster.key]
        states = [state for state, _ in cluster.members]
        assert states == sorted(states)
        assert states[:2] == [CHOSEN, LOST]
        assert passed[cluster.members[0][1].uid] is True
