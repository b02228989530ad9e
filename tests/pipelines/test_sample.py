"""`winnow sample`: real dpkg-deb and real small packages; apt-get is a script that serves them as apt-get would."""

import fcntl
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from PIL import Image

from manifests.errors import RunError
from pipelines.sample import MARKER, fetch_sample

APT_GET = """
    #!{python}
    import pathlib, shutil, sys, time
    here = pathlib.Path({here!r})
    words, options = [], {{}}
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        if argument == "-o":
            name, _, value = next(arguments).partition("=")
            options[name] = value
        elif argument not in ("-qq", "--print-uris"):
            words.append(argument)
    with (here / "log").open("a") as log:
        log.write(" ".join(sys.argv[1:]) + "\\n")
    verb, *names = words
    own = pathlib.Path(options.get("Dir::State::lists", here / "lists"))
    if verb == "update":
        if (here / "no-network").exists():
            print("W: Failed to fetch InRelease  Could not connect", file=sys.stderr)
        else:
            (own / "fresh").touch()
        sys.exit(0)
    if not any(own.glob("*")):
        for name in names:
            print("E: Unable to locate package", name, file=sys.stderr)
        sys.exit(100)
    for name in names:
        files = list((here / "archive").glob(name + "_*.deb"))
        if not files:
            print("E: Unable to locate package", name, file=sys.stderr)
            sys.exit(100)
        if "--print-uris" in sys.argv:
            print("'http://archive.test/" + files[0].name + "'", files[0].name, files[0].stat().st_size, "SHA256:0")
            continue
        if not (own / "fresh").exists():
            print("E: Failed to fetch", files[0].name, " 404  Not Found", file=sys.stderr)
            sys.exit(100)
        if (here / "slow").exists():
            pathlib.Path(files[0].name).write_bytes(files[0].read_bytes()[:100])
            time.sleep(30)
        shutil.copyfile(files[0], files[0].name)
"""

PAGE = '<!DOCTYPE html><title>A page</title><p><img src="images/a.png" alt="A red square on a page"></p>\n'


def png(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, "PNG")


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def manual(root: Path) -> None:
    pages = root / "usr/share/gimp/2.0/help/en"
    write(pages / "index.html", PAGE)
    png(pages / "images/a.png")
    (root / "usr/share/doc").mkdir(parents=True)
    (root / "usr/share/doc/gimp-help-en").symlink_to("gimp-help-common")


def licence(root: Path) -> None:
    write(root / "usr/share/doc/gimp-help-common/copyright", "License: GFDL-NIV-1.2+\n")


def documentation(root: Path) -> None:
    """As Debian packs it: some files gzipped, links inside and out of it, files that are no part of pages."""
    folder = root / "usr/share/doc/opencv-doc"
    write(folder / "copyright", "License: Apache-2.0\n")
    write(folder / "opencv4/html/index.html", PAGE.replace("images/a.png", "b.png"))
    png(folder / "opencv4/html/b.png", "blue")
    (folder / "opencv4/html/again.png").symlink_to("b.png")
    (folder / "opencv4/html/passwords.png").symlink_to("/etc/passwd")
    (folder / "opencv4/html/nowhere.png").symlink_to("missing.png")
    (folder / "opencv4/html/up").symlink_to("../..")
    write(folder / "opencv4/html/cup.mp4.gz", gzip.compress(b"clip"))
    write(folder / "opencv4/html/broken.ico.gz", b"not gzip")
    write(folder / "examples/model.xml.gz", gzip.compress(b"<model/>"))
    png(folder / "examples/data/photo.png", "green")


PACKAGES = {"gimp-help-en": manual, "gimp-help-common": licence, "opencv-doc": documentation}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three packages, made by the real dpkg-deb."""
    folder = tmp_path_factory.mktemp("archive")
    for name, fill in PACKAGES.items():
        root = tmp_path_factory.mktemp(name)
        fill(root)
        write(
            root / "DEBIAN/control",
            f"Package: {name}\nVersion: 1:2.5-1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n",
        )
        os.chmod(root, 0o755)
        file = folder / f"{name}_1%3a2.5-1_all.deb"
        command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(root), str(file)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def apt(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's package tool that knows the packages. Its folder: `log` has one line a call."""
    here = tmp_path / "machine"
    (here / "lists").mkdir(parents=True)
    (here / "lists/fresh").touch()
    (here / "archive").symlink_to(archive)
    script = here / "bin/apt-get"
    write(script, textwrap.dedent(APT_GET).lstrip().format(python=sys.executable, here=str(here)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return here


def calls(apt: Path) -> list[str]:
    log = apt / "log"
    return log.read_text().splitlines() if log.exists() else []


def tree(root: Path) -> dict[str, str]:
    """Relative path -> digest of every file; links are told apart."""
    return {
        path.relative_to(root).as_posix(): "link"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


TAKEN = [
    "SOURCES.json",
    "SOURCES.md",
    "gimp-help-en/copyright",
    "gimp-help-en/images/a.png",
    "gimp-help-en/index.html",
    "opencv-doc/copyright",
    "opencv-doc/examples/data/photo.png",
    "opencv-doc/opencv4/html/again.png",
    "opencv-doc/opencv4/html/b.png",
    "opencv-doc/opencv4/html/cup.mp4",
    "opencv-doc/opencv4/html/index.html",
]


def test_packages_become_two_folders_of_pages_without_being_installed(apt: Path, tmp_path: Path):
    said: list[str] = []
    summary = fetch_sample(tmp_path / "corpus", progress=said.append)
    found = tree(tmp_path / "corpus")
    assert sorted(found) == TAKEN
    assert "link" not in found.values()
    assert (summary.origin, summary.taken.pages, summary.taken.pictures, summary.taken.clips) == ("packages", 2, 4, 1)
    assert summary.taken.files == len(TAKEN) - 2
    assert summary.taken.left_out == 5  # three links, a model, and what is not gzipped
    assert summary.packages == {"gimp-help-en": "1:2.5-1", "opencv-doc": "1:2.5-1"}
    assert (tmp_path / "corpus/opencv-doc/opencv4/html/cup.mp4").read_bytes() == b"clip"
    sources = (tmp_path / "corpus/SOURCES.md").read_text()
    assert all(word in sources for word in ("gimp-help-en", "1:2.5-1", "GFDL-1.2", "Apache-2.0"))
    assert any("downloading" in line for line in said)
    assert not any("install" in call.split() for call in calls(apt))


def test_a_second_call_returns_at_once_whatever_the_machine_offers(apt: Path, tmp_path: Path):
    first = fetch_sample(tmp_path / "corpus")
    before, called = tree(tmp_path / "corpus"), len(calls(apt))
    again = fetch_sample(tmp_path / "corpus")
    assert again.reused
    assert not first.reused
    assert again.contents() == first.contents()
    assert tree(tmp_path / "corpus") == before
    assert len(calls(apt)) == called


def test_a_machine_with_empty_lists_gets_lists_of_its_own_beside_the_corpus(apt: Path, tmp_path: Path):
    (apt / "lists/fresh").unlink()
    fetch_sample(tmp_path / "corpus")
    assert sorted(tree(tmp_path / "corpus")) == TAKEN
    update = next(call for call in calls(apt) if call.endswith("update"))
    for name in ("Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache"):
        assert f"{name}={tmp_path}/corpus/.partial/" in update
    assert not any((apt / "lists").iterdir())


def test_lists_that_name_a_file_that_is_gone_are_replaced_by_own_ones(apt: Path, tmp_path: Path):
    (apt / "lists/fresh").rename(apt / "lists/old")
    said: list[str] = []
    fetch_sample(tmp_path / "corpus", progress=said.append)
    assert sorted(tree(tmp_path / "corpus")) == TAKEN
    assert any("404" in line and "lists of our own" in line for line in said)


def test_without_network_the_error_says_why_and_names_both_ways_out(apt: Path, tmp_path: Path):
    (apt / "lists/fresh").unlink()
    (apt / "no-network").touch()
    with pytest.raises(RunError, match=r"gimp-help-en and opencv-doc .*Could not connect.*--from DIR.*--synthetic N"):
        fetch_sample(tmp_path / "corpus")
    assert not (tmp_path / "corpus" / MARKER).exists()
    assert fetch_sample(tmp_path / "corpus", synthetic=3).origin == "rendered"  # one way out, in the same folder


def test_a_package_that_only_brings_a_licence_may_be_missing(apt: Path, archive: Path, tmp_path: Path):
    (apt / "archive").unlink()
    (apt / "archive").mkdir()
    for name in ("gimp-help-en", "opencv-doc"):
        file = next(archive.glob(f"{name}_*.deb"))
        (apt / "archive" / file.name).symlink_to(file)
    fetch_sample(tmp_path / "corpus")
    assert sorted(tree(tmp_path / "corpus")) == [name for name in TAKEN if name != "gimp-help-en/copyright"]


def test_a_machine_without_the_tools_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"no apt-get and no dpkg-deb .*--from DIR.*--synthetic N"):
        fetch_sample(tmp_path / "corpus")


def test_a_broken_package_file_is_named(apt: Path, tmp_path: Path):
    (apt / "archive").unlink()
    for name in PACKAGES:
        write(apt / f"archive/{name}_1_all.deb", "not a package")
    with pytest.raises(RunError, match=r"dpkg-deb fails on gimp-help-en_1_all.deb"):
        fetch_sample(tmp_path / "corpus")


def test_an_interrupt_stops_the_download_and_a_rerun_completes(apt: Path, tmp_path: Path):
    (apt / "slow").touch()
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipelines.sample import fetch_sample\n"
        "try:\n    fetch_sample(Path(sys.argv[1]))\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "corpus")], cwd=root)
    deadline = time.monotonic() + 60
    while not any((tmp_path / "corpus").rglob("*.deb")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert list((tmp_path / "corpus").iterdir()) == [tmp_path / "corpus/.partial"]
    (apt / "slow").unlink()
    assert not fetch_sample(tmp_path / "corpus").reused
    assert sorted(tree(tmp_path / "corpus")) == TAKEN


@pytest.mark.parametrize("lost", [[MARKER], [MARKER, "SOURCES.md", "opencv-doc/opencv4/html/index.html"]])
def test_what_was_stopped_before_its_last_step_is_completed(apt: Path, tmp_path: Path, lost: list[str]):
    fetch_sample(tmp_path / "corpus")
    whole = tree(tmp_path / "corpus")
    (tmp_path / "corpus/.partial/tree").mkdir(parents=True)
    for name in lost:
        (tmp_path / "corpus" / name).unlink()
    assert not fetch_sample(tmp_path / "corpus").reused
    assert tree(tmp_path / "corpus") == whole


def test_a_finished_corpus_that_lost_a_file_is_completed(apt: Path, tmp_path: Path):
    fetch_sample(tmp_path / "corpus")
    whole = tree(tmp_path / "corpus")
    (tmp_path / "corpus/gimp-help-en/index.html").unlink()
    fetch_sample(tmp_path / "corpus")
    assert tree(tmp_path / "corpus") == whole


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path):
    (tmp_path / "corpus/.partial").mkdir(parents=True)
    with (tmp_path / "corpus/.partial/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another `winnow sample` is at work"):
            fetch_sample(tmp_path / "corpus", synthetic=3)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    write(tmp_path / "thesis.tex", "years of work")
    with pytest.raises(RunError, match=r"holds other things \(thesis.tex"):
        fetch_sample(tmp_path, synthetic=3)
    assert tree(tmp_path) == {"thesis.tex": hashlib.sha256(b"years of work").hexdigest()}
    with pytest.raises(RunError, match="is not a folder"):
        fetch_sample(tmp_path / "thesis.tex", synthetic=3)


def test_another_corpus_than_the_one_there_is_refused(tmp_path: Path):
    fetch_sample(tmp_path / "corpus", synthetic=5)
    assert fetch_sample(tmp_path / "corpus", synthetic=5).reused
    assert fetch_sample(tmp_path / "corpus").reused  # any will do
    with pytest.raises(RunError, match="holds another sample corpus"):
        fetch_sample(tmp_path / "corpus", synthetic=6)
    with pytest.raises(RunError, match="seed 0, not 1"):
        fetch_sample(tmp_path / "corpus", synthetic=5, seed=1)
    with pytest.raises(RunError, match="holds another sample corpus"):
        fetch_sample(tmp_path / "corpus", from_directory=tmp_path)
    with pytest.raises(RunError, match="give one of them"):
        fetch_sample(tmp_path / "corpus", from_directory=tmp_path, synthetic=5)
    (tmp_path / "corpus" / MARKER).write_text('{"schema": 99}')
    with pytest.raises(RunError, match="not of this version"):
        fetch_sample(tmp_path / "corpus")


@pytest.mark.parametrize("apart", [False, True], ids=["one folder", "a folder each"])
def test_an_unpacked_copy_gives_what_the_packages_give(apt: Path, archive: Path, tmp_path: Path, apart: bool):
    fetch_sample(tmp_path / "corpus")
    for file in archive.glob("*.deb"):
        to = tmp_path / "unpacked" / (file.name.partition("_")[0] if apart else "")
        to.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", file, to], check=True)
    summary = fetch_sample(tmp_path / "copy", from_directory=tmp_path / "unpacked")
    assert (summary.origin, summary.packages) == ("copy", {})
    fetched, copied = tree(tmp_path / "corpus"), tree(tmp_path / "copy")
    different = {name for name in fetched | copied if fetched.get(name) != copied.get(name)}
    assert different == {"SOURCES.md", "SOURCES.json"}


def test_a_copy_of_an_earlier_corpus_keeps_its_paths_and_versions(apt: Path, tmp_path: Path):
    fetched = fetch_sample(tmp_path / "corpus")
    summary = fetch_sample(tmp_path / "copy", from_directory=tmp_path / "corpus")
    assert summary.packages == fetched.packages
    assert sorted(tree(tmp_path / "copy")) == TAKEN


def test_any_folder_of_pages_can_be_copied_and_links_out_of_it_stay_out(tmp_path: Path):
    write(tmp_path / "elsewhere/secret.png", "secret")
    write(tmp_path / "site/a/index.html", PAGE)
    write(tmp_path / "site/notes.doc", "not a part of pages")
    png(tmp_path / "site/a/images/a.png")
    (tmp_path / "site/a/images/out.png").symlink_to(tmp_path / "elsewhere/secret.png")
    (tmp_path / "site/a/images/over.png").symlink_to("../../../elsewhere/secret.png")
    (tmp_path / "site/a/all").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "site/a/circle.png").symlink_to("circle.png")
    os.mkfifo(tmp_path / "site/a/pipe.png")
    summary = fetch_sample(tmp_path / "corpus", from_directory=tmp_path / "site")
    found = tree(tmp_path / "corpus/pages")
    assert sorted(found) == ["a/images/a.png", "a/index.html"]
    assert "link" not in found.values()
    assert summary.taken.left_out == 6
    assert "not known" in (tmp_path / "corpus/SOURCES.md").read_text()


def test_a_copy_needs_pages_pictures_and_a_place_outside_of_itself(tmp_path: Path):
    write(tmp_path / "pages/index.html", "<p>No picture here.</p>")
    with pytest.raises(RunError, match="holds no pictures: give a folder"):
        fetch_sample(tmp_path / "a", from_directory=tmp_path / "pages")
    png(tmp_path / "pictures/a.png")
    with pytest.raises(RunError, match="holds no pages: give a folder"):
        fetch_sample(tmp_path / "b", from_directory=tmp_path / "pictures")
    with pytest.raises(RunError, match="is not a folder"):
        fetch_sample(tmp_path / "c", from_directory=tmp_path / "nothing")
    with pytest.raises(RunError, match="lie in one another"):
        fetch_sample(tmp_path / "pages/corpus", from_directory=tmp_path / "pages")


def test_a_rendered_corpus_says_so_and_is_the_same_for_the_same_seed(tmp_path: Path):
    summary = fetch_sample(tmp_path / "one", synthetic=30, seed=7)
    fetch_sample(tmp_path / "two", synthetic=30, seed=7)
    fetch_sample(tmp_path / "three", synthetic=30, seed=8)
    assert (summary.taken.pages, summary.taken.pictures) == (4, 30)  # three pages of pictures and one that lists them
    assert "rendered, not real" in str(summary)
    assert "rendered, not real" in (tmp_path / "one/SOURCES.md").read_text()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert tree(tmp_path / "one/pages") != tree(tmp_path / "three/pages")


def test_the_summary_is_one_json_object(tmp_path: Path):
    value = json.loads(json.dumps(fetch_sample(tmp_path / "corpus", synthetic=2).to_json()))
    assert value["origin"] == "rendered"
    assert value["directory"] == str(tmp_path / "corpus")
    assert {"pages", "pictures", "clips", "bytes", "packages", "seconds", "reused"} <= set(value)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_packages_are_fetched_with_lists_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "no-lists").mkdir()
    write(tmp_path / "apt.conf", f'Dir::State::lists "{tmp_path}/no-lists/";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    summary = fetch_sample(tmp_path / "corpus")
    assert summary.taken.pages > 5000
    assert summary.taken.pictures > 3000
    assert all((tmp_path / "corpus" / name / "copyright").is_file() for name in summary.packages)
    assert "link" not in tree(tmp_path / "corpus").values()
