"""Opening a registered model to predict with it: its bundle fetched and verified, its predictor made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from backend.errors import ModelInvalid, ObjectMissing
from backend.models import registry as models
from backend.runtime import Runtime
from plugins import bundle, registry
from plugins.bundle_cache import BundleCache
from plugins.contract import Labeling, Plugin, PluginError, Predictor


@dataclass(frozen=True)
class OpenedModel:
    """A predictor with the plugin that it belongs to, and the plugin's Label Studio side."""

    plugin: Plugin
    predictor: Predictor
    labeling: Labeling


def bundle_cache(runtime: Runtime, folder: Path) -> BundleCache:
    """The bundles of this runtime's object store, kept in a folder."""

    def fetch(digest: str, target: Path) -> None:
        runtime.artifacts.download(runtime.settings.s3_bucket, models.bundle_key(digest), target)

    return BundleCache(folder, fetch)


def open_bundle(cache: BundleCache, digest: str, *, threads: int) -> OpenedModel:
    """Open the model with that bundle; `threads` are CPU threads.

    Raises `ModelInvalid` when the bundle is gone, damaged, or made for a plugin that is not here, and what
    the object store raises.
    """
    try:
        folder = cache.get(digest)
        manifest = bundle.read_manifest(folder)
        plugin = registry.plugin(manifest.plugin)
        predictor: Predictor = registry.load(plugin.predictor)(folder, manifest.model, threads=threads)
        labeling: Labeling = registry.load(plugin.labeling)
    except (bundle.BundleError, PluginError, ObjectMissing) as error:
        raise ModelInvalid(f"the model cannot be opened: {error}") from None
    return OpenedModel(plugin, predictor, labeling)


@contextmanager
def opened(runtime: Runtime, digest: str, *, threads: int) -> Iterator[OpenedModel]:
    """The same for as long as a block runs, from a folder of its own. Raises as `open_bundle`."""
    with TemporaryDirectory(prefix="sightloop-bundle-") as folder:
        yield open_bundle(bundle_cache(runtime, Path(folder)), digest, threads=threads)
