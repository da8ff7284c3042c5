from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from model_server import config as configuration
from model_server.config import ConfigError, ServiceConfig
from tests.model_server.servers import ROOT, STORED

GOOD = ServiceConfig(name="a", model="m", bundle="/b", digest="0" * 64, tokens=(STORED,))


def values(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(asdict(GOOD))), **changes}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "service.json"
    configuration.write(path, GOOD)
    assert configuration.read(path) == GOOD
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["service.json"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"colour": 1}, "unknown setting: colour"),
        ({"name": "../x"}, "name must be"),
        ({"name": "x" * 31}, "name must be"),
        ({"name": 3}, "name must be a text"),
        ({"digest": "abc"}, "digest"),
        ({"port": 70000}, "port must be"),
        ({"instances": 0}, "instances must be"),
        ({"instances": True}, "instances must be"),
        ({"quota": 1.5}, "quota must be a whole number"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds must be"),
        ({"rate_limit": -1}, "rate_limit must be"),
        ({"tokens": {}}, "tokens must be a list"),
        ({"tokens": [{"id": "a"}]}, "each of tokens"),
        ({"tokens": [{"id": "a", "sha256": "0" * 64, "signing_key": "x"}]}, "token a"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configuration.parse(values(**changes))


@pytest.mark.parametrize("name", ["name", "model", "bundle", "digest"])
def test_a_missing_value_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is missing"):
        configuration.parse({key: value for key, value in values().items() if key != name})


@pytest.mark.parametrize("content", [None, "", "[]", '{"name": "a"'])
def test_a_service_without_a_configuration_ends_with_a_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "service.json"
    if content is not None:
        path.write_text(content)
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "model_server/gunicorn.conf.py")],
        env={**os.environ, configuration.ENVIRONMENT: str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert str(path) in ended.stderr and "Traceback" not in ended.stderr
