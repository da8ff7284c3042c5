"""People with passwords in the first workspace and in another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from backend.accounts import callers, registry, tokens
from backend.accounts.roles import Role
from backend.accounts.tables import User
from backend.db import SessionFactory, transaction
from backend.workspaces.tables import Workspace
from tests.api.conftest import Caller, admin, api_sessions, app, host, settings
from tests.console.conftest import address, csrf_of

__all__ = ["address", "admin", "api_sessions", "app", "host", "settings"]

PASSWORD = "several words make one"


@dataclass(frozen=True)
class Person:
    """A user, who is a member of one workspace at first."""

    app: Flask
    name: str
    workspace_id: int

    @property
    def sessions(self) -> SessionFactory:
        """The database behind the app."""
        found: SessionFactory = self.app.extensions["sightloop"].sessions
        return found

    def token(self, name: str, role: Role | None = None) -> Caller:
        """A caller of the API with a new token of this person."""
        with transaction(self.sessions) as session:
            user = session.scalars(select(User).where(User.name == self.name)).one()
            me = callers.by_password(
                session, user.id, callers.proof_of(user.password_hash), self.workspace_id
            )
            assert me is not None
            text, _ = tokens.create(session, me, name, role=role, expires_in_days=None)
        return Caller(self.app, text)

    @contextmanager
    def browser(self) -> Iterator[FlaskClient]:
        """A browser in which this person is signed in."""
        client = self.app.test_client()  # not entered: two that keep their contexts would share one
        assert sign_in(client, self.name, PASSWORD).status_code == 303
        yield client


Join = Callable[..., Person]


@pytest.fixture
def join(app: Flask, api_sessions: SessionFactory) -> Join:
    """Makes a user with `PASSWORD` who is a member of a workspace, which is made when it is new."""

    def make(name: str, role: str = "owner", workspace: str = "default") -> Person:
        with transaction(api_sessions) as session:
            row = session.scalar(select(Workspace).where(Workspace.name == workspace))
            if row is None:
                row = Workspace(name=workspace)
                session.add(row)
                session.flush()
            made = registry.add(session, row.id, name, role, operator=True)
            if made.password:
                registry.change_password(made.membership.user, PASSWORD)
            return Person(app, name, row.id)

    return make


def sign_in(client: FlaskClient, name: str, password: str, path: str = "/sign-in") -> TestResponse:
    """Send the form as a browser does."""
    form = {"csrf_token": csrf_of(client.get(path).text), "name": name, "password": password}
    return client.post(path, data=form)


def post(client: FlaskClient, path: str, page: str, **values: str) -> TestResponse:
    """Send a form of a page as a browser does, and follow where it leads."""
    form = {"csrf_token": csrf_of(client.get(page).text), **values}
    return client.post(path, data=form, follow_redirects=True)
