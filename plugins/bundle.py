"""The model bundle: a folder that holds everything a model needs, and the same as one `.zip`.

The manifest is written last and names every file with its sha256, so a folder without a manifest is no
model, and a changed file is found. No pickle: ONNX, safetensors, JSON, PNG and text only.

    manifest.json  *.onnx  weights.safetensors  test_vectors/  model_card.md  answers.json  plots/
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUFFIXES = frozenset({".onnx", ".safetensors", ".json", ".png", ".md", ".jpg", ".npz", ".txt"})
MAX_FILES = 1_000
MAX_BYTES = 4 * 1024**3
MAX_MANIFEST_BYTES = 16 * 1024**2
# How a tensor of an ONNX file names another file: StringStringEntryProto{key: "location", value: ...}
# (onnx/onnx.proto, TensorProto.external_data). Such a model would read files of the host.
_EXTERNAL_DATA = b"\x0a\x08location\x12"


class BundleError(Exception):
    """A bundle is incomplete, changed, or holds what it must not; the message says which file and why."""


@dataclass(frozen=True)
class Manifest:
    """What the bundle says of itself. `files` maps each path (POSIX, relative) to the sha256 of its bytes.

    `digest`, the sha256 of the canonical JSON of all of this, names the bundle: same content, same name.
    """

    plugin: str
    algorithm: str
    name: str
    created_at: str
    model: Mapping[str, Any]
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    base: Mapping[str, Any]
    facts: Mapping[str, Any]
    parameters: Mapping[str, Any]
    snapshot: str
    libraries: Mapping[str, str]
    files: Mapping[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def digest(self) -> str:
        """64 hex characters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no NaN."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)


@dataclass(frozen=True)
class Bundle:
    """A verified folder."""

    folder: Path
    manifest: Manifest


def write(folder: Path, manifest: Manifest) -> Bundle:
    """Complete the folder: hash every file in it, then write the manifest (its `files` is filled here).

    Raises `BundleError` for what a bundle may not hold.
    """
    hashes = {path: _sha256(folder / path) for path in _walk(folder) if path != MANIFEST}
    complete = Manifest(**{**_shallow(manifest), "files": hashes})
    partial = folder / f".{MANIFEST}.part"
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(complete.to_json())
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / MANIFEST)
    return Bundle(folder, complete)


def verify(folder: Path, *, digest: str | None = None) -> Bundle:
    """Open a bundle after checking every byte of it.

    Raises `BundleError`: no manifest, unknown fields, a missing, additional or changed file, a symbolic link,
    a file type that a bundle may not hold, another digest than the one expected, ONNX with external data.
    """
    manifest = read_manifest(folder)
    present = set(_walk(folder)) - {MANIFEST}
    for path in sorted(manifest.files.keys() - present):
        raise BundleError(f"{path} is missing from the bundle")
    for path in sorted(present - manifest.files.keys()):
        raise BundleError(f"{path} is not named by the manifest")
    for path, expected in manifest.files.items():
        if _sha256(folder / path) != expected:
            raise BundleError(f"{path} was changed: its sha256 is not the one in the manifest")
        if path.endswith(".onnx") and _EXTERNAL_DATA in (folder / path).read_bytes():
            raise BundleError(f"{path} refers to data outside the bundle")
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"the bundle is {manifest.digest[:12]}, not {digest[:12]} as asked for")
    return Bundle(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, its form checked but no file hashed. Raises `BundleError`."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"no {MANIFEST}: the bundle is incomplete")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES:,} bytes")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not JSON: {error}") from None
    return _parse(values)


def _parse(values: Any) -> Manifest:
    if not isinstance(values, dict):
        raise BundleError(f"{MANIFEST} is not an object")
    known = {field.name for field in fields(Manifest)}
    if values.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"format version {values.get('format_version')!r} is not {FORMAT_VERSION}: "
            "the bundle was written by another release"
        )
    if unknown := sorted(values.keys() - known):
        raise BundleError(f"{MANIFEST} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(known - values.keys()):
        raise BundleError(f"{MANIFEST} lacks {', '.join(missing)}")
    text = {"plugin", "algorithm", "name", "created_at", "snapshot"}
    for name in known - {"format_version"}:
        if not isinstance(values[name], str if name in text else dict):
            raise BundleError(f"{MANIFEST}: {name} is of the wrong type")
    if not all(isinstance(path, str) and isinstance(sha, str) for path, sha in values["files"].items()):
        raise BundleError(f"{MANIFEST}: files must map paths to sha256")
    return Manifest(**values)


def pack(bundle: Bundle, target: Path) -> Path:
    """Write the bundle as one zip, the manifest as its last entry; the same bundle gives the same bytes."""
    partial = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for path in [*sorted(bundle.manifest.files), MANIFEST]:
            info = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            with (bundle.folder / path).open("rb") as source, archive.open(info, "w") as sink:
                shutil.copyfileobj(source, sink, 1024 * 1024)
    partial.replace(target)
    return target


def unpack(archive: Path, target: Path, *, digest: str | None = None) -> Bundle:
    """Unpack a zip into the new folder `target` and verify it; on any fault nothing is left behind.

    Raises `BundleError`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _extract(archive, scratch)
        bundle = verify(scratch, digest=digest)
        scratch.chmod(0o755)
        try:
            scratch.rename(target)
        except OSError:  # another process was faster: the content is the same by its digest
            return verify(target, digest=bundle.manifest.digest)
        return Bundle(target, bundle.manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise BundleError("the archive holds too many files or bytes")
            if len({entry.filename for entry in entries}) != len(entries):
                raise BundleError("the archive names a file twice")
            for entry in entries:
                destination = target / _safe(entry.filename)
                destination.parent.mkdir(parents=True, exist_ok=True)
                with source.open(entry) as stream, destination.open("xb") as sink:
                    shutil.copyfileobj(stream, sink, 1024 * 1024)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise BundleError(f"not a readable zip archive: {error}") from None


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    bad_part = any(part in ("", ".", "..") or part.startswith(".") for part in path.parts)
    if path.is_absolute() or "\\" in name or "\0" in name or bad_part or name.endswith("/"):
        raise BundleError(f"{name!r} is not a path that a bundle may hold")
    if path.suffix not in SUFFIXES:
        raise BundleError(f"{name!r}: a bundle holds only {', '.join(sorted(SUFFIXES))} files")
    return name


def _walk(folder: Path) -> Iterator[str]:
    """The paths of all files of the folder, each allowed and within the limits."""
    count = total = 0
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if (Path(parent) / name).is_symlink():
                raise BundleError(f"{name} is a symbolic link")
        for name in files:
            path = Path(parent) / name
            count, total = count + 1, total + path.stat().st_size
            if count > MAX_FILES or total > MAX_BYTES:
                raise BundleError("the bundle holds too many files or bytes")
            yield _safe(path.relative_to(folder).as_posix())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shallow(manifest: Manifest) -> dict[str, Any]:
    return {field.name: getattr(manifest, field.name) for field in fields(manifest)}
