"""`sightloop up --https`: the certificate, and the real stack behind it."""

from __future__ import annotations

import re
import shutil
import ssl
import stat
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from backend.addresses import lan_address
from backend.cli.embedded import certificates
from backend.cli.embedded.home import Home
from tests.cli.program import Stack, free_base


def _names(files: certificates.Files) -> set[str]:
    made = x509.load_pem_x509_certificate(files.chain.read_bytes())
    found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_a_certificate_is_kept_until_an_address_is_missing_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = certificates.ensure(home, ["localhost", "127.0.0.1", "::1", "shop.local"])
    chain, authority = first.chain.read_bytes(), first.authority.read_bytes()
    assert _names(first) == {"localhost", "127.0.0.1", "::1", "shop.local"}
    certificates.ensure(home, ["127.0.0.1"])
    assert first.chain.read_bytes() == chain
    certificates.ensure(home, ["127.0.0.1", "192.168.1.7"])
    assert first.chain.read_bytes() != chain and "192.168.1.7" in _names(first)
    assert first.authority.read_bytes() == authority  # phones that have installed it go on trusting
    for path in (tmp_path / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_certificate_that_soon_expires_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_DAYS", 20)
    files = certificates.ensure(Home(tmp_path), ["127.0.0.1"])
    chain = files.chain.read_bytes()
    monkeypatch.undo()
    certificates.ensure(Home(tmp_path), ["127.0.0.1"])
    assert files.chain.read_bytes() != chain


def test_this_machine_has_names_and_addresses() -> None:
    assert {"localhost", "127.0.0.1"} <= set(certificates.own_hosts())


def test_other_machines_reach_the_stack_by_https_only(folder: Path) -> None:
    stack = Stack(folder, free_base())
    options = ("--no-label-studio", "--host", "0.0.0.0", "--https", "--port", str(stack.port))
    try:
        up = stack.json("up", *options)
        lan, port = lan_address(), stack.port + 12
        assert up["https"] == up["phone"] == f"https://{lan or '127.0.0.1'}:{port}"
        assert up["console"] == f"http://127.0.0.1:{stack.port}"
        trusted = ssl.create_default_context(cafile=folder / "tls" / "ca.pem")
        with httpx.Client(verify=trusted, base_url=up["https"]) as browser:
            page = browser.get("/sign-in").raise_for_status()
            token = re.findall(r'name="csrf_token" value="([^"]+)"', page.text)[0]
            form = {"csrf_token": token, "token": (folder / "secrets" / "admin-token").read_text().strip()}
            signed_in = browser.post("/sign-in", data=form, headers={"Referer": f"{up['https']}/sign-in"})
            cookie = signed_in.headers["Set-Cookie"]
            assert cookie.startswith("__Host-sightloop=") and "; Secure" in cookie and "HttpOnly" in cookie
            assert browser.get("/models").status_code == 200
            browser.cookies.clear()
            assert browser.get("/models").headers["Location"].startswith("/sign-in")
            assert browser.get("/authority.crt").content == (folder / "tls" / "ca.pem").read_bytes()
        assert stack.programs()["api-https"]["state"] == "running"
        if lan:
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://{lan}:{stack.port}/sign-in")
        assert "running already" in stack.run("up")
        assert "sightloop down" in stack.run("up", "--no-https", code=1)
    finally:
        stack.run("down")
        shutil.rmtree(folder, ignore_errors=True)
