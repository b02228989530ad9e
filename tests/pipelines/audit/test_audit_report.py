import base64
import hashlib
import html
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.errors import RunError
from pipelines import run
from pipelines.audit import report
from pipelines.audit.report import write_report
from pipelines.audit.thumbnails import Drawn
from pipelines.engines.local import LocalEngine
from pipelines.folder import open_store
from pipelines.progress import Progress
from pipelines.run import clean
from tests.pipelines.audit.material import HOSTILE

pytestmark = pytest.mark.xdist_group("audit")  # one worker makes the run that these tests read


@pytest.fixture(scope="module")
def page(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(dataset, path) == str(path)
    return path.read_text(encoding="utf-8")


def text_of(page):
    """What a person reads, without tags."""
    body = re.sub(r"(?s)<(style|script)>.*?</\1>", "", page)
    return " ".join(html.unescape(re.sub(r"(?s)<[^>]*>", " ", body)).split())


def totals_of(dataset):
    return json.loads(open_store(dataset).read("MANIFEST.json"))["totals"]


def test_it_is_written_into_the_dataset(dataset, page):
    assert write_report(dataset) == f"{dataset}/report.html"
    assert open_store(dataset).read("report.html").decode() == page


def test_the_sum_of_the_funnel_is_shown_and_holds(dataset, page):
    totals, text = totals_of(dataset), text_of(page)
    dropped, dead = sum(totals["dropped"].values()), sum(totals["dead"].values())
    assert totals["in"] == totals["kept"] + dropped + dead
    assert f"{totals['in']} in = {totals['kept']} kept + {dropped} dropped + {dead} dead" in text
    assert "Every document is accounted for once" in text
    assert "do not add up" not in text


def test_a_funnel_that_leaks_is_called_out(dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "leaking")
    manifest = json.loads((copy / "MANIFEST.json").read_text())
    manifest["totals"]["kept"] += 1
    (copy / "MANIFEST.json").write_text(json.dumps(manifest))
    text = text_of(Path(write_report(str(copy))).read_text(encoding="utf-8"))
    assert "The numbers do not add up" in text
    assert f"kept: the ledger has {manifest['totals']['kept'] - 1}, the manifest {manifest['totals']['kept']}" in text


def test_every_rule_has_a_section_with_its_count_and_its_cut(dataset, page):
    text = text_of(page)
    for reason, count in totals_of(dataset)["dropped"].items():
        rule = reason.rsplit(".", 1)[0]
        section = page[page.index(f'-title"><code>{rule}</code></h3>') :].split("</article>")[0]
        assert f"<strong>{count}</strong> dropped here" in section or f"<strong>{count}</strong> by" in section, reason
    assert "min 200 →" in text
    assert "← max 3" in text
    assert "one of JPEG, PNG, WEBP" in text


def test_galleries_hold_what_is_nearest_to_the_cut_on_both_sides(page):
    section = page[page.index("<code>image.short_side</code></h3>") :].split("</article>")[0]
    below, above = section.split('<section class="side')[1:]
    assert "Just below the min: fails" in below
    assert re.findall(r'class="value">(\d+)<', below) == ["199", "198", "197", "196", "195", "194"]
    assert re.findall(r'class="value">(\d+)<', above) == ["200", "201", "202", "203", "204", "205"]
    assert below.count("dropped here") == 6
    assert "dropped here" not in above


def test_clusters_stand_side_by_side_with_the_chosen_marked(page):
    section = page[page.index("<code>duplicate.image</code></h3>") :].split("</article>")[0]
    cluster = section[section.index('class="cluster"') :]
    assert "5 documents, 4 dropped here" in cluster
    assert cluster.count("★ chosen") == 1
    assert re.findall(r'class="state">(?:★ )?(\w+)', cluster) == ["chosen", "lost", "lost", "lost", "lost"]


def test_dead_letters_are_told_by_class_with_message_and_place(page):
    text = text_of(page[page.index('id="dead"') :])
    for reason in ("DuplicateKey", "MissingFile", "Truncated", "VectorImage"):
        assert reason in text
    assert "in image.decode" in text
    assert "gone <b>.jpg" in text


def test_the_other_sections_have_their_numbers(dataset, page):
    text = text_of(page)
    manifest = json.loads(open_store(dataset).read("MANIFEST.json"))
    assert manifest["content_sha256"] in text
    assert manifest["shards"][0]["tar"]["sha256"] in text
    for words in (
        "59 documents state none",
        "JPEG",
        "materialize",
        "image.short_side.min",
        "wall clock",
    ):
        assert words in text, words


def test_the_policy_names_the_style_and_the_script_that_are_there(page):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        parts = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        assert len(parts) == 1
        digest = base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<body>")
    assert not re.search(r"<[^>]*\s(style|on\w+)\s*=", page)
    assert "unsafe" not in policy


def test_nothing_points_outside(page):
    addresses = re.findall(r'(?:src|href|action|poster|srcset|data)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("#", "data:image/webp;base64,")) for address in addresses)


def test_hostile_captions_are_words_only(page):
    assert "<script>document.title" not in page
    assert page.count("<script") == 1
    assert "onerror=&#34;" in page
    assert "{{ 7 * 7 }}" in page
    assert "⟨U+202E⟩gpj.exe" in page
    for letter in "\0\x1b\x85\u202e\u2067":
        assert letter not in page
    assert len(max(re.findall(r"<bdi class=\"caption\"[^>]*>(.*?)</bdi>", page), key=len)) < 1500
    assert HOSTILE["long"][:2000] not in page


def test_thumbnails_are_drawn_again_and_hold_nothing_of_the_file(page):
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    assert len(found) > 50
    for data in map(base64.b64decode, set(found)):
        picture = Image.open(io.BytesIO(data))
        assert picture.format == "WEBP"
        assert max(picture.size) <= 160
        assert b"SECRET" not in data
        assert b"EXIF" not in data


def test_the_same_run_gives_the_same_page(dataset, page, tmp_path):
    write_report(dataset, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_a_page_too_large_shows_smaller_pictures_then_fewer(dataset, page, monkeypatch, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (255, 255, 3), np.uint8)
    monkeypatch.setattr(
        "pipelines.audit.thumbnails.draw", lambda run, decoder, wanted: {at[0]: Drawn(noise, 9, 9) for at in wanted}
    )
    for limit in (4_800_000, len(page) // 2, 300_000):
        monkeypatch.setattr(report, "LIMIT", limit)
        write_report(dataset, tmp_path / "large.html")
        large = (tmp_path / "large.html").read_bytes()
        assert len(large) <= limit
        assert b"min 200" in large


def test_without_room_for_galleries_the_numbers_stay(dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "LIMIT", 0)
    write_report(dataset, tmp_path / "small.html")
    small = (tmp_path / "small.html").read_text(encoding="utf-8")
    assert "data:image" not in small
    assert "Every document is accounted for once" in small
    assert "min 200" in small


def test_after_clean_it_refuses_by_name(dataset, tmp_path):
    copy = str(shutil.copytree(dataset, tmp_path / "cleaned"))
    clean(copy, dry_run=False)
    with pytest.raises(RunError, match="winnow clean"):
        write_report(copy)


def test_pictures_that_are_gone_leave_the_page_whole(raw, dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "gutted")
    for path in (copy / "work").glob("ingest-*/data/*.raw.tar"):
        path.unlink()
    text = text_of(Path(write_report(str(copy))).read_text(encoding="utf-8"))
    assert "no picture to show" in text
    assert "Every document is accounted for once" in text


def test_a_path_that_cannot_be_written_is_named(dataset, tmp_path):
    with pytest.raises(RunError, match=r"cannot be written to .*/nowhere/report.html: No such file"):
        write_report(dataset, tmp_path / "nowhere" / "report.html")


def test_a_selection_tells_what_it_took_from_the_earlier_run(dataset, tmp_path):
    plan = run.plan_select(dataset, str(tmp_path / "other"), ["image.short_side.min=198"])
    run.execute(plan, LocalEngine(1), Progress(quiet=True), "winnow select")
    page = Path(write_report(str(tmp_path / "other"))).read_text(encoding="utf-8")
    assert page.count("reused from the earlier run") >= 3
    section = page[page.index("<code>image.short_side</code></h3>") :].split("</article>")[0]
    assert "min 198" in section
    assert re.findall(r'class="value">(\d+)<', section)[:2] == ["197", "196"]
    assert "data:image/webp" in section


def test_where_there_is_no_run_it_says_so(tmp_path):
    with pytest.raises(RunError, match="not the output of a run"):
        write_report(str(tmp_path))
