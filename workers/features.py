"""What a network sees in the images of a dataset: rows for what to label next and for doubtful labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.datasets.types import plugin_for
from backend.errors import ModelInvalid
from backend.models import predicting
from backend.models.opening import opened
from backend.models.predicting import Outcome, Source
from backend.models.tables import Model
from backend.models.versions import version_of
from backend.runtime import Runtime
from plugins import registry as plugins
from plugins.contract import Embedder, PluginError
from plugins.images import Decoded

_BATCH = 32
_READERS = 8
_USUAL_SIDE = 224.0  # pixels, before `check` has measured any image


@dataclass(frozen=True)
class Network:
    """A network that sees images, and the version by which people can tell it."""

    version: str
    embedder: Embedder


@dataclass(frozen=True)
class Seen:
    """The images that could be read, and a row for each."""

    images: Sequence[Image]
    rows: Any


@contextmanager
def of_model(runtime: Runtime, model: Model | None) -> Iterator[Network | None]:
    """The network of a model; None without one, or where it has no features."""
    with ExitStack() as stack:
        if model is None:
            yield None
            return
        found = stack.enter_context(opened(runtime, model.digest, threads=runtime.settings.cpu_threads))
        predictor = found.predictor
        if isinstance(predictor, Embedder) and _sees(predictor):
            yield Network(version_of(model), predictor)
        else:
            yield None


def pretrained(runtime: Runtime, dataset: Dataset, images: Sequence[Image]) -> Network | None:
    """The network before any training; None where the dataset's plugin has none or it is not at hand."""
    dotted = plugin_for(dataset.type).pretrained
    if not dotted:
        return None
    sides = [float(min(image.width, image.height)) for image in images if image.width and image.height]
    try:
        version, embedder = plugins.load(dotted)(
            shorter_side=median(sides) if sides else _USUAL_SIDE, threads=runtime.settings.cpu_threads
        )
    except PluginError:
        return None
    return Network(version, embedder)


def see(
    runtime: Runtime, dataset: Dataset, images: Sequence[Image], network: Network, progress: Progress
) -> Seen | None:
    """A row for each image that can be read; None when the user has stopped it.

    Raises `ModelInvalid` when the network fails, and what the store raises.
    """
    store = runtime.store(dataset.connection)
    read = predicting.reader(store, dataset.bucket, runtime.settings, network.embedder.wanted_side)
    kept: list[Image] = []
    rows: list[Any] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as pool:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            found = list(zip(batch, pool.map(read, map(Source.of, batch)), strict=True))
            good = [(image, each) for image, each in found if isinstance(each, Decoded)]
            for _, each in found:
                if isinstance(each, Outcome) and each.fault is not None:
                    raise each.fault
            if good:
                kept += [image for image, _ in good]
                rows.append(_embed(network, [each for _, each in good]))
            progress(start + len(batch), len(images))
            if progress.should_stop():
                return None
    return Seen(kept, np.concatenate(rows) if rows else np.empty((0, 1), np.float32))


def _embed(network: Network, pictures: Sequence[Decoded]) -> Any:
    try:
        return network.embedder.embed(pictures)
    except PluginError as error:
        raise ModelInvalid(f"the network {network.version} failed: {error}") from None


def _sees(predictor: Embedder) -> bool:
    try:
        predictor.embed([])
    except PluginError:
        return False
    return True
