"""The edge of the API: tokens, roles, workspaces, problems."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from redis import Redis
from sqlalchemy.exc import DataError

from backend.db import SessionFactory, transaction
from backend.queue import queue
from backend.settings import Settings
from backend.workspaces.registry import create_token
from backend.workspaces.tables import ApiToken, StorageConnection, Workspace
from tests.api.conftest import Caller

_OPEN = {
    "/api/v1/openapi.json",
    "/health/live",
    "/health/ready",
    "/assets/<digest>/<path:name>",
    "/static/<path:filename>",
    "/authority.crt",  # a certificate is no secret
    # These ask for a signature and a secret of their own: see test_labeling.
    "/images/<signed>",
    "/thumbnails/<signed>",
    "/hooks/label-studio/<int:project_id>",
}
_ROUTE_VALUES = {
    "name": "theirs",
    "other": "theirs",
    "operation_id": "1",
    "token_id": "1",
    "service_id": "1",
    "trial_id": "1",
    "digest": "0" * 64,
}


def _routes(app: Flask) -> list[tuple[str, str]]:
    routes = []
    for rule in app.url_map.iter_rules():
        # The console's pages ask for a session (tests/console/test_session.py), phones for a signed link.
        if rule.rule not in _OPEN and not rule.endpoint.startswith(("console.", "phone.")):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: _ROUTE_VALUES[match[1]], rule.rule)
            routes += [(method, path) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")]
    return routes


def test_no_address_answers_without_a_token(app: Flask) -> None:
    with app.test_client() as client:
        for method, path in _routes(app):
            answer = client.open(path, method=method, json={})
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic YTpi", "admin-token-of-the-tests"])
def test_a_wrong_token_is_refused(app: Flask, header: str) -> None:
    with app.test_client() as client:
        answer = client.get("/api/v1/datasets", headers={"Authorization": header} if header else {})
        assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated")


def test_a_token_that_has_expired_is_refused(app: Flask, api_sessions: SessionFactory) -> None:
    with transaction(api_sessions) as session:
        text, row = create_token(session, 1, "old", expires_in_days=-1)
        assert row.expires_at is not None
    assert Caller(app, text)("GET", "/datasets").status_code == 401


def test_a_revoked_token_is_refused_at_once(app: Flask, admin: Caller) -> None:
    made = admin("POST", "/tokens", {"name": "ci"}).get_json()
    ci = Caller(app, made["token"])
    assert ci("GET", "/datasets").status_code == 200
    assert admin("DELETE", "/tokens/ci").status_code == 204
    assert ci("GET", "/datasets").status_code == 401


def test_a_token_cannot_revoke_itself(admin: Caller) -> None:
    assert admin("DELETE", "/tokens/admin").get_json()["code"] == "wrong_state"


def test_tokens_are_not_stored(
    app: Flask, admin: Caller, api_sessions: SessionFactory, settings: Settings
) -> None:
    text = admin("POST", "/tokens", {"name": "ci"}).get_json()["token"]
    admin("GET", "/tokens")
    with api_sessions() as session:
        rows = session.execute(sa.select(ApiToken.__table__)).mappings().all()
    assert "ci" in [row["name"] for row in rows]
    assert not [row["name"] for row in rows if text in map(str, row.values())]
    for path in settings.data_dir.glob("sightloop.db*"):
        assert text.encode() not in path.read_bytes()


def test_a_host_does_what_hosts_do_and_nothing_else(app: Flask, host: Caller, admin: Caller) -> None:
    for method, path in _routes(app):
        expects_host = path.startswith("/api/v1/host/")
        caller = admin if expects_host else host
        answer = caller(method, path.removeprefix("/api/v1"), {})
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden"), f"{method} {path}"


def _give_the_first_workspace_one_of_each(sessions: SessionFactory) -> None:
    from backend.datasets.tables import Dataset, Operation
    from backend.models.tables import Model
    from backend.services.tables import Service
    from backend.training.tables import TrainingTask

    with transaction(sessions) as session:
        connection = StorageConnection(workspace_id=1, name="theirs", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        dataset = Dataset(
            workspace_id=1,
            connection_id=connection.id,
            name="theirs",
            type="classification",
            bucket="bucket",
            prefix="",
        )
        session.add(dataset)
        session.flush()
        task = TrainingTask(
            workspace_id=1,
            dataset_id=dataset.id,
            name="theirs",
            algorithm="a",
            parameters={},
            labels=[],
            queue="train",
            time_budget=1,
        )
        session.add_all(
            [
                task,
                Operation(dataset_id=dataset.id, kind="sync"),
                ApiToken(workspace_id=1, name="theirs", sha256="0" * 64),
            ]
        )
        session.flush()
        model = Model(
            workspace_id=1,
            task_id=task.id,
            dataset_id=dataset.id,
            name="theirs",
            plugin="p",
            algorithm="a",
            digest="0" * 64,
            size=1,
            labels=[],
            metrics={},
            facts={},
            snapshot="",
        )
        session.add(model)
        session.flush()
        session.add(Service(workspace_id=1, model_id=model.id, name="theirs", revision=1))


def test_nothing_of_another_workspace_is_seen_or_touched(
    app: Flask, stranger: Caller, api_sessions: SessionFactory
) -> None:
    _give_the_first_workspace_one_of_each(api_sessions)
    for method, path in _routes(app):
        if path.startswith("/api/v1/host/"):
            continue
        answer = stranger(method, path.removeprefix("/api/v1"), {} if method != "GET" else None)
        if "theirs" in path or path.endswith("/1"):
            assert answer.status_code in (404, 422), f"{method} {path}: {answer.status_code}"
        elif method == "GET":
            names = {item["name"] for item in answer.get_json()["items"]}
            assert "theirs" not in names, f"{method} {path}"


def test_only_the_first_workspace_makes_others(stranger: Caller) -> None:
    assert stranger("POST", "/workspaces", {"name": "third"}).get_json()["code"] == "forbidden"
    assert [w["name"] for w in stranger("GET", "/workspaces").get_json()["items"]] == ["elsewhere"]


def test_a_second_workspace_starts_empty_and_may_use_the_same_names(
    admin: Caller, stranger: Caller, api_sessions: SessionFactory
) -> None:
    _give_the_first_workspace_one_of_each(api_sessions)
    made = stranger("POST", "/tokens", {"name": "theirs"})
    assert made.status_code == 201
    with api_sessions() as session:
        assert session.query(Workspace).count() == 2


@pytest.mark.parametrize(
    "body, code, status",
    [
        (b"{", "malformed_body", 400),
        (b"", "invalid_request", 422),
        (b"[]", "invalid_request", 422),
        (b'{"name": 5}', "invalid_request", 422),
        (b'{"nam": "x"}', "invalid_request", 422),
        (b'{"name": "a b"}', "invalid_request", 422),
        (b'{"name": "' + b"x" * 3_000_000 + b'"}', "too_large", 413),
    ],
)
def test_a_wrong_body_is_a_problem_with_a_code(app: Flask, body: bytes, code: str, status: int) -> None:
    headers = {"Authorization": "Bearer admin-token-of-the-tests", "Content-Type": "application/json"}
    with app.test_client() as client:
        answer = client.post("/api/v1/tokens", data=body, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"


def test_a_request_keeps_a_sane_id_and_gets_one_otherwise(admin: Caller) -> None:
    assert admin("GET", "/datasets", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    odd = admin("GET", "/nothing", headers={"X-Request-Id": "a b\tc"})
    assert re.fullmatch("[0-9a-f]{16}", odd.headers["X-Request-Id"])
    assert odd.get_json()["request_id"] == odd.headers["X-Request-Id"]


def test_what_is_not_foreseen_tells_the_client_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.models import registry

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(registry, "page", explode)
    answer = Caller(app, "admin-token-of-the-tests")("GET", "/models")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "internal")
    assert "swordfish" not in answer.get_data(as_text=True)


def test_a_database_without_room_says_so(app: Flask, admin: Caller, request: pytest.FixtureRequest) -> None:
    """To try again in a moment would not help."""
    with app.extensions["sightloop"].sessions() as session:
        engine = session.get_bind()

    def fill(dbapi_connection: Any, *_: object) -> None:
        dbapi_connection.execute("PRAGMA max_page_count = 1")  # SQLite takes it for no less than there is

    sa.event.listen(engine, "checkout", fill)
    request.addfinalizer(lambda: sa.event.remove(engine, "checkout", fill))
    for number in range(200):
        answer = admin("POST", "/tokens", {"name": f"token-{number}"})
        if answer.status_code != 201:
            break
    assert (answer.status_code, answer.get_json()["code"]) == (507, "storage_full")
    assert "free space" in answer.get_json()["detail"]


def test_a_silent_store_is_one_sentence_and_nothing_is_saved(admin: Caller) -> None:
    body = {"name": "mine", "endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "s3cr3t"}
    answer = admin("POST", "/storage-connections", body)
    assert (answer.status_code, answer.get_json()["code"]) == (502, "storage_unreachable")
    assert "s3cr3t" not in answer.get_data(as_text=True)
    assert admin("GET", "/storage-connections/mine").status_code == 404


@pytest.mark.parametrize(
    "endpoint", ["s3.example.org", "ftp://x", "http://", "http://u:p@host", "http://h/bucket"]
)
def test_an_endpoint_that_is_none_is_refused(admin: Caller, endpoint: str) -> None:
    answer = admin("POST", "/storage-connections", {"name": "mine", "endpoint": endpoint})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_request")


def test_without_valkey_nothing_is_written(
    settings: Settings, api_sessions: SessionFactory, app: Flask
) -> None:
    _give_the_first_workspace_one_of_each(api_sessions)
    runtime = app.extensions["sightloop"]
    runtime.__dict__["redis"] = Redis(port=9, socket_connect_timeout=0.2)
    caller = Caller(app, "admin-token-of-the-tests")
    body = {"name": "t", "dataset": "theirs", "algorithm": "classification-high-performance"}
    for answer in (
        caller("POST", "/training-tasks", body),
        caller("POST", "/datasets/theirs/check"),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (503, "queue_unavailable")
        assert answer.headers["Retry-After"]
    assert [t["name"] for t in caller("GET", "/training-tasks").get_json()["items"]] == ["theirs"]
    with app.test_client() as client:
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200


def test_an_operation_is_queued_once(admin: Caller, api_sessions: SessionFactory, redis: Redis) -> None:
    _give_the_first_workspace_one_of_each(api_sessions)
    started = admin("POST", "/datasets/theirs/check")
    assert started.status_code == 202
    assert started.get_json()["state"] == "queued"
    assert queue(redis, "data").job_ids == [f"operations-{started.get_json()['id']}-0"]
    again = admin("POST", "/datasets/theirs/check")
    assert (again.status_code, again.get_json()["code"]) == (409, "wrong_state")
    assert admin("GET", "/datasets/theirs").get_json()["state"] == "syncing"


def test_a_host_may_report_a_service_without_port_and_endpoint(
    host: Caller, api_sessions: SessionFactory
) -> None:
    _give_the_first_workspace_one_of_each(api_sessions)
    report = {
        "revision": 1,
        "state": "stopped",
        "ready_instances": 0,
        "port": None,
        "endpoint": None,
        "message": "",
    }
    assert host("PUT", "/host/services/1", report).status_code == 204
    assert host("PUT", "/host/services/99", report).status_code == 404


@pytest.mark.parametrize(
    "state, status, code", [("22003", 404, "not_found"), ("22001", 422, "invalid_request")]
)
def test_what_postgresql_cannot_hold_is_no_internal_error(
    host: Caller, monkeypatch: pytest.MonkeyPatch, state: str, status: int, code: str
) -> None:
    """PostgreSQL keeps ids in 32 bits; SQLite, which these tests usually run on, does not mind."""

    def refuse(*_: object) -> None:
        cause = ValueError("integer out of range")
        cause.sqlstate = state  # type: ignore[attr-defined]
        raise DataError("SELECT 1", {}, cause)

    monkeypatch.setattr("backend.services.hosting.take_report", refuse)
    body = {"revision": 1, "state": "ready", "ready_instances": 0, "port": 1, "message": ""}
    answer = host("PUT", "/host/services/24160633648", body)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)


def test_an_id_that_no_database_can_hold_is_not_there(app: Flask) -> None:
    with app.test_client() as client:
        answer = client.post(f"/hooks/label-studio/{'9' * 20}")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
