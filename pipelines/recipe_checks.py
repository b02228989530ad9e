"""What a recipe must satisfy, each failure in one line: the key, the value, what is allowed and where it was said."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from manifests.errors import RunError
from manifests.rules import Bounds, Choose, Rule
from stages.scorer import Score, Scorer

# The least that settings of these names may be, whoever has them.
LEAST = {"samples": 1, "bytes": 1024, "records": 1, "max_pixels": 1, "memory_megabytes": 64, "seconds": 0.01}
NUMBER = re.compile(r"[+-]?[0-9.]+[eE][+-]?[0-9]+")


def check_scorers(scorers: Iterable[Scorer], where: str) -> None:
    """RunError where two scorers have one name, or compute one score."""
    seen: dict[str, str] = {}
    for scorer in scorers:
        for name in (f"scorer {scorer.name}", *(f"score {score.name}" for score in scorer.scores)):
            if name in seen:
                raise RunError(f"{where}: {name} is made by both {seen[name]} and {type(scorer).__name__}: rename one")
            seen[name] = type(scorer).__name__


def is_number(score: Score) -> bool:
    return not (pa.types.is_string(score.type) or pa.types.is_boolean(score.type) or pa.types.is_binary(score.type))


def check_rules(rules: Iterable[Rule], scores: Mapping[str, Score], where: str) -> None:
    """RunError for a rule that its score cannot answer, or that nothing could pass."""
    for rule in rules:
        if isinstance(rule, Bounds):
            if not is_number(scores[rule.name]) and (rule.min is not None or rule.max is not None):
                raise RunError(
                    f"{where}: {rule.name} is {scores[rule.name].type}, not a number; bound it with {rule.name}.in"
                )
            if rule.allowed is not None:
                check_allowed(rule, scores[rule.name], where)
            if rule.drop == "segment":
                raise RunError(
                    f"{where}: {rule.name}.drop is segment; a pair needs its picture: allowed here is document"
                )
        else:
            for name, _ in rule.order_by():
                if name not in scores or (not is_number(scores[name]) and not pa.types.is_boolean(scores[name].type)):
                    known = [score.name for score in scores.values() if is_number(score)]
                    raise RunError(f"{where}: {rule.name}.choose: {name} is no numeric score{nearest(name, known)}")
        if isinstance(rule, Bounds) and rule.min is not None and rule.max is not None and rule.min > rule.max:
            raise RunError(
                f"{where}: {rule.name}.min is {rule.min:g}, above its max of {rule.max:g}: nothing could be kept"
            )
        if isinstance(rule, Choose) and rule.keep < 0:
            raise RunError(f"{where}: {rule.name}.keep is {rule.keep}; expected 1 or more, or 0 to switch the rule off")


def check_allowed(rule: Bounds, score: Score, where: str) -> None:
    """RunError where a list of allowed values is empty or of another type than the score."""
    try:
        if rule.allowed:
            pa.array(list(rule.allowed), score.type)
            return
    except (pa.ArrowException, TypeError):
        pass
    raise RunError(
        f"{where}: {rule.name}.in is {list(rule.allowed or ())}; expected one or more values of type {score.type}"
    )


def check_keys(value: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    for key in value:
        if key not in set(allowed):
            raise RunError(
                f"{where}: unknown key {key!r}{nearest(str(key), allowed)}; allowed: {', '.join(sorted(allowed))}"
            )


def check_type(value: Any, kind: Any, where: str) -> Any:
    """The value if it is of the kind (int for float is fine); RunError that says what was expected."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        plain = typing.get_origin(option) or option
        if plain is type(None) and value is None:
            return None
        if plain is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if plain is float and isinstance(value, str) and NUMBER.fullmatch(value):
            return float(value)  # 1e3, which YAML takes for text
        if plain is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if plain in (list, tuple) and isinstance(value, list | tuple):
            return plain(value)
        if plain in (str, bool) and isinstance(value, plain):
            return value
    spelled = {"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false", "list": "a list"}
    names = " or ".join(spelled.get(name := getattr(option, "__name__", str(option)), name) for option in options)
    raise RunError(f"{where} is {value!r}; expected {names}")


def nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
