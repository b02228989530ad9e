"""One run over a hostile corpus, which every test of this folder only reads."""

import pytest

from tests.pipelines.audit.material import JUDGED, corpus, curate


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("audit-raw") / "pictures")


@pytest.fixture(scope="session")
def dataset(raw, tmp_path_factory):
    return curate(raw, tmp_path_factory.mktemp("audit-run") / "dataset")


@pytest.fixture(scope="session")
def judged(raw, tmp_path_factory):
    """The same input, with a scorer that finds the wide pictures sensitive."""
    folder = tmp_path_factory.mktemp("audit-judged")
    (folder / "judged.yaml").write_text(JUDGED)
    return curate(raw, folder / "dataset", str(folder / "judged.yaml"))
