"""Members of a workspace: adding, roles, leaving, lost passwords, several workspaces, tokens of one's own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from backend.accounts.roles import Role
from backend.accounts.tables import Membership, User
from backend.db import SessionFactory
from backend.runtime import Runtime
from backend.workspaces.tables import ApiToken, Workspace
from tests.accounts.conftest import PASSWORD, Join, post, sign_in
from tests.api.conftest import Caller
from tests.console.conftest import csrf_of
from tests.console.conftest import sign_in as token_sign_in
from tests.console.trial_world import put_colours


def _code(answer: Any) -> str:
    return str(answer.get_json()["code"])


def _names(answer: Any) -> list[str]:
    return [item["name"] for item in answer.get_json()["items"]]


def test_a_new_member_gets_an_account_and_a_one_time_password(admin: Caller) -> None:
    made = admin("POST", "/members", {"name": "Ann@Example.org", "role": "viewer"})
    body = made.get_json()
    assert (made.status_code, body["name"], body["state"], body["role"]) == (
        201,
        "ann@example.org",
        "invited",
        "viewer",
    )
    assert len(body["password"]) == 20
    listed = admin("GET", "/members").get_json()["items"]
    assert [(row["name"], row["state"]) for row in listed] == [("ann@example.org", "invited")]
    assert "password" not in listed[0]


def test_who_has_an_account_in_the_first_workspace_becomes_a_member_with_it(join: Join) -> None:
    join("ann")
    owner = join("eve", workspace="elsewhere").token("t")
    made = owner("POST", "/members", {"name": "ann", "role": "editor"}).get_json()
    assert (made["password"], made["state"]) == (None, "active")
    assert _code(owner("POST", "/members", {"name": "ANN"})) == "name_taken"


@pytest.mark.parametrize("name", ["", "a b", "-ann", "ann/..", "ann\x00", "\u00e4nn", "x" * 101])
def test_a_name_that_is_none_is_refused(admin: Caller, name: str) -> None:
    assert _code(admin("POST", "/members", {"name": name})) == "invalid_request"


@pytest.mark.parametrize("role", ["host", "admin", "", None])
def test_a_role_that_is_none_is_refused(admin: Caller, join: Join, role: str | None) -> None:
    join("ann")
    assert admin("POST", "/members", {"name": "bob", "role": role}).status_code == 422
    assert admin("PATCH", "/members/ann", {"role": role}).status_code == 422


def test_the_list_comes_in_pages(admin: Caller, join: Join) -> None:
    for name in ("cy", "ann", "bob"):
        join(name)
    page = admin("GET", "/members?limit=2").get_json()
    assert ([row["name"] for row in page["items"]], page["next"]) == (["ann", "bob"], "bob")
    assert _names(admin("GET", "/members?limit=2&after=bob")) == ["cy"]


def test_a_role_counts_from_the_next_request_on_for_session_and_token(join: Join, admin: Caller) -> None:
    bob = join("bob")
    token = bob.token("bobs")
    with bob.browser() as client:
        assert client.get("/new/service").status_code == 200
        assert admin("PATCH", "/members/bob", {"role": "viewer"}).status_code == 409, "the last owner"
        join("ann")
        assert admin("PATCH", "/members/bob", {"role": "viewer"}).get_json()["role"] == "viewer"
        assert client.get("/new/service").status_code == 403
        refused = token("POST", "/datasets", {})
        assert (_code(refused), refused.get_json()["detail"]) == (
            "forbidden",
            "this takes the role editor in the workspace, and yours is viewer",
        )


def test_the_last_owner_stays(join: Join) -> None:
    ann = join("ann")
    join("bob", "editor")
    caller = ann.token("t")
    for answer in (caller("DELETE", "/members/ann"), caller("PATCH", "/members/ann", {"role": "editor"})):
        assert (answer.status_code, _code(answer)) == (409, "wrong_state")
        assert "ann is the last owner" in answer.get_json()["detail"]
    with ann.browser() as client:
        assert "ann is the last owner" in post(client, "/members/ann/remove", "/members").text
        assert "ann is the last owner" in post(client, "/members/ann/role", "/members", role="viewer").text
    assert caller("PATCH", "/members/ann", {"role": "owner"}).status_code == 200
    caller("PATCH", "/members/bob", {"role": "owner"})
    assert caller("DELETE", "/members/ann").status_code == 204


def test_who_is_removed_is_out_at_once_with_tokens_and_account(
    app: Flask, join: Join, admin: Caller, api_sessions: SessionFactory
) -> None:
    join("ann")
    bob = join("bob")
    token = bob.token("bobs")
    with bob.browser() as client:
        assert admin("DELETE", "/members/bob").status_code == 204
        assert client.get("/").status_code == 302
    assert token("GET", "/datasets").status_code == 401
    assert admin("DELETE", "/members/bob").status_code == 404
    with api_sessions() as session:
        assert session.scalar(select(User).where(User.name == "bob")) is None
        assert session.scalar(select(ApiToken).where(ApiToken.name == "bobs")) is None


def test_who_is_removed_from_one_workspace_stays_in_the_other(join: Join, admin: Caller) -> None:
    join("ann")
    bob = join("bob")
    join("bob", "editor", workspace="elsewhere")
    with bob.browser() as client:
        assert "in the workspace default" in client.get("/account").text
        admin("DELETE", "/members/bob")
        assert "You have the role editor in the workspace elsewhere." in client.get("/account").text


def test_one_works_in_the_workspace_that_one_chose(join: Join) -> None:
    bob = join("bob", "viewer")
    join("bob", "owner", workspace="elsewhere")
    join("eve", workspace="evil")
    with bob.browser() as client:
        assert client.get("/new/dataset").status_code == 403
        post(client, "/account/workspace", "/account", name="elsewhere")
        assert client.get("/new/dataset").status_code == 200
        for name in ("evil", "nothing", ""):
            assert post(client, "/account/workspace", "/account", name=name).status_code == 404
        assert "in the workspace elsewhere" in client.get("/account").text


def test_a_token_opens_its_own_workspace_alone_and_the_page_says_so(app: Flask, join: Join) -> None:
    bob = join("bob", "viewer")
    join("bob", "owner", workspace="elsewhere")
    text = bob.token("bobs").token
    with app.test_client() as client:
        token_sign_in(client, text)
        page = client.get("/account").text
        assert "elsewhere" in page and "Switch" not in page and "sign in with your password to switch" in page
        refused = post(client, "/account/workspace", "/account", name="elsewhere")
        assert refused.status_code == 409
        assert "in the workspace default" in client.get("/account").text


def test_a_reset_password_ends_sessions_and_is_shown_once(app: Flask, join: Join, admin: Caller) -> None:
    bob = join("bob")
    with bob.browser() as client:
        made = admin("POST", "/members/bob/password").get_json()
        assert (made["name"], made["state"]) == ("bob", "invited")
        assert client.get("/").status_code == 302
        assert sign_in(client, "bob", PASSWORD).status_code == 401
        assert sign_in(client, "bob", made["password"]).status_code == 303
    assert admin("POST", "/members/nobody/password").status_code == 404


def test_an_owner_gets_into_no_other_workspace_by_resetting_a_password(join: Join, admin: Caller) -> None:
    join("bob")
    eve = join("eve", workspace="elsewhere")
    join("bob", "viewer", workspace="elsewhere")
    refused = eve.token("t")("POST", "/members/bob/password")
    assert (refused.status_code, _code(refused)) == (403, "forbidden")
    assert "'default'" in refused.get_json()["detail"]
    with eve.browser() as client:
        assert post(client, "/members/bob/password", "/members").status_code == 403
    assert admin("POST", "/members/bob/password").status_code == 200


def test_who_made_an_account_does_not_follow_it_into_another_workspace(
    app: Flask, join: Join, admin: Caller
) -> None:
    """Eve invites Ann, and knows the password; the owner of the first workspace adds Ann later."""
    eve = join("eve", workspace="elsewhere")
    carl = join("carl", workspace="third").token("c")
    known = eve.token("t")("POST", "/members", {"name": "ann", "role": "viewer"}).get_json()["password"]
    refused = carl("POST", "/members", {"name": "ann", "role": "viewer"})
    assert (refused.status_code, _code(refused)) == (403, "forbidden")
    assert "'default'" in refused.get_json()["detail"]
    made = admin("POST", "/members", {"name": "ann", "role": "editor"}).get_json()
    assert (made["state"], made["password"] != known) == ("invited", True)
    assert sign_in(app.test_client(), "ann", known).status_code == 401
    assert sign_in(app.test_client(), "ann", made["password"]).status_code == 303
    joined = carl("POST", "/members", {"name": "ann", "role": "viewer"})
    assert (joined.status_code, joined.get_json()["password"]) == (201, None)


def test_who_owns_the_first_workspace_and_another_adds_accounts_of_others_there(join: Join) -> None:
    join("eve", workspace="elsewhere")
    join("dora")
    dora = join("dora", workspace="third").token("d")
    made = dora("POST", "/members", {"name": "eve", "role": "viewer"})
    assert (made.status_code, len(made.get_json()["password"])) == (201, 20)


def test_a_token_may_do_at_most_what_its_user_may(join: Join) -> None:
    editor = join("ed", "editor").token("wide")
    refused = editor("POST", "/tokens", {"name": "more", "role": "owner"})
    assert (_code(refused), refused.get_json()["detail"]) == (
        "forbidden",
        "a token cannot have the role owner: yours is editor",
    )
    made = editor("POST", "/tokens", {"name": "less", "role": "viewer"}).get_json()
    assert (made["role"], made["user"]) == ("viewer", "ed")
    viewer = Caller(editor.app, made["token"])
    assert viewer("POST", "/datasets", {}).status_code == 403
    assert viewer("POST", "/tokens", {"name": "again", "role": "editor"}).status_code == 403


def test_everybody_sees_and_revokes_their_own_tokens_and_owners_all(join: Join, admin: Caller) -> None:
    ed, vic = join("ed", "editor").token("eds"), join("vic", "viewer").token("vics")
    vic("POST", "/tokens", {"name": "vics-other"})
    assert _names(ed("GET", "/tokens")) == ["eds"]
    assert _names(vic("GET", "/tokens")) == ["vics", "vics-other"]
    assert set(_names(admin("GET", "/tokens"))) == {"admin", "eds", "vics", "vics-other"}
    assert vic("DELETE", "/tokens/eds").status_code == 404
    assert _code(vic("DELETE", "/tokens/vics")) == "wrong_state"
    assert vic("DELETE", "/tokens/vics-other").status_code == 204
    assert admin("DELETE", "/tokens/vics").status_code == 204
    assert vic("GET", "/datasets").status_code == 401
    assert _code(ed("DELETE", "/tokens/host")) == "not_found"


def test_a_token_without_a_user_sees_itself_alone(admin: Caller) -> None:
    made = admin("POST", "/tokens", {"name": "ci", "role": "editor"}).get_json()
    assert made["user"] is None
    ci = Caller(admin.app, made["token"])
    assert _names(ci("GET", "/tokens")) == ["ci"]
    assert ci("POST", "/members", {"name": "x"}).status_code == 403


def test_a_token_is_made_shown_once_and_revoked_on_the_page(app: Flask, join: Join) -> None:
    with join("vic", "viewer").browser() as client:
        page = post(client, "/account/tokens", "/account", name="cli", role="viewer", days="30").text
        (text,) = re.findall(r"<code>([\w-]{40,})</code>", page)
        caller = Caller(app, text)
        assert caller("GET", "/datasets").status_code == 200
        assert text not in client.get("/account").text
        assert "is revoked" in post(client, "/account/tokens/cli/revoke", "/account").text
        assert caller("GET", "/datasets").status_code == 401
        assert post(client, "/account/tokens/cli/revoke", "/account").status_code == 404


@pytest.mark.parametrize(
    "form, status, sentence",
    [
        ({"name": "a b", "role": "viewer"}, 422, "cannot name a token"),
        ({"name": "cli", "role": "viewer", "days": "0"}, 422, "a number from 1 to 3650"),
        ({"name": "cli", "role": "viewer", "days": "\u00b2"}, 422, "a number from 1 to 3650"),
        ({"name": "cli", "role": "host"}, 422, "choose a role"),
        ({"name": "cli", "role": "owner"}, 403, "yours is viewer"),
        ({"name": "admin", "role": "viewer"}, 409, "there is a token named"),
    ],
)
def test_a_token_that_cannot_be_is_refused_with_its_reason(
    join: Join, form: dict[str, str], status: int, sentence: str
) -> None:
    with join("vic", "viewer").browser() as client:
        page = post(client, "/account/tokens", "/account", **form)
        assert (page.status_code, sentence in page.text) == (status, True)


def test_members_are_added_changed_and_removed_on_the_page(join: Join) -> None:
    with join("ann").browser() as client:
        page = post(client, "/members", "/members", name="bob@example.org", role="viewer").text
        (password,) = re.findall(r"<code>([\w-]{20})</code>", page)
        assert password not in client.get("/members").text
        taken = post(client, "/members", "/members", name="bob@example.org", role="viewer")
        assert taken.status_code == 409 and "already" in taken.text
        changed = post(client, "/members/bob@example.org/role", "/members", role="editor").text
        assert "bob@example.org has the role editor now." in changed
        reset = post(client, "/members/bob@example.org/password", "/members").text
        assert re.search(r"<code>[\w-]{20}</code>", reset)
        assert "their tokens for it end" in client.get("/members").text  # what it means is said first
        assert "is no member any more" in post(client, "/members/bob@example.org/remove", "/members").text
        assert post(client, "/members/bob@example.org/remove", "/members").status_code == 404


def test_a_viewer_sees_the_members_and_no_forms(join: Join) -> None:
    join("ann")
    with join("vic", "viewer").browser() as client:
        page = client.get("/members").text
        assert "ann" in page and 'action="/members' not in page


def test_a_new_workspace_belongs_to_who_made_it(
    join: Join, admin: Caller, api_sessions: SessionFactory
) -> None:
    ann = join("ann")
    made = ann.token("t")("POST", "/workspaces", {"name": "second"}).get_json()
    second = Caller(ann.app, made["token"])
    assert [(row["name"], row["role"]) for row in second("GET", "/members").get_json()["items"]] == [
        ("ann", "owner")
    ]
    with ann.browser() as client:
        assert 'value="second"' in client.get("/account").text
    ed = join("ed", "editor").token("eds")
    assert ed("POST", "/workspaces", {"name": "third"}).status_code == 403
    assert _names(ed("GET", "/workspaces")) == ["default"]
    with api_sessions() as session:
        owners = select(func.count()).select_from(Membership).where(Membership.role == Role.OWNER)
        assert session.scalar(owners) == 2


def test_a_workspace_is_made_on_the_page_by_owners_of_the_first_one(
    join: Join, api_sessions: SessionFactory
) -> None:
    with join("ann").browser() as client:
        made = post(client, "/account/workspaces", "/account", name="second")
        assert made.status_code == 200 and "The workspace second is made and yours." in made.text
        (token,) = re.findall(r"<code>([\w-]{30,})</code>", made.text)
        assert token not in client.get("/account").text
        assert post(client, "/account/workspace", "/account", name="second").status_code == 200
        assert "in the workspace second" in client.get("/account").text
        # An owner of another workspace is none of the first.
        refused = post(client, "/account/workspaces", "/account", name="third")
        assert refused.status_code == 403 and "Make the workspace" not in refused.text
        post(client, "/account/workspace", "/account", name="default")
        for name, status in (("second", 409), ("no name", 422), ("", 422)):
            assert post(client, "/account/workspaces", "/account", name=name).status_code == status
    with join("ed", "editor").browser() as client:
        assert "Make the workspace" not in client.get("/account").text
        assert post(client, "/account/workspaces", "/account", name="fourth").status_code == 403
    with api_sessions() as session:
        assert session.scalar(select(func.count()).select_from(Workspace)) == 2


def test_a_session_by_a_token_without_user_has_no_password(app: Flask, admin: Caller) -> None:
    token = admin("POST", "/tokens", {"name": "browser"}).get_json()["token"]
    with app.test_client() as client:
        form = {"csrf_token": csrf_of(client.get("/sign-in").text), "token": token}
        client.post("/sign-in", data=form)
        assert "belongs to no user" in client.get("/account/password").text
        assert post(client, "/account/password", "/account", new="x").status_code == 403
        own = post(client, "/account/tokens/browser/revoke", "/account").text
        assert "this is the token you are using" in own


def test_a_viewer_is_told_of_a_link_for_pictures_that_come_back_and_not_where_it_leads(
    app: Flask, admin: Caller, join: Join
) -> None:
    put_colours(app)
    settings = app.extensions["sightloop"].settings
    app.extensions["sightloop"] = Runtime(replace(settings, phone_url="https://192.168.1.7:8712"))
    links = "/models/parts-v1/links"
    asking = admin("POST", links, {"minutes": 15}).get_json()
    collecting = admin("POST", links, {"minutes": 15, "collects": True}).get_json()
    vic, ed = join("vic", "viewer"), join("ed", "editor")
    seen = vic.token("vics")("GET", links).get_json()["items"]
    assert seen == [{**collecting, "path": None, "url": None}, asking]
    assert ed.token("eds")("GET", links).get_json()["items"] == [collecting, asking]
    with vic.browser() as client:
        page = client.get("/models/parts-v1/test").text
    assert asking["url"] in page and collecting["path"] not in page
    assert "Pictures sent back" in page
    with ed.browser() as client:
        assert collecting["url"] in client.get("/models/parts-v1/test").text
