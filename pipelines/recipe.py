"""A recipe: YAML that sets the bounds of rules and the fields of scorers, checked against what the family has.

Keys are dotted on the command line (`--set image.short_side.min=128`) and nested or dotted in YAML. The last part is
the field; what is before it names a rule (by its score), a scorer, or one of the run's own settings.
"""

import dataclasses
import hashlib
import importlib
import importlib.resources
import itertools
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from manifests.document import canonical_json
from manifests.errors import RunError
from manifests.rules import Bounds, Choose, Rule
from pipelines.choose import rule_config
from pipelines.phase import fields_of
from pipelines.recipe_checks import LEAST, check_keys, check_rules, check_scorers, check_type, is_number, nearest
from stages.scorer import Score, Scorer

BOUND_FIELDS = {"min": float, "max": float, "in": list, "gate": bool, "drop": str}
CHOOSE_FIELDS = {"choose": list, "keep": int}


@dataclass(frozen=True)
class Shards:
    """The most that one output shard holds."""

    samples: int = 10_000
    bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """A task stops as misconfigured once `records` were tried and this share of them died of one class in one stage."""

    max_dead_share: float = 0.95
    records: int = 200


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of a dataset, beside its input.

    stages: named settings objects in order: the decoder's, each scorer's, `shards`, `limits`.
    """

    name: str
    about: str
    family: str
    rules: tuple[Rule, ...]
    scorers: tuple[Scorer, ...]
    decoder: Any
    shards: Shards
    limits: Limits
    user_scorers: tuple[str, ...] = ()

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(score for scorer in self.scorers for score in scorer.scores)

    def settings(self) -> dict[str, Any]:
        """All of it as JSON: for the manifest, and for the fingerprint. `limits` and sources change no byte."""
        return {
            "name": self.name,
            "family": self.family,
            "rules": [rule_config(rule) for rule in self.rules],
            "scorers": [{"name": s.name, "version": s.version, **fields_of(s)} for s in self.scorers],
            "decoder": fields_of(self.decoder),
            "shards": dataclasses.asdict(self.shards),
        }

    def fingerprint(self) -> str:
        return hashlib.sha256(canonical_json(self.settings())).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Key:
    """One settable key, for `winnow recipes NAME` and for error messages."""

    key: str
    default: Any
    type: str
    unit: str
    source: str


def recipe_names() -> list[str]:
    folder = importlib.resources.files("pipelines") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load(name: str, sets: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a YAML file by path, with `a.b=c` settings on top.

    Raises RunError that names the key, the value, what is allowed and the file.
    """
    path = Path(name)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        try:
            text, where = path.read_text(encoding="utf-8"), name
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RunError(f"recipe file {name} cannot be read: {reason}") from None
    elif name in recipe_names():
        text = (importlib.resources.files("pipelines") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        where = f"recipe {name}"
    else:
        raise RunError(
            f"no recipe is called {name!r}{nearest(name, recipe_names())}; there are: {', '.join(recipe_names())}"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    return build(value, where, sets)


def spec(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the YAML value that `build` makes it from again, every setting written out."""
    stages = {
        getattr(s, "name", type(s).__name__.lower()): s
        for s in (recipe.decoder, *recipe.scorers, recipe.shards, recipe.limits)
    }
    rules: list[tuple[str, dict[str, Any]]] = []  # pairs, because JSON with sorted keys would lose their order
    for rule in recipe.rules:
        if isinstance(rule, Choose):
            rules.append((rule.name, {"choose": list(rule.by), "keep": rule.keep, "source": rule.source}))
        else:
            allowed = None if rule.allowed is None else list(rule.allowed)
            bounds = {"min": rule.min, "max": rule.max, "in": allowed}
            rules.append((rule.name, {**bounds, "drop": rule.drop, "gate": rule.gate, "source": rule.source}))
    return {
        "name": recipe.name,
        "about": recipe.about,
        "family": recipe.family,
        "scorers": list(recipe.user_scorers),
        "rules": rules,
        "settings": {f"{name}.{field}": value for name, s in stages.items() for field, value in fields_of(s).items()},
    }


FAMILIES = {"image_text": "pipelines.image_text"}
TOP = {"name", "about", "family", "base", "rules", "settings", "scorers"}


def build(value: Any, where: str, sets: Sequence[str] = ()) -> Recipe:
    """A recipe from its YAML value; see `load`. `base: NAME` starts from a shipped recipe."""
    if not isinstance(value, dict):
        raise RunError(f"{where}: expected a mapping with {', '.join(sorted(TOP))}, found {type(value).__name__}")
    check_keys(value, TOP, where)
    if "base" in value:
        base = yaml.safe_load(
            (
                importlib.resources.files("pipelines") / "recipes" / f"{known_base(value['base'], where)}.yaml"
            ).read_text()
        )
        value = merged(base, value, where)
    family = value.get("family")
    if family not in FAMILIES:
        raise RunError(
            f"{where}: family {family!r} is unknown{nearest(str(family), FAMILIES)}; allowed: {', '.join(FAMILIES)}"
        )
    module = importlib.import_module(FAMILIES[family])
    user = tuple(value.get("scorers") or ())
    decoder, scorers = module.decoder(), [*module.scorers(), *(user_scorer(name, where) for name in user)]
    stages: dict[str, Any] = {decoder.name: decoder, "shards": Shards(), "limits": Limits()}
    check_scorers(scorers, where)
    stages |= {scorer.name: scorer for scorer in scorers}
    ordered = dict(value.get("rules") or {})  # a mapping, or pairs as `spec` writes them
    rules = {name: rule_from(name, spec, scorers, where) for name, spec in ordered.items()}
    for key, setting in flatten(value.get("settings") or {}, where):
        assign(key, setting, rules, stages, where)
    for key, setting in assignments("--set", sets, "image.short_side.min=128").items():
        assign(key, setting, rules, stages, "--set")
    check_rules(rules.values(), {score.name: score for scorer in scorers for score in scorer.scores}, where)
    for name, (field, least) in itertools.product(stages, LEAST.items()):
        value_ = getattr(stages[name], field, least)
        if isinstance(value_, int | float) and value_ < least:
            raise RunError(f"{where}: {name}.{field} is {value_}; expected {least} or more")
    return Recipe(
        name=str(value.get("name", "unnamed")),
        about=" ".join(str(value.get("about", "")).split()),
        family=family,
        rules=tuple(rules.values()),
        scorers=tuple(stages[scorer.name] for scorer in scorers),
        decoder=stages[decoder.name],
        shards=stages["shards"],
        limits=stages["limits"],
        user_scorers=user,
    )


def assignments(option: str, items: Iterable[str], example: str) -> dict[str, Any]:
    """KEY=VALUE items of an option, the values as YAML. RunError for one that is not of that form."""
    out: dict[str, Any] = {}
    for item in items:
        key, mark, text = item.partition("=")
        if not mark:
            raise RunError(f"{option} {item}: expected KEY=VALUE, such as {example}")
        if not text.strip():
            raise RunError(f"{option} {item}: has no value; to switch a bound off, say off")
        try:
            out[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise RunError(f"{option} {item}: {text!r} is not a value; expected {example}") from None
    return out


def known_base(name: Any, where: str) -> str:
    if name not in recipe_names():
        raise RunError(
            f"{where}: base {name!r} is unknown{nearest(str(name), recipe_names())}; "
            f"allowed: {', '.join(recipe_names())}"
        )
    return str(name)


def merged(base: Mapping[str, Any], over: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A base recipe with another on top: rules keep the base's order and new ones follow."""
    out = {**base, **{key: item for key, item in over.items() if key not in ("base", "rules", "settings", "scorers")}}
    rules = {name: dict(spec) for name, spec in (base.get("rules") or {}).items()}
    for name, changed in (over.get("rules") or {}).items():
        if not isinstance(changed, dict):
            raise RunError(
                f"{where}: rule {name} is {changed!r}; expected a mapping such as {{min: 200}} or {{min: off}}"
            )
        rules[name] = {**rules.get(name, {}), "source": "", **changed}  # the default's source no longer holds
    out["rules"] = rules
    out["settings"] = {**(base.get("settings") or {}), **(over.get("settings") or {})}
    out["scorers"] = [*(base.get("scorers") or ()), *(over.get("scorers") or ())]
    return out


def user_scorer(name: str, where: str) -> Scorer:
    """`my_package.blur:Blur`, imported and made with its defaults."""
    module, _, attribute = str(name).partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except Exception as error:  # a user's own module may fail in any way
        raise RunError(
            f"{where}: scorer {name!r} cannot be made ({type(error).__name__}: {error}); "
            "expected package.module:Class, with its folder in PYTHONPATH"
        ) from None


def rule_from(name: str, spec: Any, scorers: Sequence[Scorer], where: str) -> Rule:
    scores = {score.name: score for scorer in scorers for score in scorer.scores}
    if name not in scores:
        raise RunError(
            f"{where}: rule {name!r} is on a score that nobody computes{nearest(name, scores)}; "
            f"scores: {', '.join(scores)}"
        )
    if not isinstance(spec, dict):
        raise RunError(f"{where}: rule {name} is {spec!r}; expected a mapping such as {{min: 200}}")
    fields = CHOOSE_FIELDS if "choose" in spec or "keep" in spec else BOUND_FIELDS
    check_keys(spec, {*fields, "source"}, f"{where}: rule {name}")
    rule: Rule = Choose(name) if fields is CHOOSE_FIELDS else Bounds(name)
    for field, value in spec.items():
        rule = with_field(rule, field, value, f"{where}: {name}.{field}")
    return rule


def with_field(rule: Rule, field: str, value: Any, where: str) -> Rule:
    """The rule with one field set, as a recipe spells it (`in`, `choose`)."""
    if field == "source":
        return dataclasses.replace(rule, source=" ".join(str(value).split()))
    if isinstance(rule, Choose):
        name = {"choose": "by", "keep": "keep"}[field]
        new: Any = tuple(check_type(value, list, where)) if name == "by" else check_type(value, int, where)
        return dataclasses.replace(rule, **{name: new})
    if field in ("min", "max", "in") and (value is None or value is False):  # YAML reads `off` as false
        off: dict[str, Any] = {"allowed" if field == "in" else field: None}
        return dataclasses.replace(rule, **off)
    if field == "in" and isinstance(value, str | int | float):
        value = [value]
    checked = check_type(value, BOUND_FIELDS[field], where)
    if field == "drop" and checked not in ("document", "segment"):
        raise RunError(f"{where} is {checked!r}; allowed: document, segment")
    on: dict[str, Any] = {"allowed": tuple(checked)} if field == "in" else {field: checked}
    return dataclasses.replace(rule, **on)


def assign(key: str, value: Any, rules: dict[str, Rule], stages: dict[str, Any], where: str) -> None:
    """Sets one dotted key on the rule or stage that it names."""
    name, _, field = key.rpartition(".")
    if name in rules and field in (CHOOSE_FIELDS if isinstance(rules[name], Choose) else BOUND_FIELDS):
        changed = with_field(rules[name], field, value, f"{where} {key}")
        rules[name] = changed if changed == rules[name] else dataclasses.replace(changed, source="set by hand")
        return
    if name in stages and field in fields_of(stages[name]):
        kind = typing.get_type_hints(type(stages[name]))[field]
        checked = check_type(value, kind, f"{where} {key}")
        stages[name] = dataclasses.replace(stages[name], **{field: checked})
        return
    known = list(settable(rules, stages))
    raise RunError(
        f"{where}: {key} is not a key of this recipe{nearest(key, known)}; `winnow recipes NAME` lists them all"
    )


def settable(rules: Mapping[str, Rule], stages: Mapping[str, Any]) -> Iterable[str]:
    for name, rule in rules.items():
        yield from (f"{name}.{field}" for field in (CHOOSE_FIELDS if isinstance(rule, Choose) else BOUND_FIELDS))
    for name, stage in stages.items():
        yield from (f"{name}.{field}" for field in fields_of(stage))


def flatten(value: Mapping[str, Any], where: str, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested or dotted YAML keys as dotted ones."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flatten(item, where, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def keys(recipe: Recipe) -> list[Key]:
    """Every settable key with its value, type, unit and source, in the recipe's order."""
    scores = {score.name: score for score in recipe.scores}
    out = []
    for rule in recipe.rules:
        unit = scores[rule.name].unit
        if isinstance(rule, Choose):
            out.append(Key(f"{rule.name}.choose", list(rule.by), "list", "scores", rule.source))
            out.append(Key(f"{rule.name}.keep", rule.keep, "int", "documents a cluster", rule.source))
            continue
        fields = (("min", "number"), ("max", "number")) if is_number(scores[rule.name]) else (("in", "list"),)
        if rule.allowed is not None and is_number(scores[rule.name]):
            fields = (*fields, ("in", "list"))
        for field, kind in fields:
            value = rule.allowed if field == "in" else getattr(rule, field)
            out.append(Key(f"{rule.name}.{field}", value, kind, unit, rule.source if value is not None else ""))
    for stage in (recipe.decoder, *recipe.scorers, recipe.shards, recipe.limits):
        name = getattr(stage, "name", type(stage).__name__.lower())
        for field, value in fields_of(stage).items():
            hint = typing.get_type_hints(type(stage))[field]
            out.append(Key(f"{name}.{field}", value, getattr(hint, "__name__", str(hint)), "", ""))
    return out
