"""The real Label Studio as the stack starts it: closed to strangers, and narrowly connected."""

from __future__ import annotations

from tests.label_studio.real import RealLabelStudio


def test_the_first_user_has_the_token_it_was_given(label_studio: RealLabelStudio) -> None:
    with label_studio.client() as client:
        found = client.get("/api/current-user/whoami").raise_for_status().json()
    assert found["email"] == label_studio.user
