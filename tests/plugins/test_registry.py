from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plugins import registry
from plugins.contract import Algorithm, PluginError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.forget()
    yield
    registry.forget()


def install(folder: Path, entry: str, code: str = "") -> None:
    """Lay a distribution `extra` with one entry point into the folder."""
    (folder / "extra-1.0.dist-info").mkdir(exist_ok=True)
    (folder / "extra-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n"
    )
    (folder / "extra-1.0.dist-info" / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry}\n")
    (folder / "extra_plugin.py").write_text(code)


@pytest.mark.parametrize(
    "entry, code, reason",
    [
        ("broken = no_such_module:PLUGIN", "", "No module named"),
        ("broken = extra_plugin:PLUGIN", "", "PLUGIN"),
        ("broken = extra_plugin:PLUGIN", "raise RuntimeError('no licence')", "no licence"),
        ("broken = extra_plugin:PLUGIN", "PLUGIN = 3", "a Plugin is expected, not int"),
    ],
)
def test_a_broken_plugin_is_kept_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, code: str, reason: str
) -> None:
    install(tmp_path, entry, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "extra_plugin", raising=False)
    (broken,) = registry.broken_plugins()
    assert (broken.name, broken.source) == ("broken", "extra")
    assert reason in broken.reason
    assert registry.plugin("classification")
    with pytest.raises(PluginError, match="cannot be used"):
        registry.plugin("broken")


def test_a_plugin_for_another_api_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from dataclasses import replace\nfrom plugins.classification import PLUGIN as P\n"
        "PLUGIN = replace(P, name='other', api_version=99)"
    )
    install(tmp_path, "other = extra_plugin:PLUGIN", code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "extra_plugin", raising=False)
    assert "API version 99" in registry.broken_plugins()[0].reason


def test_two_plugins_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "again = plugins.classification:PLUGIN")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="two plugins offer the plugin 'classification'"):
        registry.plugins()


def test_what_is_unknown_is_said_with_what_there_is() -> None:
    with pytest.raises(PluginError, match="no algorithm 'x'; there is classification-high-performance"):
        registry.algorithm("x")
    with pytest.raises(PluginError, match="no plugin for datasets of type 'x'"):
        registry.plugin_for_type("x")
    with pytest.raises(PluginError, match="not installed"):
        registry.plugin("x")
    assert registry.plugin_for_type("classification").name == "classification"


@dataclass(frozen=True)
class Params:
    count: int | None = field(default=None, metadata={"help": "How many.", "minimum": 1, "maximum": 9})
    share: float = field(default=0.5, metadata={"help": "How much.", "minimum": 0.0, "maximum": 1.0})
    fast: bool = field(default=True, metadata={"help": "Whether."})
    kind: str = field(default="a", metadata={"help": "Which.", "choices": ("a", "b")})


SAMPLE = Algorithm("sample", "Sample", "", Params)


def test_a_schema_says_all_that_a_form_needs() -> None:
    count, share, fast, kind = registry.params_schema(SAMPLE)
    assert count == {
        "name": "count",
        "type": "integer",
        "nullable": True,
        "default": None,
        "help": "How many.",
        "minimum": 1,
        "maximum": 9,
    }
    assert (share["type"], fast["type"], kind["type"]) == ("number", "boolean", "string")
    assert kind["choices"] == ("a", "b")


def test_values_are_read_from_json_and_from_forms() -> None:
    wanted = Params(count=3, share=0.25, fast=False, kind="b")
    values = {"count": 3, "share": 0.25, "fast": False, "kind": "b"}
    assert registry.parse_params(SAMPLE, values) == wanted
    texts = {"count": "3", "share": "0.25", "fast": "false", "kind": "b"}
    assert registry.parse_params(SAMPLE, texts) == wanted
    assert registry.parse_params(SAMPLE, {"count": ""}) == Params()
    assert registry.parse_params(SAMPLE, {"count": 3.0}).count == 3


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"count": 0}, "count must be an integer from 1 to 9, or empty for automatic, not 0"),
        ({"count": 10**30}, "count must be"),
        ({"count": True}, "count must be"),
        ({"count": 2.5}, "count must be"),
        ({"share": float("nan")}, "share must be a number from 0.0 to 1.0, not nan"),
        ({"share": None}, "share must be"),
        ({"share": "much"}, "share must be"),
        ({"fast": "perhaps"}, "fast must be true or false"),
        ({"fast": [1]}, "fast must be"),
        ({"kind": "c"}, "kind must be one of a, b, not 'c'"),
        ({"kind": 1}, "kind must be"),
        ({"speed": 1}, "sample has no parameter 'speed'; it has count, share, fast, kind"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence) as refusal:
        registry.parse_params(SAMPLE, values)
    assert refusal.value.code == "bad_parameter"
