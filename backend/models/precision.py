"""The fp32 and the int8 file of a bundle: which is served and why, for people and programs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from backend.errors import ModelInvalid
from backend.models.markdown import paragraph, table
from plugins.bundle import MANIFEST

Precision = Literal["served", "fp32", "int8"]

_INT8 = "-int8.onnx"


def onnx_file(archive: Path, name: str, precision: Precision) -> bytes:
    """The bytes of one ONNX file of a verified bundle; `name` is the model's.

    Raises `ModelInvalid` where the bundle has no such file, with the reason that it gives, and where one file
    alone is not the model.
    """
    with zipfile.ZipFile(archive) as source:
        manifest = json.loads(source.read(MANIFEST))
        files = sorted(entry for entry in source.namelist() if entry.endswith(".onnx"))
        if not files:
            raise ModelInvalid(f"the bundle of model {name!r} holds no ONNX file")
        if len(parts := _parts(manifest["model"])) > 1:
            made_of = f"{', '.join(parts[:-1])} and {parts[-1]}"
            raise ModelInvalid(
                f"model {name!r} is made of {made_of}, and one alone is not the model; export the bundle "
                "instead (`--format bundle`), which has all and says how they go together"
            )
        if precision == "served":
            chosen = [manifest["model"].get("file")]
        else:
            chosen = [entry for entry in files if entry.endswith(_INT8) == (precision == "int8")]
        found = next((entry for entry in chosen if entry in files), None)
        if found is None and precision == "served":
            found = files[0]  # of a plugin that does not say which
        if found is None:
            reason = manifest["facts"].get("int8", {}).get("reason", "it was made without")
            raise ModelInvalid(
                f"model {name!r} has no {precision} file: {reason}; leave --precision away for the one served"
            )
        return source.read(found)


def _parts(model: Mapping[str, Any]) -> list[str]:
    """The files of a model that names one for each of its parts, such as a reader."""
    return [str(part["file"]) for part in model.values() if isinstance(part, Mapping) and "file" in part]


def in_words(facts: Mapping[str, Any]) -> str:
    """What is served and why, in a line, from a model's facts; empty where nothing else was tried."""
    return "; ".join(f"{name} {_line(tried)}".strip() for name, tried in _networks(facts))


def section(facts: Mapping[str, Any]) -> list[str]:
    """The section of the model card."""
    networks = _networks(facts)
    parts = [part for name, tried in networks for part in _part(name, tried)]
    return ["## Precision", "", *parts] if networks else []


def _networks(facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What was tried of each network by its name, which is empty for a model of one network."""
    tried = facts.get("int8")
    if not isinstance(tried, Mapping):
        return []
    if "served" in tried:
        return [("", tried)]
    return [(str(name), one) for name, one in tried.items() if isinstance(one, Mapping) and "served" in one]


def _line(tried: Mapping[str, Any]) -> str:
    forms = "; ".join(
        f"{form} {_size(tried.get(f'bytes_{form}'))}{_speed(tried.get(f'seconds_{form}'))}"
        for form in ("fp32", "int8")
        if tried.get(f"bytes_{form}")
    )
    return f"{tried['served']}, because {tried['reason']} ({forms})"


def compared(facts: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The size, the time of an image on one thread, and the accuracy on validation of the fp32 and the int8
    file, each empty where it is not known; nothing where only fp32 was made, and for models of several files.
    """
    return next((_cells(tried, _TITLES) for name, tried in _networks(facts) if not name), {})


_TITLES = {"bytes": "file", "seconds": "an image on one thread", "accuracy": "accuracy on validation"}
_TITLES_OF_A_PART = {"bytes": "file", "seconds": "a run on one thread", "f1": "F1 end to end on validation"}


def _part(name: str, tried: Mapping[str, Any]) -> list[str]:
    titles = _TITLES_OF_A_PART if name else _TITLES
    rows = [(titles[key], *values) for key, values in _cells(tried, titles).items()]
    agreed = tried.get("on_validation") or tried.get("on_training")
    same = (
        [
            f"Both gave the same answer for {agreed['agreement']:.1%} of {agreed['images']} images; the "
            f"probabilities differ by {agreed['difference']:.3f} on average."
        ]
        if agreed
        else []
    )
    what = f"The {name} is served" if name else "Served"
    reason = f"{what} in {tried['served']}: {tried['reason']}."
    return [*paragraph(reason, *same), *table((name, "fp32", "int8"), rows), ""]


def _cells(tried: Mapping[str, Any], keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Of fp32 and of int8, by key."""
    show = {"bytes": _size, "seconds": _milliseconds, "accuracy": _share, "f1": _share}
    values = {key: (tried.get(f"{key}_fp32"), tried.get(f"{key}_int8")) for key in keys}
    return {
        key: ("" if one is None else show[key](one), "" if other is None else show[key](other))
        for key, (one, other) in values.items()
    }


def _share(value: float) -> str:
    return f"{value:.1%}"


def _size(count: Any) -> str:
    return f"{count / 1e6:.1f} MB"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"


def _speed(seconds: float | None) -> str:
    return "" if seconds is None else f", {_milliseconds(seconds)} an image"
