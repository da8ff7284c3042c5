from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import pytest

from model_server import auth
from model_server import config as configuration
from plugins.bundle import Bundle
from tests.model_server.bundles import body, picture
from tests.model_server.servers import STORED, TOKEN, Server, running, until

PATH = "/api/predict/colours"
CONTENT = body(picture("red"))


def sign(token: str, content: bytes, **changes: str) -> dict[str, str]:
    """The headers of a signed request, as the platform's own client makes them."""
    parts = {
        "method": "POST",
        "md5": hashlib.md5(content).hexdigest(),
        "type": "application/octet-stream",
        "date": "Mon, 02 Jan 2006 15:04:05 GMT",
        "path": PATH,
        **changes,
    }
    digest = hmac.new(token.encode(), "\n".join(parts.values()).encode(), "sha1").digest()
    return {
        "Authorization": f"EAS {base64.b64encode(digest).decode()}",
        "Content-MD5": hashlib.md5(content).hexdigest(),
        "Content-Type": "application/octet-stream",
        "Date": "Mon, 02 Jan 2006 15:04:05 GMT",
    }


def test_a_token_is_random_long_and_not_kept() -> None:
    (one, kept), (two, _) = auth.new_token("a"), auth.new_token("a")
    assert one != two and len(one) == len(two) == auth.TOKEN_LENGTH
    assert one not in repr(kept)


def test_a_token_of_another_length_cannot_be_stored() -> None:
    with pytest.raises(ValueError, match="72"):
        auth.stored("a", "short")


@pytest.mark.parametrize(
    "header", [TOKEN, f"Bearer {TOKEN}", f"Bearer  {TOKEN}"], ids=["bare", "bearer", "two spaces"]
)
def test_a_token_is_accepted_bare_and_as_bearer(server: Server, header: str) -> None:
    assert server.predict(CONTENT, Authorization=header).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", TOKEN[:-1], TOKEN.swapcase(), f"Basic {TOKEN}", STORED.sha256, STORED.signing_key, "EAS"],
    ids=["none", "bare bearer", "short", "other case", "basic", "digest", "signing key", "bare EAS"],
)
def test_everything_else_is_401(server: Server, header: str) -> None:
    assert server.predict(CONTENT, Authorization=header).status_code == 401


def test_a_signed_request_is_accepted_whatever_its_date(server: Server) -> None:
    answer = server.predict(CONTENT, **sign(TOKEN, CONTENT))
    assert answer.status_code == 200, answer.text


def test_the_signature_covers_the_path_not_the_query(server: Server) -> None:
    assert server.predict(CONTENT, "?top_k=2", **sign(TOKEN, CONTENT)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"},
        {"md5": hashlib.md5(b"other").hexdigest()},
        {"type": "text/plain"},
        {"date": "Tue, 03 Jan 2006 15:04:05 GMT"},
        {"path": "/api/predict/other"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_signature_of_something_else_is_401(server: Server, changes: dict[str, str]) -> None:
    assert server.predict(CONTENT, **sign(TOKEN, CONTENT, **changes)).status_code == 401


def test_a_signature_with_a_wrong_token_or_of_another_body_is_401(server: Server) -> None:
    assert server.predict(CONTENT, **sign("x" * 72, CONTENT)).status_code == 401
    assert server.predict(body(picture("blue")), **sign(TOKEN, CONTENT)).status_code == 401
    headers = {**sign(TOKEN, CONTENT), "Content-MD5": hashlib.md5(b"other").hexdigest()}
    assert server.predict(CONTENT, **headers).status_code == 401
    del headers["Content-MD5"]
    assert server.predict(CONTENT, **headers).status_code == 401


@pytest.mark.parametrize("signature", ["EAS !!!", "EAS QUJD", "EAS äö"])
def test_a_broken_signature_is_401(server: Server, signature: str) -> None:
    headers = {**sign(TOKEN, CONTENT), "Authorization": signature.encode().decode("latin-1")}
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    with server.client() as client:
        assert client.post(PATH, content=CONTENT, headers=encoded).status_code == 401


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def note(one: str, two: str) -> bool:
        compared.append(two)
        return real(one, two)

    monkeypatch.setattr(hmac, "compare_digest", note)
    tokens = [auth.new_token(str(number)) for number in range(3)]
    stored = [kept for _, kept in tokens]
    assert auth.token_of(tokens[0][0], stored) == stored[0]
    assert compared == [kept.sha256 for kept in stored]


def test_no_token_and_no_key_is_logged(server: Server) -> None:
    server.predict(CONTENT)
    server.predict(CONTENT, Authorization="a-wrong-token-of-somebody")
    log = server.log.read_text()
    for secret in (TOKEN, STORED.sha256, STORED.signing_key, "a-wrong-token-of-somebody"):
        assert secret not in log


def test_tokens_change_in_every_instance_without_a_restart(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle
) -> None:
    with running(tmp_path, plugins_folder, bundle, instances=3) as server:
        pids, (new, kept) = server.pids(), auth.new_token("second")
        configuration.write(server.path, replace(server.config, tokens=(kept,)))

        def settled() -> bool:  # many connections, so that every instance is asked
            old = [server.predict(CONTENT).status_code for _ in range(12)]
            return set(old) == {401}

        until(settled, "the old token is refused everywhere")
        assert {server.predict(CONTENT, Authorization=new).status_code for _ in range(12)} == {200}
        assert server.pids() == pids


def test_a_broken_configuration_changes_nothing(tmp_path: Path, plugins_folder: Path, bundle: Bundle) -> None:
    with running(tmp_path, plugins_folder, bundle) as server:
        server.path.write_text("{")

        def noticed() -> bool:
            assert server.predict(CONTENT).status_code == 200
            return "the changed configuration is not used" in server.log.read_text()

        until(noticed, "the log says so")
