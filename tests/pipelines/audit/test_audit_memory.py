import tracemalloc

import pyarrow as pa
import pytest

from manifests.store import Store
from pipelines.audit.findings import find
from tests.pipelines.audit.tables import RULES, write_ledger


def peak(store, rules):
    """Bytes at most in use while the findings are made, by Python and numpy, and by Arrow."""
    plain = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(plain)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        findings, _ = find(store, rules)
        return findings, tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(plain)


@pytest.fixture(scope="module")
def stores():
    made = {}
    for parts in (4, 24):
        store = Store(f"memory://memory-{parts}")
        write_ledger(store, parts, rows=500, clusters=300)
        made[parts] = store
    return made


def test_memory_is_that_of_one_part_whatever_their_number(stores):
    bounds = RULES[:2]
    peak(stores[4], bounds)  # what is imported and cached at first use
    _, few = peak(stores[4], bounds)
    findings, many = peak(stores[24], bounds)
    assert findings.funnel.rows == 12_000
    assert many < 1.5 * few


def test_clusters_take_a_few_words_a_document(stores):
    _, without = peak(stores[24], RULES[:2])
    _, together = peak(stores[24], RULES)
    assert together - without < 100 * 12_000


def test_the_ledger_that_was_made_adds_up(stores):
    findings, _ = find(stores[4], RULES)
    assert findings.funnel.problems(findings.manifest.totals) == []
    assert findings.studies["image.short_side"].histogram.total == 4 * 499
    steps = findings.funnel.steps()
    assert steps[-1].left == findings.manifest.totals.kept
    assert all(step.fails >= step.dropped >= 0 for step in steps)
    assert findings.dead.classes()[0][:3] == ("image.decode", "Truncated", 4)
