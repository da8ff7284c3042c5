"""The REST API as the commands see it: JSON in, JSON out, and its problems as exceptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from backend.cli.embedded.home import Home
from backend.cli.embedded.programs import api_url
from backend.cli.errors import NotRunning, Refused, Unreachable
from backend.settings import Settings

Resource = dict[str, Any]
_PAGE = 500
# What runs on this machine is never asked through a proxy.
DIRECT: dict[str, httpx.BaseTransport | None] = {
    "all://127.0.0.1": None,
    "all://localhost": None,
    "all://[::1]": None,
}


@dataclass(frozen=True)
class Client:
    """A client of one API. `absent` is what to say when nobody answers."""

    http: httpx.Client
    absent: str

    @property
    def origin(self) -> str:
        """Where the console of this API is, without a slash at the end."""
        return str(self.http.base_url).removesuffix("/").removesuffix("/api/v1")

    def get(self, path: str, **query: Any) -> Resource:
        """GET one resource."""
        return self._json(self._send("GET", path, params=query))

    def post(self, path: str, body: Resource | None = None) -> Resource:
        """POST a JSON object."""
        return self._json(self._send("POST", path, json=body))

    def patch(self, path: str, body: Resource) -> Resource:
        """PATCH with a JSON object."""
        return self._json(self._send("PATCH", path, json=body))

    def delete(self, path: str, **query: Any) -> Resource:
        """DELETE; what the API answers, or nothing."""
        return self._json(self._send("DELETE", path, params=query))

    def items(self, path: str, **query: Any) -> Iterator[Resource]:
        """Every item of a list, page by page."""
        after: Any = None
        while True:
            page = self.get(path, **query, limit=_PAGE, **({} if after is None else {"after": after}))
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def news(self, path: str, after: int, **query: Any) -> tuple[list[Resource], int]:
        """What a growing list has after an id, and the id to go on with."""
        found: list[Resource] = []
        while True:
            page = self.get(path, **query, limit=_PAGE, after=after)
            found += page["items"]
            after = page["next"] or after
            if len(page["items"]) < _PAGE:
                return found, after

    def download(self, path: str, target: Path) -> int:
        """GET into a file, which is there whole or not at all; its size."""
        part = target.with_name(f".{target.name}.part")
        try:
            with self.http.stream("GET", path) as answer, part.open("wb") as file:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                self._check(answer)
                for block in answer.iter_bytes(1024 * 1024):
                    file.write(block)
            part.replace(target)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            part.unlink(missing_ok=True)
        return target.stat().st_size

    def send_file(self, path: str, source: Path) -> Resource:
        """POST a file as it is."""
        with source.open("rb") as file:
            return self._json(self._send("POST", path, content=file))

    def wait(
        self,
        path: str,
        done: Callable[[Resource], bool],
        watch: Callable[[Resource], None],
        pause: float = 0.5,
    ) -> Resource:
        """Ask again until it is done, showing each answer to `watch`; brief outages of the API are borne."""
        failures = 0
        while True:
            try:
                found = self.get(path)
                watch(found)  # which may ask for more
                failures = 0
                if done(found):
                    return found
            except Unreachable:
                failures += 1
                if failures > 10:
                    raise
            time.sleep(pause)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        if answer.is_error:
            raise _refusal(answer)
        self._check(answer)
        return answer

    def _check(self, answer: httpx.Response) -> None:
        """Refuse the answers of other servers: a proxy on the way, a page to sign in at."""
        if answer.is_redirect:
            raise self._no_api(f"sends clients to {answer.headers.get('Location')}")
        is_page = answer.headers.get("Content-Type", "").startswith("text/html")
        if is_page and answer.status_code != HTTPStatus.NO_CONTENT:  # Flask gives a type to nothing, too
            raise self._no_api("answers with a web page")

    def _no_api(self, what: str) -> Unreachable:
        return Unreachable(
            f"no REST API of Sightloop: {self.origin} {what}; check SIGHTLOOP_API_URL, also http or https"
        )

    def _unreachable(self, error: httpx.TransportError) -> Exception:
        if isinstance(error, httpx.ConnectError):
            return NotRunning(self.absent)
        return Unreachable(
            f"the API broke off ({type(error).__name__}); see `sightloop status`, then run the command again"
        )

    def _json(self, answer: httpx.Response) -> Resource:
        try:
            found = answer.json() if answer.content else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_api("does not answer as one")
        return found


def _refusal(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        detail, code = f"the API answered {answer.status_code} {answer.reason_phrase}", "http_error"
    if code == "internal":
        detail += f" (request {answer.headers.get('X-Request-Id', 'unknown')})"
    return Refused(detail, code, answer.status_code)


def connect(settings: Settings, home: Home) -> Client:
    """A client from SIGHTLOOP_API_URL and SIGHTLOOP_API_TOKEN, or from the data directory.

    Raises `NotRunning` when neither names an API.
    """
    absent = f"Sightloop is not running for data directory {home.path}; start it with `sightloop up`"
    url, token = settings.api_url, settings.api_token
    if url:
        absent = f"no Sightloop answers at {url}; check SIGHTLOOP_API_URL"
    else:
        choices = home.choices()
        if choices is None:
            raise NotRunning(absent)
        url = api_url(choices)
    if not token:
        try:
            token = home.token_file.read_text().strip()
        except OSError:
            raise NotRunning(
                f"there is no API token: set SIGHTLOOP_API_TOKEN, or name the data directory with --data-dir "
                f"({home.token_file} cannot be read)"
            ) from None
    headers = {"Authorization": f"Bearer {token}"}
    timeout = httpx.Timeout(60, connect=5)
    return Client(
        httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=timeout, mounts=DIRECT), absent
    )


def named(noun: str, name: str) -> str:
    """The address of one resource; a name with odd characters cannot leave its place."""
    return f"/{noun}/{quote(name, safe='')}"
