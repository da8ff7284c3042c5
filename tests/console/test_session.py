"""Signing in and out, and what a stranger, a forged form or a revoked token gets."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

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
