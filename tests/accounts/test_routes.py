"""Every route of the app, walked by somebody of another workspace and by each role: no route is forgotten,
because one that these tests do not know makes them fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.routing import Rule

from backend.accounts.roles import Role, needed
from backend.datasets.tables import Dataset, Operation
from backend.db import Base, SessionFactory, transaction
from backend.models.tables import Model
from backend.services.tables import Service
from backend.training.tables import TrainingTask
from backend.workspaces.tables import StorageConnection
from tests.accounts.conftest import Join, Person
from tests.api.conftest import Caller
from tests.console.conftest import csrf_of, furnish

API = "/api/v1"
# Whoever asks sees the same there; the last ones want a signature or a secret of their own.
OPEN = {
    f"{API}/openapi.json",
    "/health/live",
    "/health/ready",
    "/assets/<digest>/<path:name>",
    "/static/<path:filename>",
    "/sign-in",
    "/images/<signed>",
    "/thumbnails/<signed>",
    "/hooks/label-studio/<int:project_id>",
}
# What a viewer may send: what concerns only oneself, and predictions.
OWN = {
    f"{API}/tokens",
    f"{API}/tokens/<name>",
    "/account/workspace",
    "/account/password",
    "/account/tokens",
    "/account/tokens/<name>/revoke",
    "/services/<name>/try",
    "/sign-out",
}
SIGNED = "/try/<signed>"  # a model on a phone: the link itself opens it, see tests/console/test_phone.py
READ = {"GET", "HEAD", "OPTIONS"}
SECRET = "unseen"  # is in every name that the first workspace has
NAMES = {
    "datasets": f"{SECRET}-dataset",
    "tasks": f"{SECRET}-task",
    "training-tasks": f"{SECRET}-task",
    "models": f"{SECRET}-model",
    "services": f"{SECRET}-service",
    "storage": f"{SECRET}-store",
    "storage-connections": f"{SECRET}-store",
    "tokens": f"{SECRET}-token",
    "account": f"{SECRET}-token",
    "members": f"{SECRET}-ann",
}
# What the address needs to be understood, so that only the workspace can be the reason for a refusal.
QUERIES = {
    "labels/import": "?file=labels.csv",
    "labels/export": "?format=csv",
    f"{NAMES['models']}/compare": f"?other={NAMES['models']}",
}
BODIES: dict[str, Any] = {
    f"{API}/storage-connections/<name>": {"access_key": "a", "secret_key": "s"},
    f"{API}/storage-connections/<name>/uploads": {
        "bucket": "b",
        "files": [{"key": "k", "size": 1, "md5": "0" * 32}],
    },
    f"{API}/members/<name>": {"role": "viewer"},
    f"{API}/services/<name>": {"instances": 2},
}
FORMS = {
    "/datasets/<name>/operations": {"kind": "sync"},
    "/services/<name>/state": {"change": "stop"},
    "/models/<name>/test": {"minutes": "60"},
    "/services/<name>/model": {"model": NAMES["models"]},
    "/services/<name>/scale": {"instances": "2"},
    "/members/<name>/role": {"role": "viewer"},
}


def _address(rule: Rule) -> str:
    """The route with the names and ids of the first workspace."""
    noun = rule.rule.removeprefix(API).split("/")[1]
    values = {
        "name": NAMES.get(noun, ""),
        "other": NAMES["models"],
        "operation_id": "1",
        "token_id": "1",
        "trial_id": "1",
        "number": "1",
        "service_id": "1",
        "digest": "0" * 64,
        "plot": "confusion.png",
    }
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], rule.rule)
    return path + next((query for end, query in QUERIES.items() if path.endswith(end)), "")


def _routes(app: Flask) -> Iterator[tuple[str, Rule, str]]:
    """Method, rule and address of everything that is not open; what ends a session comes last."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule == "/sign-out", rule.rule))
    for rule in rules:
        if rule.rule not in OPEN and not rule.rule.startswith(SIGNED):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule, _address(rule)


def _send(client: FlaskClient, caller: Caller, method: str, rule: Rule, address: str) -> Any:
    """A request as its kind of route expects it: with a token, or with a session and its form's token."""
    if rule.rule.startswith(API):
        body = None if method in READ else BODIES.get(rule.rule, {})
        return caller(method, address.removeprefix(API), body)
    if method in READ:
        return client.get(address)
    form = {"csrf_token": csrf_of(client.get("/account").text), **FORMS.get(rule.rule, {})}
    return client.open(address, method=method, data=form)


def _rows(sessions: SessionFactory) -> set[tuple[str, str]]:
    with sessions() as session:
        return {
            (table.name, repr(row))
            for table in Base.metadata.sorted_tables
            for row in session.execute(table.select()).all()
        }


@pytest.fixture
def first(app: Flask, join: Join, api_sessions: SessionFactory) -> Person:
    """An owner of the first workspace, which has one of everything."""
    furnish(app)
    owner = join(NAMES["members"])
    join(f"{SECRET}-bob", "viewer")
    owner.token(NAMES["tokens"])
    with transaction(api_sessions) as session:
        session.execute(update(Dataset).values(name=NAMES["datasets"], bucket=f"{SECRET}-bucket"))
        session.execute(update(TrainingTask).where(TrainingTask.id == 1).values(name=f"{SECRET}-old"))
        session.execute(update(TrainingTask).where(TrainingTask.id == 2).values(name=NAMES["tasks"]))
        session.execute(update(Model).values(name=NAMES["models"]))
        session.execute(update(Service).values(name=NAMES["services"]))
        named = update(StorageConnection).where(StorageConnection.name == "store")
        session.execute(named.values(name=NAMES["storage"], access_key=f"{SECRET}-key"))
        session.add(Operation(dataset_id=1, kind="check", state="succeeded"))
    return owner


@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_a_stranger_finds_nothing_and_changes_nothing_on_any_route(
    app: Flask, first: Person, join: Join, api_sessions: SessionFactory, role: str
) -> None:
    stranger = join("eve@example.org", role, workspace="elsewhere")
    caller, walked = stranger.token("mine"), 0
    before = _rows(api_sessions)
    with stranger.browser() as client:
        for method, rule, address in _routes(app):
            answer = _send(client, caller, method, rule, address)
            walked += 1
            # What was asked for may be repeated; nothing else may be told.
            asked = next((name for name in NAMES.values() if name in address), SECRET * 2)
            assert SECRET not in answer.text.replace(asked, ""), f"{method} {address}"
            if rule.arguments:
                assert answer.status_code in (401, 403, 404), f"{method} {address}: {answer.status_code}"
    assert walked > 90
    assert before <= _rows(api_sessions)


def test_the_first_workspaces_own_member_finds_what_the_walk_asks_for(app: Flask, first: Person) -> None:
    """Or else the walk would prove nothing: its addresses lead somewhere."""
    caller, missing = first.token("mine"), []
    with first.browser() as client:
        for method, rule, address in _routes(app):
            if method == "GET" and rule.arguments and not address.startswith(f"{API}/host/"):
                answer = _send(client, caller, method, rule, address)
                if answer.status_code == 404:
                    missing.append(address)
                answer.close()
    assert missing == []


def _changes(app: Flask) -> Iterator[tuple[str, Rule, str]]:
    return (found for found in _routes(app) if found[0] not in READ)


def test_a_viewer_changes_nothing_but_what_is_his_own(
    app: Flask, first: Person, join: Join, api_sessions: SessionFactory
) -> None:
    viewer = join("vic@example.org", "viewer")
    caller = viewer.token("mine")
    before, refused = _rows(api_sessions), set()
    with viewer.browser() as client:
        for method, rule, address in _changes(app):
            answer = _send(client, caller, method, rule, address)
            if rule.rule not in OWN:
                assert answer.status_code == 403, f"{method} {address}: {answer.status_code}"
                refused.add(rule.rule)
            elif rule.arguments and not address.endswith("/try"):
                assert answer.status_code == 404, f"{method} {address}: {answer.status_code}"
        assert client.get("/").status_code == 302, "the last of the walk, signing out, is his own"
    assert len(refused) > 40
    assert before <= _rows(api_sessions)


def test_a_viewer_reads_everything(app: Flask, first: Person, join: Join) -> None:
    viewer = join("vic@example.org", "viewer")
    caller = viewer.token("mine")
    with viewer.browser() as client:
        for method, rule, address in _routes(app):
            if method == "GET":
                closed = address.startswith((f"{API}/host/", "/new/"))  # a form that he may not send is none
                answer = _send(client, caller, method, rule, address)
                assert (answer.status_code in (401, 403)) == closed, f"{address}: {answer.status_code}"
                answer.close()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.OWNER])
def test_every_route_asks_every_role_what_the_table_says(
    app: Flask, first: Person, join: Join, role: Role
) -> None:
    """A token with less than its user's role counts as the lesser."""
    person = join("kim@example.org", "owner")
    caller = person.token("less", role)
    for method, rule, address in _routes(app):
        if not rule.rule.startswith(API):
            continue
        wanted = needed(method, rule.rule.removeprefix(API))
        allowed = wanted is not Role.HOST and list(Role).index(wanted) <= list(Role).index(role)
        if allowed and method not in READ:
            continue  # what it changes is tested where it belongs
        answer = _send(app.test_client(), caller, method, rule, address)
        assert (answer.status_code != 403) == allowed, f"{method} {address}: {answer.status_code}"
        answer.close()
