"""The settings of a process."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from backend.sealing import Sealer, new_key
from backend.settings import Settings, SettingsError, load


def test_without_variables_the_defaults_hold() -> None:
    assert load({}) == Settings()


def test_the_data_directory_lies_in_the_home_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().data_dir == tmp_path / ".sightloop"


def test_no_test_finds_the_stack_of_whoever_runs_it(home: Path) -> None:
    assert load().data_dir == Settings().data_dir == home / ".sightloop"


def test_values_are_parsed() -> None:
    settings = load(
        {"SIGHTLOOP_PORT": "9000", "SIGHTLOOP_DATA_DIR": "/tmp/x", "SIGHTLOOP_S3_ENDPOINT": "http://s/"}
    )
    assert (settings.port, settings.data_dir, settings.s3_endpoint) == (9000, Path("/tmp/x"), "http://s")
    assert settings.database == "sqlite:////tmp/x/sightloop.db"


def test_weights_lie_in_the_data_directory_or_where_they_are_said_to() -> None:
    usual = load({"SIGHTLOOP_DATA_DIR": "/tmp/x"})
    assert usual.weights == Path("/tmp/x/weights") and not usual.offline
    own = load({"SIGHTLOOP_WEIGHTS_DIR": "~/w", "SIGHTLOOP_OFFLINE": "True"})
    assert own.weights == Path("~/w").expanduser() and own.offline


@pytest.mark.parametrize(
    "variable, value, expected",
    [
        ("SIGHTLOOP_PORT", "http", "whole number from 1 to 65535"),
        ("SIGHTLOOP_PORT", "70000", "whole number from 1 to 65535"),
        ("SIGHTLOOP_S3_ENDPOINT", "localhost:9000", "http:// or https://"),
        ("SIGHTLOOP_API_URL", "http://[", "http:// or https://"),
        ("SIGHTLOOP_API_URL", "http://host:port", "http:// or https://"),
        ("SIGHTLOOP_API_URL", "https://", "http:// or https://"),
        ("SIGHTLOOP_LOG_LEVEL", "loud", "one of debug"),
        ("SIGHTLOOP_THREADS", "-1", "whole number"),
        ("SIGHTLOOP_OFFLINE", "maybe", "true or false"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_is_expected(
    variable: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        load({variable: value})
    assert variable in str(caught.value)


@pytest.mark.parametrize("variable", ["SIGHTLOOP_PROT", "SIGHTLOOP_HOST_NAMES", "SIGHTLOOP_SERVICE_TOKENS"])
def test_an_unknown_variable_is_refused(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is no setting"):
        load({variable: "9000"})


@pytest.mark.parametrize("variable", ["SIGHTLOOP_DATABASE_URL", "SIGHTLOOP_REDIS_URL"])
@pytest.mark.parametrize("text", ["ann:whisper", "//ann:whisper@db", "http//ann:whisper@db"])
def test_an_address_of_no_database_is_refused_and_not_shown(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} cannot be that value: it must be an? ") as refused:
        load({variable: text})
    assert "whisper" not in str(refused.value)


def test_variables_of_other_programs_are_left_alone() -> None:
    load({"SIGHTLOOP_SERVICE_CONFIG": "x", "SIGHTLOOP_HOST_DIR": "y", "PORT": "z"})


def test_settings_cannot_be_changed_and_do_not_show_secrets() -> None:
    address = "postgresql+psycopg://ann:whisper@db/sightloop"
    settings = load({"SIGHTLOOP_S3_SECRET_KEY": "hush-hush", "SIGHTLOOP_DATABASE_URL": address})
    assert "hush-hush" not in repr(settings) and "whisper" not in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


def test_what_is_sealed_opens_with_the_same_key_only() -> None:
    sealer = Sealer(new_key())
    sealed = sealer.seal("hush-hush")
    assert "hush" not in sealed
    assert sealer.open(sealed) == "hush-hush"
    with pytest.raises(SettingsError, match="another SIGHTLOOP_SECRET_KEY"):
        Sealer(new_key()).open(sealed)


@pytest.mark.parametrize("key", ["", "short", "x" * 44])
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="SIGHTLOOP_SECRET_KEY"):
        Sealer(key)
