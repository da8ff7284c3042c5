"""The OpenAPI document says what the API does: schemathesis calls every address by it."""

from __future__ import annotations

from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import ADMIN, HOST, Caller

_CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]


def test_every_address_keeps_to_the_document(app: Flask) -> None:
    document = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    called = 0
    for result in document.get_all_operations():
        assert isinstance(result, Ok), result
        _call(result.ok())
        called += 1
    assert called >= 35


def _call(operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> None:
    """Call one address with requests that fit its description."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def call(case: schemathesis.Case[Any]) -> None:
        token = HOST if case.path.startswith("/api/v1/host/") else ADMIN
        if "wait" in case.query:
            case.query["wait"] = "0"
        case.call_and_validate(
            headers={"Authorization": f"Bearer {token}"},
            checks=[not_a_server_error_but_a_silent_store, *_CHECKS],
        )

    call()


def not_a_server_error_but_a_silent_store(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> bool | None:
    """The store of these tests does not answer, which is a 502 with a code."""
    if response.status_code == 502 and b"storage_unreachable" in response.content:
        return None
    return not_a_server_error(context, response, case)


def test_the_document_is_openapi_3_1_and_names_every_noun(app: Flask, admin: Caller) -> None:
    with app.test_client() as client:
        document = client.get("/api/v1/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    nouns = {path.split("/")[3] for path in document["paths"]}
    assert nouns == {
        "algorithms",
        "datasets",
        "host",
        "members",
        "models",
        "operations",
        "services",
        "storage-connections",
        "tokens",
        "training-tasks",
        "workspaces",
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path} has no summary"
            assert operation["description"], f"{method} {path} has no description"
            succeeds = [status for status in operation["responses"] if status.startswith("2")]
            assert succeeds, f"{method} {path} says nothing of what it answers"


def test_files_in_and_out_are_in_the_document(app: Flask) -> None:
    with app.test_client() as client:
        paths = client.get("/api/v1/openapi.json").get_json()["paths"]
    labels, model = "/api/v1/datasets/{name}/labels", "/api/v1/models/{name}"
    taken = paths[f"{labels}/import"]["post"]["requestBody"]
    assert taken["required"] and list(taken["content"]) == ["application/octet-stream"]
    given = {
        path: list(paths[path]["get"]["responses"]["200"]["content"])
        for path in (f"{labels}/export", f"{model}/bundle", f"{model}/onnx")
    }
    assert given == {
        f"{labels}/export": ["application/octet-stream"],
        f"{model}/bundle": ["application/zip"],
        f"{model}/onnx": ["application/octet-stream"],
    }
