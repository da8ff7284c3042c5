"""Static files of the console under addresses that hold their hash, so that browsers keep them for a year.

One hash for all of them: modules of scripts find each other by relative names then.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, current_app, request, send_from_directory

from backend.console.vendoring import FILES
from backend.errors import NotFound

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_DIGITS = 16
_YEAR = 365 * 24 * 3600
# Workers keep to the policy of their own script: these of the test page run WebAssembly, and nothing else.
_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'"

bp = Blueprint("assets", __name__)


@dataclass(frozen=True)
class Assets:
    """The files that are there, by their names below `folder`; `digest` is the start of their sha256."""

    folder: Path
    digest: str
    names: frozenset[str]

    def url(self, name: str) -> str:
        """The address of a file; one that was not installed has the address of nothing."""
        return f"/assets/{self.digest if name in self.names else 'missing'}/{name}"

    @property
    def missing(self) -> list[str]:
        """Files from npm that were not installed."""
        return sorted(f"vendor/{name}" for name in FILES if not (self.folder / "vendor" / name).is_file())


def read(folder: Path = STATIC) -> Assets:
    """Hash every stylesheet, script and drawing below the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES and path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    total = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return Assets(folder, total.hexdigest()[:_DIGITS], frozenset(names))


def installed() -> Assets:
    """The assets of the running app."""
    found: Assets = current_app.extensions["sightloop.assets"]
    return found


@bp.get("/assets/<digest>/<path:name>")
def asset(digest: str, name: str) -> Response:
    """One file, compressed where it was installed so. Only names that were found at the start are served, and
    only under their present hash.
    """
    assets = installed()
    if name not in assets.names or digest != assets.digest:
        raise NotFound("there is no such file of the console; reload the page")
    packed = request.accept_encodings.quality("gzip") > 0 and (assets.folder / f"{name}.gz").is_file()
    kind = _TYPES[Path(name).suffix]
    response = send_from_directory(assets.folder, f"{name}.gz" if packed else name, mimetype=kind)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
    response.headers["Content-Security-Policy"] = _POLICY
    # The test page is isolated from other origins, so that its workers may share memory.
    response.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    return response
