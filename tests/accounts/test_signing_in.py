"""Signing in with a name and password: what opens a session, what ends it, and who guesses in vain."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from flask import Flask
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select

from backend.accounts import passwords, registry
from backend.accounts.attempts import PER_MINUTE
from backend.accounts.tables import User
from backend.db import SessionFactory, now, transaction
from backend.errors import InvalidRequest
from tests.accounts.conftest import PASSWORD, Join, post, sign_in
from tests.api.conftest import ADMIN
from tests.console.conftest import csrf_of
from tests.console.conftest import sign_in as sign_in_with_token

WRONG = "the name or the password is wrong"
ANOTHER = "a dozen and one letters"


def test_over_http_a_password_opens_a_session_and_signing_out_ends_it(address: str, join: Join) -> None:
    join("ann@example.org")
    with httpx.Client(base_url=address) as client:
        asked = client.get("/tasks?after=3")
        assert asked.headers["Location"] == "/sign-in?next=/tasks?after%3D3"
        form = csrf_of(client.get("/sign-in").text)
        wrong = client.post("/sign-in", data={"csrf_token": form, "name": "ann@example.org", "password": "x"})
        assert wrong.status_code == 401 and WRONG in wrong.text
        values = {"csrf_token": form, "name": " Ann@Example.org", "password": PASSWORD}
        right = client.post(asked.headers["Location"], data=values)
        assert (right.status_code, right.headers["Location"]) == (303, "/tasks?after=3")
        cookie = right.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and PASSWORD not in cookie
        page = client.get("/account")
        assert page.status_code == 200 and "ann@example.org" in page.text
        client.post("/sign-out", data={"csrf_token": csrf_of(page.text)})
        assert client.get("/account").status_code == 302


def test_a_form_of_before_signing_in_is_worth_nothing_afterwards(app: Flask, join: Join) -> None:
    """Whoever planted a session in this browser knows nothing of the one that begins."""
    join("ann")
    with app.test_client() as client:
        before = csrf_of(client.get("/sign-in").text)
        form = {"csrf_token": before, "name": "ann", "password": PASSWORD}
        assert client.post("/sign-in", data=form).status_code == 303
        refused = client.post("/account/tokens", data={"csrf_token": before, "name": "t", "role": "owner"})
        assert refused.status_code == 400


@pytest.mark.parametrize("name", ["nobody@example.org", "", "ann' --", "a" * 5000, "\U0001f600\x00"])
def test_an_unknown_name_is_told_the_same_as_a_wrong_password(app: Flask, join: Join, name: str) -> None:
    join("ann")
    with app.test_client() as client:
        unknown, wrong = sign_in(client, name, PASSWORD), sign_in(client, "ann", ANOTHER)
        assert (unknown.status_code, wrong.status_code) == (401, 401)
        assert WRONG in unknown.text and WRONG in wrong.text


def test_an_unknown_name_costs_the_same_work(app: Flask, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: a hash of the same kind is computed for both."""
    join("ann")
    computed: list[str] = []
    verify = passwords._HASHER.verify

    def counted(kept: str, password: str) -> bool:
        computed.append(kept.rpartition("$")[0].rpartition("$")[0])
        return verify(kept, password)

    monkeypatch.setattr(passwords, "_HASHER", _Hasher(passwords._HASHER.hash, counted))
    with app.test_client() as client:
        sign_in(client, "ann", ANOTHER)
        sign_in(client, "nobody", ANOTHER)
    assert len(computed) == 2 and computed[0] == computed[1]


class _Hasher:
    def __init__(self, hash_: object, verify: object) -> None:
        self.hash, self.verify = hash_, verify


def test_guessing_is_stopped_for_a_minute_and_only_for_that_name(
    app: Flask, join: Join, redis: Redis
) -> None:
    join("ann")
    join("bob")
    with app.test_client() as client:
        for _ in range(PER_MINUTE):
            assert sign_in(client, "ann", ANOTHER).status_code == 401
        refused = sign_in(client, "ANN", PASSWORD)
        assert refused.status_code == 429
        assert f"wrong {PER_MINUTE} times; wait a minute" in refused.text
        assert sign_in(client, "bob", PASSWORD).status_code == 303
        (key,) = redis.keys("sightloop:attempts:*")
        assert 0 < redis.ttl(key) <= 60
        redis.delete(key)  # what a minute does
        assert sign_in(client, "ann", PASSWORD).status_code == 303
        assert redis.keys("sightloop:attempts:*") == []


def test_another_address_may_still_try(app: Flask, join: Join) -> None:
    join("ann")
    with app.test_client() as client:
        for _ in range(PER_MINUTE + 1):
            sign_in(client, "ann", ANOTHER)
        form = {"csrf_token": csrf_of(client.get("/sign-in").text), "name": "ann", "password": PASSWORD}
        answer = client.post("/sign-in", data=form, environ_base={"REMOTE_ADDR": "192.0.2.7"})
        assert answer.status_code == 303


def test_when_nothing_can_count_nobody_may_guess_and_a_token_still_opens(app: Flask, join: Join) -> None:
    join("ann")
    app.extensions["sightloop"].__dict__["redis"] = Redis(port=9, retry=Retry(NoBackoff(), 0))
    with app.test_client() as client:
        assert sign_in(client, "ann", PASSWORD).status_code == 503
        assert sign_in_with_token(client, ADMIN).status_code == 303


@pytest.mark.parametrize("path", ["/account/password", "/account/tokens", "/account/workspace", "/members"])
def test_a_form_without_its_token_is_refused(join: Join, path: str) -> None:
    with join("ann").browser() as client:
        assert client.post(path, data={"name": "x"}).status_code == 400


def test_a_changed_password_ends_all_other_sessions_and_keeps_this_one(app: Flask, join: Join) -> None:
    ann = join("ann")
    with ann.browser() as other, ann.browser() as client:
        page = post(client, "/account/password", "/account/password", **_change(PASSWORD, ANOTHER))
        assert page.status_code == 200 and "other sessions of yours have ended" in page.text
        assert client.get("/account").status_code == 200
        assert other.get("/account").headers["Location"].startswith("/sign-in")
    with app.test_client() as client:
        assert sign_in(client, "ann", PASSWORD).status_code == 401
        assert sign_in(client, "ann", ANOTHER).status_code == 303


def _change(current: str, new: str, again: str | None = None) -> dict[str, str]:
    return {"current": current, "new": new, "again": new if again is None else again}


@pytest.mark.parametrize(
    "form, status, sentence",
    [
        (_change(ANOTHER, "yet another one here"), 401, WRONG),
        (_change(PASSWORD, ANOTHER, ANOTHER + "!"), 422, "not typed twice the same"),
        (_change(PASSWORD, PASSWORD), 422, "is the present one"),
        (_change(PASSWORD, "short"), 422, "12 to 200 characters"),
        (_change(PASSWORD, "x" * 201), 422, "12 to 200 characters"),
        (_change(PASSWORD, "abababababab"), 422, "guessed quickly"),
        (_change(PASSWORD, "Annabel-2026!!"), 422, "leave out your name"),
        ({}, 422, "is the present one"),
    ],
)
def test_a_password_that_is_not_right_or_not_good_changes_nothing(
    join: Join, form: dict[str, str], status: int, sentence: str
) -> None:
    with join("annabel@example.org").browser() as client:
        page = post(client, "/account/password", "/account/password", **form)
        assert page.status_code == status and sentence in page.text
        assert client.get("/account").status_code == 200


def test_the_same_letters_typed_otherwise_are_the_same_password() -> None:
    assert passwords.matches(passwords.hashed("caf\u00e9 caf\u00e9"), "cafe\u0301 cafe\u0301")


def test_passwords_are_kept_as_argon2id_hashes_only(join: Join, api_sessions: SessionFactory) -> None:
    join("ann")
    join("bob")
    with api_sessions() as session:
        kept = session.scalars(select(User.password_hash)).all()
    assert len(set(kept)) == 2 and all(text.startswith("$argon2id$") for text in kept)


def test_a_one_time_password_opens_nothing_but_its_change(app: Flask, join: Join) -> None:
    ann = join("ann")
    made = ann.token("t")("POST", "/members", {"name": "bob", "role": "editor"}).get_json()
    with app.test_client() as client:
        sign_in(client, "bob", made["password"])
        for path in ("/", "/datasets", "/account", "/members"):
            assert client.get(path).headers["Location"] == "/account/password", path
        assert client.get("/", headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/account/password"
        form = {"csrf_token": csrf_of(client.get("/account/password").text), "name": "t", "role": "editor"}
        assert client.post("/account/tokens", data=form).headers["Location"] == "/account/password"
        change = _change(made["password"], ANOTHER)
        assert post(client, "/account/password", "/account/password", **change).status_code == 200
        assert client.get("/datasets").status_code == 200
        assert sign_in(client, "bob", made["password"]).status_code == 401


def test_a_one_time_password_ends_after_a_week(app: Flask, join: Join, api_sessions: SessionFactory) -> None:
    ann = join("ann")
    made = ann.token("t")("POST", "/members", {"name": "bob"}).get_json()
    with transaction(api_sessions) as session:
        user = session.scalars(select(User).where(User.name == "bob")).one()
        assert user.one_time_until is not None
        assert timedelta(days=6) < user.one_time_until - now() <= timedelta(days=7)
        user.one_time_until = now() - timedelta(seconds=1)
    with app.test_client() as client:
        refused = sign_in(client, "bob", made["password"])
        assert refused.status_code == 401 and "older than 7 days" in refused.text
        assert WRONG in sign_in(client, "bob", ANOTHER).text, "only who knows it learns that it is old"


def test_the_first_administrator_is_made_once(app: Flask, api_sessions: SessionFactory) -> None:
    with transaction(api_sessions) as session:
        password = registry.first_administrator(session)
    with transaction(api_sessions) as session:
        assert registry.first_administrator(session) is None
    assert password is not None and len(password) == 20
    with app.test_client() as client:
        assert sign_in(client, "admin", password).status_code == 303
        assert "You have the role owner in the workspace default." in client.get("/account").text


def test_a_good_password_is_taken() -> None:
    for good in (PASSWORD, ANOTHER, passwords.random(), "p\u00e4sst zu langen W\u00f6rtern"):
        passwords.check(good, "ann")
    with pytest.raises(InvalidRequest, match="12 to 200"):
        passwords.check("", "ann")
