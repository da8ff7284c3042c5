"""Which plugins there are: the built-in ones and those of other distributions, through one door.

A distribution adds a plugin with an entry point in the group `sightloop.plugins` that names a
`plugins.contract.Plugin`. Nothing is imported before the first question, and then only the plugins' light
modules; trainers and predictors load when `load` is asked for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from importlib.metadata import entry_points
from types import NoneType
from typing import Any, get_args, get_type_hints

from plugins.contract import API_VERSION, Algorithm, Plugin, PluginError

BUILTIN = {"classification": "plugins.classification:PLUGIN", "ocr": "plugins.ocr:PLUGIN"}
GROUP = "sightloop.plugins"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded: who named it, and why it is not there."""

    name: str
    source: str
    reason: str


def plugins() -> tuple[Plugin, ...]:
    """The plugins that work, built-in ones first.

    Raises `PluginError` when two claim the same name, dataset type or algorithm.
    """
    return _registry()[0]


def broken_plugins() -> tuple[BrokenPlugin, ...]:
    """The plugins that were named but cannot be used, each with its reason."""
    return _registry()[1]


def forget() -> None:
    """Look again at the next question: a distribution was installed or removed."""
    _registry.cache_clear()


def plugin(name: str) -> Plugin:
    """The plugin of that name. Raises `PluginError`, with the reason if it is there but broken."""
    for candidate in plugins():
        if candidate.name == name:
            return candidate
    for broken in broken_plugins():
        if broken.name == name:
            raise PluginError("plugin_broken", f"the plugin {name!r} cannot be used: {broken.reason}")
    raise PluginError("unknown_plugin", f"the plugin {name!r} is not installed here")


def plugin_for_type(dataset_type: str) -> Plugin:
    """The plugin for datasets of that type. Raises `PluginError`."""
    for candidate in plugins():
        if candidate.dataset_type == dataset_type:
            return candidate
    known = _listed(candidate.dataset_type for candidate in plugins())
    raise PluginError("unknown_type", f"no plugin for datasets of type {dataset_type!r}; there is {known}")


def algorithm(name: str) -> tuple[Plugin, Algorithm]:
    """The algorithm of that name and the plugin that has it. Raises `PluginError`."""
    for owner in plugins():
        for candidate in owner.algorithms:
            if candidate.name == name:
                return owner, candidate
    known = _listed(candidate.name for owner in plugins() for candidate in owner.algorithms)
    raise PluginError("unknown_algorithm", f"no algorithm {name!r}; there is {known}")


def load(dotted: str) -> Any:
    """What `module:name` names, or the module itself without `:name`. Raises `PluginError`."""
    module, _, name = dotted.partition(":")
    try:
        loaded = importlib.import_module(module)
        return getattr(loaded, name) if name else loaded
    except (ImportError, AttributeError) as error:
        raise PluginError("cannot_load", f"{dotted} cannot be loaded: {error}") from error


def params_schema(algorithm: Algorithm) -> list[dict[str, Any]]:
    """One entry a parameter, for forms and the API: `name`, `type` (integer, number, boolean or string),
    `nullable` (None means: chosen automatically), `default`, `help`, and where bounded `minimum`, `maximum`
    or `choices`.
    """
    hints = get_type_hints(algorithm.params)
    return [_field_schema(field, hints[field.name]) for field in fields(algorithm.params)]


def parse_params(algorithm: Algorithm, values: Mapping[str, Any]) -> Any:
    """The algorithm's params with these values; what is not named keeps its default. Values may be JSON
    values or strings as forms and command lines send them.

    Raises `PluginError` (`bad_parameter`) for an unknown name, a wrong type or a value out of range.
    """
    schema = {entry["name"]: entry for entry in params_schema(algorithm)}
    for name in values:
        if name not in schema:
            raise _bad(f"{algorithm.name} has no parameter {name!r}; it has {_listed(schema)}")
    return algorithm.params(**{name: _parsed(schema[name], value) for name, value in values.items()})


@cache
def _registry() -> tuple[tuple[Plugin, ...], tuple[BrokenPlugin, ...]]:
    good: list[Plugin] = []
    broken: list[BrokenPlugin] = []
    for name, dotted, source in _named():
        try:
            good.append(_checked(load(dotted)))
        except Exception as error:  # the code of others: whatever it raises, the rest must work
            broken.append(BrokenPlugin(name, source, f"{type(error).__name__}: {error}"))
    _refuse_duplicates("plugin", (one.name for one in good))
    _refuse_duplicates("dataset type", (one.dataset_type for one in good))
    _refuse_duplicates("algorithm", (entry.name for one in good for entry in one.algorithms))
    return tuple(good), tuple(broken)


def _named() -> Iterator[tuple[str, str, str]]:
    """Name, dotted path and source of every plugin that is named somewhere."""
    for name, dotted in BUILTIN.items():
        yield name, dotted, "built in"
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        source = entry.dist.name if entry.dist is not None else "unknown distribution"
        yield entry.name, entry.value, source


def _checked(candidate: Any) -> Plugin:
    if not isinstance(candidate, Plugin):
        raise TypeError(f"a Plugin is expected, not {type(candidate).__name__}")
    if candidate.api_version != API_VERSION:
        raise ValueError(f"it is made for API version {candidate.api_version}, this is {API_VERSION}")
    for entry in candidate.algorithms:
        params_schema(entry)
    return candidate


def _refuse_duplicates(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PluginError("duplicate_name", f"two plugins offer the {kind} {name!r}; remove one of them")
        seen.add(name)


def _field_schema(field: Field[Any], hint: Any) -> dict[str, Any]:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    if len(kinds) != 1 or kinds[0] not in _TYPES:
        raise TypeError(f"parameter {field.name}: {hint} is not a type that a form can show")
    if field.default is MISSING or "help" not in field.metadata:
        raise TypeError(f"parameter {field.name} needs a default and help")
    return {
        "name": field.name,
        "type": _TYPES[kinds[0]],
        "nullable": NoneType in get_args(hint),
        "default": field.default,
        **{key: field.metadata[key] for key in _METADATA if key in field.metadata},
    }


_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_METADATA = ("help", "minimum", "maximum", "choices")
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _parsed(entry: Mapping[str, Any], value: Any) -> Any:
    if entry["nullable"] and (value is None or value in ("", "auto")):
        return None
    try:
        parsed = _CASTS[entry["type"]](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise _out_of_range(entry, value) from None
    too_low = "minimum" in entry and not parsed >= entry["minimum"]  # written so that NaN is refused
    too_high = "maximum" in entry and not parsed <= entry["maximum"]
    if too_low or too_high or ("choices" in entry and parsed not in entry["choices"]):
        raise _out_of_range(entry, value)
    return parsed


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


_CASTS = {"integer": _integer, "number": _number, "boolean": _boolean, "string": _string}


def _out_of_range(entry: Mapping[str, Any], value: Any) -> PluginError:
    return _bad(f"{entry['name']} must be {_allowed(entry)}, not {value!r}")


def _allowed(entry: Mapping[str, Any]) -> str:
    """The allowed range in words, such as: an integer from 1 to 500, or empty for automatic."""
    if "choices" in entry:
        words = f"one of {', '.join(str(choice) for choice in entry['choices'])}"
    else:
        words = {"integer": "an integer", "number": "a number", "boolean": "true or false", "string": "text"}[
            entry["type"]
        ]
        low, high = entry.get("minimum"), entry.get("maximum")
        words += f" from {low} to {high}" if low is not None and high is not None else ""
        words += f" of at least {low}" if low is not None and high is None else ""
        words += f" of at most {high}" if low is None and high is not None else ""
    return words + (", or empty for automatic" if entry["nullable"] else "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _bad(message: str) -> PluginError:
    return PluginError("bad_parameter", message)
