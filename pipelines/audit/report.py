"""report.html: what a run did and why, for people; one file that opens offline and carries no byte of the source."""

from pathlib import Path

from manifests.errors import RunError
from manifests.rules import Rule
from pipelines.audit.findings import Findings, find
from pipelines.audit.gallery import Album, Curator
from pipelines.audit.page import page_of, render
from pipelines.audit.throughput import throughput
from pipelines.folder import RunFolder
from pipelines.image_text import phases_of
from pipelines.ingest import Ingest
from pipelines.recipe import Recipe
from pipelines.run import open_run

REPORT = "report.html"
LIMIT = 4_800_000  # bytes of the whole file: under five million, whatever the unit
LEAST_FOR_PICTURES = 400_000
SHOWN = (6, 3, 0)  # documents on each side of a cut, fewer where the page would grow too large


def write_report(output_uri: str, path: Path | None = None) -> str:
    """Writes the report of a finished run into its folder, or to `path`, and returns where it is.

    Raises RunError where there is no dataset, where its work folder was cleaned away (galleries need the raw pictures),
    and where `path` cannot be written.
    """
    recipe, run = open_run(output_uri)
    html = make_report(recipe, run).encode("utf-8")
    if path is None:
        run.store.put(REPORT, html)
        return f"{output_uri.rstrip('/')}/{REPORT}"
    try:
        path.write_bytes(html)
    except OSError as error:
        raise RunError(f"the report cannot be written to {path}: {error.strerror or error}") from None
    return str(path)


def make_report(recipe: Recipe, run: RunFolder) -> str:
    """The whole page as text. The same run gives the same text, but for times."""
    rules: list[Rule] = [rule for rule in recipe.rules if rule.active]
    findings, ledger = find(run.store, rules)
    curator = Curator(run, ledger, recipe.decoder)
    work = throughput(run, [Ingest.name, *(phase.name for phase in phases_of(recipe))])
    for shown in SHOWN:
        album = pictures_wanted(curator, findings, shown)
        page = page_of(recipe, findings, album, work)
        room = LIMIT - len(render(page).encode("utf-8"))
        if room >= LEAST_FOR_PICTURES or shown == SHOWN[-1]:
            break
    curator.draw(album, max(0, room))
    return render(page_of(recipe, findings, album, work))


def pictures_wanted(curator: Curator, findings: Findings, shown: int) -> Album:
    if shown == 0:
        return Album()
    galleries = {name: study.galleries() for name, study in findings.studies.items()}
    clusters = {name: study.clusters[:shown] for name, study in findings.clusters.items()}
    return curator.album(galleries, clusters, shown)
