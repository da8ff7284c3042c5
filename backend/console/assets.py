"""Static files of the console under addresses that hold their hash, so that browsers keep them for a year."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

from backend.console.vendoring import FILES
from backend.errors import NotFound

STATIC = Path(__file__).parent / "static"
_SERVED = (".css", ".js", ".svg")
_DIGITS = 16
_YEAR = 365 * 24 * 3600

bp = Blueprint("assets", __name__)


@dataclass(frozen=True)
class Assets:
    """The files that are there: name below `folder` -> start of its sha256, in hex."""

    folder: Path
    digests: Mapping[str, str]

    def url(self, name: str) -> str:
        """The address of a file; one that was not installed has the address of nothing."""
        return f"/assets/{self.digests.get(name, 'missing')}/{name}"

    @property
    def missing(self) -> list[str]:
        """Files from npm that were not installed."""
        return sorted(f"vendor/{name}" for name in FILES if not (self.folder / "vendor" / name).is_file())


def read(folder: Path = STATIC) -> Assets:
    """Hash every stylesheet, script and drawing below the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _SERVED and path.is_file())
    return Assets(
        folder,
        {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
            for path in paths
        },
    )


def installed() -> Assets:
    """The assets of the running app."""
    found: Assets = current_app.extensions["sightloop.assets"]
    return found


@bp.get("/assets/<digest>/<path:name>")
def asset(digest: str, name: str) -> Response:
    """One file. Only names that were found at the start are served, and only under their present hash."""
    assets = installed()
    if assets.digests.get(name) != digest:
        raise NotFound("there is no such file of the console; reload the page")
    response = send_from_directory(assets.folder, name)
    response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
    return response
