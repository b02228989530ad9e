import json
import shutil
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests.errors import RunError
from pipelines.audit.explain import explain
from pipelines.folder import open_store
from pipelines.run import clean
from tests.pipelines.audit.material import HOSTILE

pytestmark = pytest.mark.xdist_group("audit")  # one worker makes the run that these tests read


@pytest.fixture(scope="module")
def ledger(dataset):
    """Every row of ledger/documents."""
    tables = (pq.read_table(path) for path in sorted(Path(dataset, "ledger/documents").iterdir()))
    return [row for table in tables for row in table.to_pylist()]


@pytest.fixture(scope="module")
def uid(ledger):
    """Name of a picture -> uid of its first row."""
    return {json.loads(row["locator"]).get("path"): row["uid"] for row in reversed(ledger)}


@pytest.fixture(scope="module")
def cleaned(dataset, tmp_path_factory):
    copy = str(shutil.copytree(dataset, tmp_path_factory.mktemp("cleaned") / "dataset"))
    clean(copy, dry_run=False)
    return copy


def test_a_dropped_document_names_its_rule_value_and_bound(dataset, uid):
    found = explain(dataset, uid["small-05.jpg"])
    assert (found.outcome, found.rule, found.value, found.bound) == ("dropped", "image.short_side.min", "193", "200")
    verdicts = {verdict.rule: verdict for verdict in found.rules}
    assert (verdicts["image.short_side"].state, verdicts["image.short_side"].decided) == ("fail", True)
    assert (verdicts["image.short_side"].values, verdicts["image.short_side"].bounds) == ([193], "min 200")
    assert verdicts["caption.words"].state == "pass"
    assert verdicts["duplicate.image"].state == "not evaluated"
    assert verdicts["duplicate.image"].why == "image.short_side.min had dropped it before"
    assert found.members == []


def test_rules_are_told_in_the_order_in_which_they_were_asked(dataset, uid):
    names = [verdict.rule for verdict in explain(dataset, uid["small-05.jpg"]).rules]
    assert names.index("image.short_side") < names.index("caption.words") < names.index("duplicate.image")


def test_every_rule_that_a_document_fails_is_told_not_the_first_only(dataset, uid):
    states = {verdict.rule: verdict.state for verdict in explain(dataset, uid["words-0.jpg"]).rules}
    assert (states["caption.characters"], states["caption.words"]) == ("fail", "fail")


def test_a_kept_document_says_where_its_bytes_lie(dataset, uid):
    found = explain(dataset, uid["small-20.jpg"])
    assert found.outcome == "kept"
    assert [member.name for member in found.members] == [f"{found.uid}.{end}" for end in ("jpg", "json", "txt")]
    text = found.members[2]
    data = open_store(dataset).read_range(text.shard, text.offset, text.size)
    assert data.decode() == found.caption == "picture 20 of a series around the shortest side"


def test_a_dead_document_says_where_it_died_of_what(dataset, uid):
    found = explain(dataset, uid["cut.jpg"])
    assert found.outcome == "dead"
    assert (found.dead["stage"], found.dead["reason"]) == ("image.decode", "Truncated")
    assert found.locator["path"] == "cut.jpg"
    assert "Truncated, in stage image.decode" in found.text()
    assert "cut.jpg" in found.text()


def test_a_document_whose_key_came_twice_tells_of_its_twin(dataset, uid):
    found = explain(dataset, uid["small-20.jpg"])
    assert [(twin["outcome"], twin["reason"]) for twin in found.twins] == [("dead", "DuplicateKey")]
    assert found.twins[0]["locator"]["byte"] > found.locator["byte"]


def test_cluster_mates_are_named_and_who_was_chosen(dataset, uid):
    same = {name: explain(dataset, uid[f"same-{i}.png"]) for i, name in enumerate("abcde")}
    for found in same.values():
        cluster = next(cluster for cluster in found.clusters if cluster.rule == "duplicate.image")
        assert cluster.size == 5
        everyone = [(found.uid, cluster.state), *((mate.uid, mate.state) for mate in cluster.mates)]
        assert sorted(state for _, state in everyone) == ["chosen", "lost", "lost", "lost", "lost"]
        assert dict(everyone)[same["e"].uid] == "chosen"  # its caption is the longest


def test_the_beginning_of_a_uid_is_enough(dataset, uid):
    whole = uid["small-05.jpg"]
    assert explain(dataset, whole[:12]).uid == explain(dataset, f" {whole.upper()}.jpg ").uid == whole


def test_an_ambiguous_beginning_lists_what_it_could_mean(dataset, monkeypatch, ledger):
    monkeypatch.setattr("pipelines.audit.explain.LEAST_DIGITS", 1)
    first = sorted({row["uid"] for row in ledger})
    digit = next(d for d in "0123456789abcdef" if sum(u.startswith(d) for u in first) > 1)
    with pytest.raises(RunError, match="beginning of several uids") as caught:
        explain(dataset, digit)
    for some in [u for u in first if u.startswith(digit)][:8]:
        assert some in str(caught.value)


def test_an_unknown_uid_names_the_nearest(dataset, uid):
    wrong = uid["small-05.jpg"][:20] + "0" * 12
    with pytest.raises(
        RunError, match=f"no document of .* begins with {wrong}; the nearest are .*{uid['small-05.jpg']}"
    ):
        explain(dataset, wrong)


@pytest.mark.parametrize("text", ["abc", "not a uid", "", "g" * 32, "0" * 33])
def test_what_is_no_uid_is_refused(dataset, text):
    with pytest.raises(RunError, match="is no uid: expected 4 to 32 hex digits"):
        explain(dataset, text)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_caption_cannot_reach_the_terminal(dataset, uid, name):
    found = explain(dataset, uid[f"hostile-{name}.png"])
    text = found.text()
    assert len(text) < 10_000
    hidden = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter != "\n"}
    assert hidden == set()
    assert json.loads(json.dumps(found.to_json()))["caption"].startswith(HOSTILE[name][:10])


def test_json_holds_all_of_it(dataset, uid):
    value = json.loads(json.dumps(explain(dataset, uid["same-0.png"]).to_json()))
    assert value["rule"] == "duplicate.image.choose"
    assert value["scores"]["caption_words"] > 3
    assert value["pictures"][0]["image_short_side"] == 240
    assert {"rules", "clusters", "members", "twins", "notes", "locator", "licence", "dead"} <= value.keys()


def test_after_clean_a_kept_document_is_told_from_the_dataset_alone(dataset, cleaned, uid):
    before, after = explain(dataset, uid["small-20.jpg"]), explain(cleaned, uid["small-20.jpg"])
    assert after.to_json() == before.to_json()


def test_after_clean_a_dropped_document_says_what_it_cannot_show(dataset, cleaned, uid):
    before, after = explain(dataset, uid["small-05.jpg"]), explain(cleaned, uid["small-05.jpg"])
    assert after.caption is None
    assert after.notes == ["its caption and picture are not shown: the run's work folder is gone (winnow clean)"]
    assert (after.rule, after.value, after.rules, after.scores) == (
        before.rule,
        before.value,
        before.rules,
        before.scores,
    )
    assert "note: its caption and picture are not shown" in after.text()


def test_where_there_is_no_dataset_it_says_so(tmp_path):
    with pytest.raises(RunError, match=r"holds no MANIFEST\.json"):
        explain(str(tmp_path), "abcd")
