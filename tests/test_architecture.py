"""The shape of the house: who may import whom, how large a module may grow, what must be documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from backend import errors, queue
from backend.cli import errors as cli_errors
from backend.settings import OTHERS, Settings
from plugins import registry, weights
from tests.plugins import test_contract
from workers import faults

ROOT = Path(__file__).parent.parent
PACKAGES = ("backend", "ml_backend", "plugins", "model_server", "workers")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FRAMEWORKS = {"torch", "torchvision", "doctr", "timm"}

# Which of our packages a package may import. The parts of the backend that face outward
# are imported by nobody but themselves and the app.
MAY_IMPORT = {
    "plugins": {"plugins"},
    "model_server": {"model_server", "plugins"},
    "backend": {"backend", "plugins"},
    "ml_backend": {"ml_backend", "backend", "plugins"},
    "workers": {"workers", "backend", "plugins"},
}
OUTWARD = ("backend.api", "backend.console", "backend.cli")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_package_imports_only_what_it_may(path: Path) -> None:
    name = _name(path)
    ours = [target for target in _imports(path) if target.split(".")[0] in MAY_IMPORT]
    for target in ours:
        assert target.split(".")[0] in MAY_IMPORT[name.split(".")[0]], f"{name} imports {target}"
        for outward in OUTWARD:
            if target.startswith(outward):
                assert name.startswith(outward) or name == "backend.app", f"{name} imports {target}"
    if name.startswith("plugins.contract"):
        own = {"plugins"} if all(target.startswith("plugins.contract") for target in ours) else set()
        stdlib = {target.split(".")[0] for target in _imports(path)} - set(sys.stdlib_module_names) - own
        assert not stdlib, f"the contract imports {stdlib}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_training_framework_stays_in_its_places(path: Path) -> None:
    used = {target.split(".")[0] for target in _imports(path)} & FRAMEWORKS
    name = _name(path)
    allowed = (
        name.startswith("workers")
        or name.startswith("plugins.fitting")
        or (name.startswith("plugins.") and {"trainer", "exporter", "bases"} & {*path.parts, path.stem})
    )
    assert not used or allowed, f"{name} imports {used}"


@pytest.mark.parametrize("library, home", [("minio", "backend.storage"), ("rq", "backend.queue")])
def test_a_foreign_library_has_one_home(library: str, home: str) -> None:
    users = {_name(path) for path in MODULES if library in {t.split(".")[0] for t in _imports(path)}}
    assert {user for user in users if not user.startswith("workers")} == {home}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_not_too_long(path: Path) -> None:
    if "migrations" not in path.parts:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.name} has {lines} lines; split it by its reasons to change"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_function_fits_a_page(path: Path) -> None:
    if "migrations" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{_name(path)}.{node.name} has {length} lines"


def test_there_is_no_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [path for path in MODULES if path.stem in drawers or path.parent.name in drawers]


def test_our_packages_are_these_and_not_others_of_the_same_name() -> None:
    for package in PACKAGES:
        found = importlib.import_module(package).__file__
        assert found is not None and Path(found).is_relative_to(ROOT)


def test_the_web_and_the_model_server_start_without_a_framework() -> None:
    code = (
        "import sys, backend.app, backend.cli, model_server.app, workers.__main__, plugins.registry as r\n"
        "[r.load(p.predictor) for p in r.plugins()]\n"
        f"print(sorted(set(sys.modules) & {FRAMEWORKS!r}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]", answer.stdout


def test_the_model_server_needs_no_database_or_queue() -> None:
    code = "import sys, model_server.app, model_server.host\nprint(sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.strip("' []").split(".")[0] for name in answer.stdout.split(",")}
    assert not loaded & {"sqlalchemy", "redis", "rq", "minio", "backend", "workers"}


def test_every_plugin_passes_the_contract_test() -> None:
    tested = set(test_contract.PLUGIN_NAMES)
    assert {plugin.name for plugin in registry.plugins()} <= tested


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_the_core_knows_no_plugin_by_its_name(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "plugins":
        return
    tests = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
    ]
    named = {part.value for test in tests for part in ast.walk(test) if isinstance(part, ast.Constant)}
    cases = named & set(registry.BUILTIN)
    assert not cases, f"{_name(path)} has a case for {cases}: ask the `Plugin` instead"


def test_every_job_of_the_queue_resolves() -> None:
    for dotted in queue.ALLOWED:
        module, _, function = dotted.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_setting_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [f.name for f in fields(Settings) if f"`SIGHTLOOP_{f.name.upper()}`" not in readme]
    assert not missing, f"README.md lacks the settings {missing}"


def test_every_variable_that_the_code_names_is_known() -> None:
    named = {
        variable
        for path in (*MODULES, *(ROOT / "benchmarks").rglob("*.py"))
        for variable in re.findall(r"\bSIGHTLOOP_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8"))
    }
    known = {f"SIGHTLOOP_{f.name.upper()}" for f in fields(Settings)}
    assert named <= known | OTHERS
    assert named >= OTHERS


def test_every_error_code_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    edge = (ROOT / "backend" / "api" / "edge.py").read_text(encoding="utf-8")
    literal = re.findall(r'\bproblem\(\s*"(\w+)"', edge)
    assert literal
    missing = [
        code for code in (*literal, *(kind.code for kind in errors.ALL)) if f"| `{code}` |" not in readme
    ]
    assert not missing, f"README.md lacks the error codes {missing}"


ENDINGS = {"PluginError": 0, "_finish_failed": 1}  # calls, and which argument is the code
# Answers to a question about one image, which no task ends with.
OF_QUESTIONS = {"cannot_explain", "no_features", "size_unknown", "unknown_label"}


def _codes(path: Path) -> Iterator[str]:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ENDINGS:
            code = call.args[ENDINGS[call.func.id]]
            if isinstance(code, ast.Constant):
                yield str(code.value)


def test_every_code_that_a_task_may_end_with_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = {code for path in MODULES for code in _codes(path)}
    codes |= {weights.MISSING, weights.CHANGED, faults.explain(MemoryError())[0]}
    assert codes > OF_QUESTIONS | {"time_budget_too_short"}
    missing = sorted(code for code in codes - OF_QUESTIONS if f"`{code}`" not in readme)
    assert not missing, f"README.md lacks the codes of tasks {missing}"


def test_every_code_of_the_command_line_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    own = {
        str(vars(kind)["code"])
        for _, kind in inspect.getmembers(cli_errors, inspect.isclass)
        if "code" in vars(kind) and kind.__module__ == cli_errors.__name__
    }
    missing = sorted(code for code in own if f"| `{code}` |" not in readme)
    assert own and not missing, f"README.md lacks the codes {missing}"


def test_error_codes_are_unique() -> None:
    codes = [kind.code for kind in errors.ALL]
    assert len(codes) == len(set(codes))


def test_no_module_edits_the_import_path() -> None:
    for path in MODULES:
        assert "sys.path" not in path.read_text(encoding="utf-8"), f"{_name(path)} edits sys.path"
