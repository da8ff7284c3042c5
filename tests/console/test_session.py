"""Signing in and out, and what a stranger, a forged form or a revoked token gets."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from backend.accounts import ended
from backend.db import SessionFactory, transaction
from tests.api.conftest import ADMIN, HOST, Caller
from tests.console.conftest import csrf_of, sign_in


def test_the_administrators_token_opens_a_session(app: Flask) -> None:
    with app.test_client() as client:
        response = sign_in(client, ADMIN)
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and ADMIN not in cookie
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", HOST, "'; drop table api_tokens; --"])
def test_another_text_opens_none(app: Flask, token: str) -> None:
    with app.test_client() as client:
        response = sign_in(client, token)
        assert response.status_code == 401
        assert "wrong, expired or revoked" in response.text
        assert client.get("/").status_code == 302


def test_every_page_sends_a_stranger_to_sign_in(app: Flask) -> None:
    rules = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("console.") and rule.endpoint != "console.session.sign_in"
    ]
    assert rules
    with app.test_client() as client:
        for rule in rules:
            path = re.sub(r"<int:\w+>", "1", re.sub(r"<\w+>", "x", rule.rule))
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                response = client.open(path, method=method)
                assert response.status_code == 302, f"{method} {path}"
                assert response.headers["Location"].startswith("/sign-in"), f"{method} {path}"


def test_after_signing_in_the_page_that_was_asked_for_is_shown(app: Flask) -> None:
    with app.test_client() as client:
        asked = client.get("/?after=x")
        assert asked.headers["Location"] == "/sign-in?next=/?after%3Dx"
        response = sign_in(client, ADMIN, "/sign-in?next=/?after%3Dx")
        assert response.headers["Location"] == "/?after=x"


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "/%09/evil"])
def test_signing_in_leads_to_no_other_host(app: Flask, target: str) -> None:
    with app.test_client() as client:
        response = sign_in(client, ADMIN, f"/sign-in?next={target}")
        assert response.headers["Location"] == "/"


def test_a_form_without_its_token_is_refused(app: Flask, member: FlaskClient) -> None:
    for path in ("/sign-in", "/sign-out"):
        response = member.post(path, data={"token": ADMIN})
        assert response.status_code == 400
        assert "reload the page" in response.text
    assert member.get("/").status_code == 200


def test_signing_out_ends_the_session(member: FlaskClient) -> None:
    response = member.post("/sign-out", data={"csrf_token": csrf_of(member.get("/").text)})
    assert response.headers["Location"] == "/sign-in"
    assert member.get("/").status_code == 302


def test_a_session_ends_with_its_token(app: Flask, admin: Caller) -> None:
    token = admin("POST", "/tokens", {"name": "browser"}).get_json()["token"]
    with app.test_client() as client:
        sign_in(client, token)
        assert client.get("/").status_code == 200
        admin("DELETE", "/tokens/browser")
        assert client.get("/").status_code == 302


def test_a_forged_cookie_opens_nothing(app: Flask) -> None:
    with app.test_client() as client:
        client.set_cookie("sightloop", "eyJ0b2tlbiI6MX0.aAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAA")
        assert client.get("/").status_code == 302


def test_a_refreshing_part_of_a_page_sends_the_whole_page_to_sign_in(app: Flask) -> None:
    with app.test_client() as client:
        response = client.get("/", headers={"HX-Request": "true"})
        assert response.headers["HX-Redirect"] == "/sign-in"


def _cookie(client: FlaskClient) -> str:
    found = client.get_cookie("sightloop")
    assert found is not None
    return found.value


@pytest.mark.parametrize("how", ["signing out", "signing in anew"])
def test_a_copied_cookie_opens_nothing_once_its_session_has_ended(app: Flask, how: str) -> None:
    # Not entered: clients that keep their contexts would share one.
    client, thief, other = (app.test_client() for _ in range(3))
    sign_in(client, ADMIN)
    thief.set_cookie("sightloop", _cookie(client))
    assert thief.get("/datasets").status_code == 200
    assert sign_in(other, ADMIN).status_code == 303
    if how == "signing out":
        client.post("/sign-out", data={"csrf_token": csrf_of(client.get("/account").text)})
    else:
        sign_in(client, ADMIN)
    assert thief.get("/datasets").status_code == 302
    assert other.get("/datasets").status_code == 200  # the same person elsewhere


def test_a_cookie_of_a_version_before_asks_to_sign_in_again(app: Flask, member: FlaskClient) -> None:
    with member.session_transaction() as kept:
        del kept["id"]
    assert member.get("/datasets").status_code == 302


def test_what_has_ended_is_forgotten_when_no_cookie_can_be_left(
    app: Flask, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        ended.end(session, "old", timedelta(seconds=-1))
        assert ended.has_ended(session, "old")
        ended.end(session, "new", timedelta(days=7))
        ended.end(session, "new", timedelta(days=7))  # twice from two tabs
    with api_sessions() as session:
        assert (ended.has_ended(session, "old"), ended.has_ended(session, "new")) == (False, True)
