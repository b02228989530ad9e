"""The page: findings as the template wants them, and the template rendered under a policy that lets nothing out.

Nothing may be fetched or run but this file's own style sheet and script, which the policy names by their SHA-256.
"""

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jinja2
from markupsafe import Markup

from manifests.rules import Bounds, Rule
from pipelines import recipe as recipes
from pipelines.audit import charts, text
from pipelines.audit.charts import Chart, Line
from pipelines.audit.clusters import ClusterStudy
from pipelines.audit.findings import Findings
from pipelines.audit.funnel import Step
from pipelines.audit.gallery import Album, Tiles
from pipelines.audit.studies import VALUES, Study
from pipelines.audit.tallies import Tally
from pipelines.audit.throughput import Throughput, Work
from pipelines.recipe import Recipe

CLUSTER = "documents in a cluster"
TOP = 10  # lines of a table of kinds
OUTCOMES = (("kept", "kept"), ("fails", "dropped"), ("dead", "dead"))  # (class of the drawing, outcome in the ledger)


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule's section. bounds: `min 200 pixels`. unit, about: of its score. hint: how to read its drawing."""

    step: Step
    anchor: str
    bounds: str
    unit: str
    about: str
    chart: Chart | None = None
    numbers: Sequence[charts.Row] = ()
    missing: int = 0
    infinite: int = 0
    lines: Sequence[Line] = ()
    lines_title: str = ""
    beyond: tuple[int, int] = (0, 0)
    galleries: Sequence[tuple[Tiles, Tiles]] = ()
    clusters: Sequence[Tiles] = ()
    per: str = "documents"


@dataclass(frozen=True, slots=True)
class Kind:
    """The commonest values of one column. missing: rows without a value."""

    title: str
    per: str
    lines: Sequence[Line]
    beyond: tuple[int, int]
    missing: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template reads."""

    name: str
    recipe: Recipe
    fingerprint: str
    findings: Findings
    problems: Sequence[str]
    steps: Sequence[tuple[Step, str, Sequence[charts.Part]]]
    rules: Sequence[RuleView]
    outcomes: Sequence[charts.Part]
    judged: Sequence[charts.Part]
    kept: Sequence[charts.Part]
    kinds: Sequence[Kind]
    album: Album
    pictures: int
    work: Throughput
    phases: Sequence[Line]
    stages: Sequence[Line]
    keys: Sequence[recipes.Key]
    facts: Mapping[str, str] = field(default_factory=dict)
    example: str = "RULE.min"  # of a key that `winnow select` can set


def page_of(recipe: Recipe, findings: Findings, album: Album, work: Throughput) -> Page:
    manifest, funnel = findings.manifest, findings.funnel
    steps = funnel.steps()
    views = [view for step in steps if (view := rule_view(recipe, findings, album, step)) is not None]
    anchors = {view.step.rule.name: view.anchor for view in views}
    return Page(
        name=manifest.name,
        recipe=recipe,
        fingerprint=str(manifest.recipe.get("fingerprint", recipe.fingerprint())),
        findings=findings,
        problems=funnel.problems(manifest.totals),
        steps=[(step, anchors.get(step.rule.name, ""), step_parts(step, funnel.judged)) for step in steps],
        rules=views,
        outcomes=charts.parts([(kind, funnel.outcomes[outcome]) for kind, outcome in OUTCOMES], funnel.rows),
        judged=charts.parts([("kept", funnel.judged)], funnel.judged),
        kept=charts.parts([("kept", funnel.outcomes["kept"])], funnel.judged),
        kinds=[kind_view(*kind) for kind in findings.kinds if set(kind[2].total) - {""} or kind[2].missing],
        album=album,
        pictures=sum(1 for tile in album.all_tiles() if tile.uri),
        work=work,
        phases=time_lines(work.phases),
        stages=time_lines(work.stages),
        keys=recipes.keys(recipe),
        facts=run_facts(work),
        example=next(
            (cut for step in steps for cut in step.rule.reasons if cut.endswith((".min", ".max"))), "RULE.min"
        ),
    )


def rule_view(recipe: Recipe, findings: Findings, album: Album, step: Step) -> RuleView | None:
    """None for a rule that has no section: its score is not in the ledger, or there are too many rules."""
    rule = step.rule
    about = next((score for score in recipe.scores if score.name == rule.name), None)
    base: dict[str, Any] = {
        "step": step,
        "anchor": f"rule-{step.place}",
        "unit": "" if about is None else about.unit,
        "about": "" if about is None else sentence(about.description),
        "bounds": bounds_text(rule, "" if about is None else about.unit),
    }
    tiles = album.by_rule.get(rule.name, [])
    if rule.name in findings.clusters:
        study = findings.clusters[rule.name]
        return RuleView(**base, **cluster_lines(study), clusters=tiles, missing=study.missing)
    if rule.name not in findings.studies:
        return None
    return RuleView(**base, **bounds_view(findings.studies[rule.name]), galleries=paired(tiles))


def sentence(words: str) -> str:
    words = text.harmless(words, 400).rstrip(".")
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def bounds_view(study: Study) -> dict[str, Any]:
    out: dict[str, Any] = {"per": "pictures" if study.level == "media" else "documents"}
    if study.histogram is not None:
        histogram = study.histogram
        out |= {"chart": charts.histogram_chart(histogram), "numbers": charts.rows_of(histogram)}
        out |= {"missing": histogram.missing, "infinite": histogram.infinite}
    if study.rule.allowed is not None:
        allowed = {str(value).lower() if isinstance(value, bool) else str(value) for value in study.rule.allowed}
        rows = []
        for value, _, by_outcome in study.tally.top(VALUES):
            good = value in allowed
            parts = (
                [("kept", "kept", by_outcome["kept"]), ("elsewhere", charts.SERIES_WORDS[1], by_outcome["dropped"])]
                if good
                else [("fails", "fail", by_outcome.total())]
            )
            rows.append((text.harmless(value, 60), parts, "allowed" if good else "not allowed"))
        whole = study.tally.total.total() + study.tally.rest
        out |= {"lines": charts.lines(rows, whole), "beyond": study.tally.beyond(VALUES)}
        out |= {"lines_title": "value", "missing": study.tally.missing}
    return out


def cluster_lines(study: ClusterStudy) -> dict[str, Any]:
    rows = []
    whole = 0
    for size in sorted(study.sizes):
        count, chosen, lost, before = (int(n) for n in study.sizes[size])
        span = "alone" if size == 1 else f"{size if size == 2 else f'{size // 2 + 1:,}–{size:,}'} together"
        parts = [("kept", "chosen", chosen), ("elsewhere", "dropped before", before), ("fails", "lost", lost)]
        rows.append((span, parts, f"{count:,} clusters" if count != 1 else "1 cluster"))
        whole += chosen + lost + before
    return {"lines": charts.lines(rows, whole), "lines_title": CLUSTER}


def step_parts(step: Step, judged: int) -> Sequence[charts.Part]:
    return charts.parts([("kept", step.left), ("fails", step.dropped)], judged)


def paired(tiles: Sequence[Tiles]) -> list[tuple[Tiles, Tiles]]:
    """Both sides of each bound, as they lie on the axis: what a min fails is left of it, what a max fails right."""
    by_side = {(group.bound, group.side): group for group in tiles}
    out = []
    for bound in dict.fromkeys(group.bound for group in tiles):
        sides = [by_side.get((bound, side), Tiles(bound, side, [])) for side in ("fails", "passes")]
        left, right = reversed(sides) if bound == "max" else sides
        out.append((left, right))
    return out


def bounds_text(rule: Rule, unit: str) -> str:
    if not isinstance(rule, Bounds):
        order = ", then ".join(
            f"{'highest' if key.startswith('-') else 'lowest'} {key.removeprefix('-')}" for key in (*rule.by, "uid")
        )
        return f"keeps {rule.keep} of each cluster: {order}"
    words = []
    if rule.min is not None:
        words.append(f"at least {text.number(rule.min)}")
    if rule.max is not None:
        words.append(f"at most {text.number(rule.max)}")
    one = rule.max == 1 or (rule.max is None and rule.min == 1)
    counted = words and unit.endswith("s") and not one  # pixels and words are counted, a ratio is not
    bounds = " and ".join(words) + (f" {unit}" if counted else "")
    if rule.allowed is None:
        return bounds
    allowed = "one of " + ", ".join(text.harmless(str(value), 40) for value in rule.allowed[:20])
    return f"{bounds}, {allowed}" if words else allowed


def kind_view(title: str, per: str, tally: Tally) -> Kind:
    rows = [
        (text.harmless(value, 80) or "(none)", [(kind, name, by[name]) for kind, name in OUTCOMES], "")
        for value, _, by in tally.top(TOP)
    ]
    whole = tally.total.total() + tally.rest + tally.missing
    return Kind(title, per, charts.lines(rows, whole), tally.beyond(TOP), tally.missing)


def time_lines(work: Sequence[Work]) -> list[Line]:
    rows = []
    for item in work:
        rate = f"{text.number(round(item.rate))} /s" if item.rate else ""
        mark = "reused from the earlier run" if item.reused else rate
        rows.append((item.name, [("kept", "ms", round(item.seconds * 1000))], mark))
    return charts.lines(rows, sum(round(item.seconds * 1000) for item in work))


def run_facts(work: Throughput) -> dict[str, str]:
    """What RUN.json says of the machine, without paths or host names: a report is passed on."""
    run = work.run
    facts = {
        "finished": str(run.get("finished", "")),
        "engine": str(run.get("engine", "")),
        "cores": str(run.get("cores", "")),
        "Python": str(run.get("python", "")),
        "libraries": ", ".join(f"{name} {version}" for name, version in dict(run.get("libraries", {})).items()),
    }
    return {name: text.harmless(value) for name, value in facts.items() if value}


@lru_cache(maxsize=1)
def _template() -> tuple[jinja2.Template, str, str]:
    folder = importlib.resources.files("pipelines.audit") / "templates"
    sources = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".html")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": text.number,
        "size": text.size,
        "seconds": text.seconds,
        "harmless": text.harmless,
        "locator": text.locator_line,
        "shown": shown_setting,
    }
    environment.globals["share"] = text.share
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html"), style, script


def shown_setting(value: Any) -> str:
    return "off" if value is None else text.harmless(json.dumps(value, ensure_ascii=False))


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: nothing from anywhere, but these two by their digests, and pictures in the page."""
    hashes = (base64.b64encode(hashlib.sha256(part.encode("utf-8")).digest()).decode() for part in (style, script))
    style_hash, script_hash = hashes
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def render(page: Page) -> str:
    template, style, script = _template()
    return template.render(page=page, style=Markup(style), script=Markup(script), policy=policy(style, script))
