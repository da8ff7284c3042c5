"""What pages show of a bundle: its manifest, plots and answers, kept in a folder of this host so that a page
need not fetch the whole bundle each time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from backend.errors import ModelInvalid, NotFound
from backend.models import registry
from backend.models.tables import Model
from backend.runtime import Runtime
from plugins import answers, bundle
from plugins.contract import Judged

_PLOTS = "plots"


def manifest(runtime: Runtime, model: Model) -> bundle.Manifest:
    """The manifest of a model's bundle. Raises `ModelInvalid` and what the object store raises."""
    try:
        return bundle.read_manifest(_folder(runtime, model))
    except bundle.BundleError as error:
        raise ModelInvalid(f"the bundle of model {model.name!r} cannot be read: {error}") from None


def plots(found: bundle.Manifest) -> list[str]:
    """The names of the plots, without their folder."""
    return sorted(Path(path).name for path in found.files if Path(path).parent == Path(_PLOTS))


def plot(runtime: Runtime, model: Model, name: str) -> Path:
    """The file of one plot. Raises `NotFound` for a name that the manifest does not list."""
    if name not in plots(manifest(runtime, model)):
        raise NotFound(f"model {model.name!r} has no plot {name!r}")
    return _folder(runtime, model) / _PLOTS / name


def judged(runtime: Runtime, model: Model) -> Sequence[Judged]:
    """The answers of the model's evaluation; none where they were not kept. Raises as `manifest`."""
    path = _folder(runtime, model) / answers.FILE
    if not path.is_file():
        return ()
    try:
        return _read_answers(path)
    except bundle.BundleError as error:
        raise ModelInvalid(f"the answers of model {model.name!r} cannot be read: {error}") from None


def forget(runtime: Runtime, bundle_key: str) -> None:
    """Remove what this host keeps of a bundle that is gone."""
    shutil.rmtree(runtime.settings.data_dir / "excerpts" / Path(bundle_key).stem, ignore_errors=True)


@lru_cache(maxsize=8)
def _read_answers(path: Path) -> Sequence[Judged]:
    """A file in a folder that is named by its content's digest never changes."""
    return answers.read(path)


def _folder(runtime: Runtime, model: Model) -> Path:
    target = runtime.settings.data_dir / "excerpts" / model.digest
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        registry.verified(runtime.artifacts, runtime.settings.s3_bucket, model) as archive,
        tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as scratch,
    ):
        source, partial = archive.parent / "bundle", Path(scratch) / "excerpt"
        partial.mkdir()
        shutil.copy(source / bundle.MANIFEST, partial)
        if (source / answers.FILE).is_file():
            shutil.copy(source / answers.FILE, partial)
        if (source / _PLOTS).is_dir():
            shutil.copytree(source / _PLOTS, partial / _PLOTS)
        try:
            partial.rename(target)
        except OSError:  # another request was faster: the content is the same by its digest
            if not target.is_dir():
                raise
    return target
