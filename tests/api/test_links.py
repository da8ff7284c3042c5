"""Links for phones over REST: what they open, for how long, and to whom they are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from backend.db import transaction
from backend.runtime import Runtime
from backend.trials.tables import Trial
from tests.api.conftest import Caller
from tests.console.trial_world import put_colours

LINKS = "/models/parts-v1/links"


@pytest.fixture(autouse=True)
def colours(app: Flask) -> None:
    put_colours(app)


def _status(app: Flask, link: dict[str, Any]) -> int:
    return app.test_client().get(link["path"]).status_code


def test_a_link_opens_the_model_until_it_is_revoked(app: Flask, admin: Caller) -> None:
    answer = admin("POST", LINKS, {"minutes": 15, "collects": True})
    made = answer.get_json()
    assert answer.status_code == 201 and (made["state"], made["collects"], made["returned"]) == (
        "open",
        True,
        0,
    )
    assert _status(app, made) == 200
    second = admin("POST", LINKS, {}).get_json()
    assert admin("GET", LINKS).get_json()["items"] == [second, made]
    assert admin("DELETE", f"{LINKS}/{made['id']}").status_code == 204
    assert admin("GET", LINKS).get_json()["items"] == [second]
    assert (_status(app, made), _status(app, second)) == (410, 200)


def test_a_link_of_a_deleted_model_does_not_open_the_one_that_has_its_number_now(
    app: Flask, admin: Caller
) -> None:
    made = admin("POST", LINKS, {"minutes": 15}).get_json()
    with transaction(app.extensions["sightloop"].sessions) as session:
        session.get_one(Trial, made["id"]).expires_at += timedelta(hours=1)
    assert _status(app, made) == 410


def test_its_address_is_told_where_phones_reach_it(app: Flask, admin: Caller) -> None:
    assert admin("POST", LINKS, {}).get_json()["url"] is None
    settings = app.extensions["sightloop"].settings
    app.extensions["sightloop"] = Runtime(replace(settings, phone_url="https://192.168.1.7:8712"))
    made = admin("POST", LINKS, {}).get_json()
    assert made["url"] == f"https://192.168.1.7:8712{made['path']}"


@pytest.mark.parametrize(
    "body, said",
    [({"minutes": 99}, "choose one of these"), ({"minutes": "soon"}, "minutes"), ({"days": 1}, "days")],
)
def test_what_is_not_offered_is_refused(admin: Caller, body: dict[str, Any], said: str) -> None:
    refused = admin("POST", LINKS, body)
    assert 400 <= refused.status_code < 500 and said in refused.text
    assert admin("GET", LINKS).get_json()["items"] == []


def test_a_link_of_another_model_or_workspace_is_not_found(admin: Caller, stranger: Caller) -> None:
    made = admin("POST", LINKS, {}).get_json()
    assert stranger("GET", LINKS).status_code == 404
    assert stranger("POST", LINKS, {}).status_code == 404
    assert stranger("DELETE", f"{LINKS}/{made['id']}").status_code == 404
    assert admin("DELETE", f"{LINKS}/{made['id'] + 1}").status_code == 404
    assert admin("GET", LINKS).get_json()["items"] == [made]
