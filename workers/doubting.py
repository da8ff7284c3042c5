"""Which labels are doubtful: the operation `doubts`. Its list is written at the end at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from backend.datasets.progress import Progress
from backend.datasets.similar import group_names
from backend.datasets.tables import Dataset, Image, Operation
from backend.datasets.types import plugin_for
from backend.db import now
from backend.errors import ModelInvalid, NotEnoughData, WrongState
from backend.labels import choices, store
from backend.labels.tables import LabelSuspect
from backend.models import predicting
from backend.models.opening import opened
from backend.models.predicting import Outcome, Source
from backend.models.tables import Model
from backend.models.versions import version_of
from backend.runtime import Runtime
from plugins import registry as plugins
from plugins.contract import Doubt, Output, PluginError, Reader, Region
from plugins.images import Decoded
from workers import features
from workers.choosing import drawn, is_labelled, replace, usable_images

MOST_TEXTS = 20_000  # that are read; of more so many images are drawn
_AHEAD = 4  # images that are read from the store and decoded at a time
_LONGEST = 1000  # characters of a text that the list keeps

Place = tuple[Image, str, str]
"""An image, what `choices.named` calls a region of it, and the region's text."""


def doubt(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """List the labels that are probably wrong; answers `labelled`, `doubtful` and `by`, the version of what
    has looked at them. Raises `WrongState` where nothing can look, `NotEnoughData`.
    """
    plugin = plugin_for(operation.dataset.type)
    if plugin.proofreading:
        return _texts(runtime, operation, progress)
    if plugin.selection:
        return _classes(runtime, operation, progress)
    raise WrongState(f"doubtful labels of datasets of type {plugin.dataset_type!r} cannot be found")


def _classes(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """By a last layer that has not learned from the label in question.

    The network is that before any training, where there is one: a model of this dataset has learned the
    wrong labels too.
    """
    dataset = operation.dataset
    images, model = usable_images(runtime, dataset)
    known = drawn([image for image in images if is_labelled(image)], dataset.id)
    network = features.pretrained(runtime, dataset, known)
    with features.of_model(runtime, None if network else model) as learned:
        network = network or learned
        if network is None:
            raise WrongState("there is no network to look with; train a model, or allow its weights to load")
        seen = features.see(runtime, dataset, known, network, progress)
    result = {"labelled": len(known), "doubtful": 0, "by": network.version}
    if seen is None:
        return {**result, "stopped": True}
    groups = group_names(
        [image.content_hash or "" for image in seen.images],
        [image.perceptual_hash or "" for image in seen.images],
    )
    try:
        found: list[Doubt] = plugins.load(plugin_for(dataset.type).selection).doubts(
            seen.rows, [image.label for image in seen.images], groups
        )
    except PluginError as error:
        raise NotEnoughData(str(error)) from None
    places: list[Place] = [(image, "", image.label or "") for image in seen.images]
    replace(runtime, operation, LabelSuspect, _rows(dataset, places, found, network.version))
    return {**result, "doubtful": len(found)}


def _texts(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """By what a reader reads in the labelled boxes: the current model, else the reader before any training.

    The current model has learned from these labels; the few wrong ones among them hardly teach it what each
    of them says. A run that is stopped judges what has been read.
    """
    dataset = operation.dataset
    images, model = usable_images(runtime, dataset)
    chosen = _with_texts(images, dataset.id)
    texts = [text for image in chosen for _, text in _regions(image).values()]
    if not texts:
        raise NotEnoughData(f"dataset {dataset.name!r} has no transcribed region; label some text first")
    with _reader(runtime, dataset, model, texts) as (version, reader):
        read = list(_read(runtime, dataset, chosen, reader, progress))
    places = [place for place, _ in read]
    found: list[Doubt] = plugins.load(plugin_for(dataset.type).proofreading).doubts(
        [text for _, _, text in places], [output for _, output in read]
    )
    replace(runtime, operation, LabelSuspect, _rows(dataset, places, found, version))
    result = {"labelled": len(places), "doubtful": len(found), "by": version}
    return {**result, "stopped": True} if progress.should_stop() else result


def _with_texts(images: Sequence[Image], seed: int) -> list[Image]:
    """The images with transcribed regions in an order drawn at random, up to `MOST_TEXTS` regions."""
    chosen: list[Image] = []
    number = 0
    for row in np.random.default_rng(seed).permutation(len(images)):
        image = images[row]
        count = len(_regions(image))
        if count and number + count <= MOST_TEXTS:
            chosen.append(image)
            number += count
    return chosen


def _regions(image: Image) -> dict[str, tuple[Region, str]]:
    """The transcribed regions by name, each with its text; what nobody can read is left out."""
    label = store.label_of(image)
    named = choices.named(label.regions if label else ())
    return {
        name: (region, region.text) for name, region in named.items() if region.text and not region.ignored
    }


@contextmanager
def _reader(
    runtime: Runtime, dataset: Dataset, model: Model | None, texts: Sequence[str]
) -> Iterator[tuple[str, Reader]]:
    """The current model's reader, else the one before any training, and its version."""
    threads = runtime.settings.cpu_threads
    if model is not None:
        with opened(runtime, model.digest, threads=threads) as found:
            if isinstance(found.predictor, Reader):
                yield version_of(model), found.predictor
                return
    dotted = plugin_for(dataset.type).reader
    if not dotted:
        raise WrongState("there is no reader to look with; train a model first")
    try:
        version, reader = plugins.load(dotted)(texts, threads=threads)
    except PluginError as error:
        raise WrongState(f"there is no reader to look with: {error}; train a model first") from None
    yield version, reader


def _read(
    runtime: Runtime, dataset: Dataset, images: Sequence[Image], reader: Reader, progress: Progress
) -> Iterator[tuple[Place, Output]]:
    """What is read in each region of the images that can be opened. Raises `ModelInvalid`."""
    load = predicting.reader(runtime.store(dataset.connection), dataset.bucket, runtime.settings, None)
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="read") as pool:
        for start in range(0, len(images), _AHEAD):
            batch = images[start : start + _AHEAD]
            for image, picture in zip(batch, pool.map(load, map(Source.of, batch)), strict=True):
                if isinstance(picture, Outcome):
                    if picture.fault is not None:
                        raise picture.fault
                    continue
                yield from _of_one(image, picture, reader)
            progress(start + len(batch), len(images))
            if progress.should_stop():
                return


def _of_one(image: Image, picture: Decoded, reader: Reader) -> Iterator[tuple[Place, Output]]:
    regions = _regions(image)
    try:
        outputs = reader.read(picture, [region for region, _ in regions.values()])
    except PluginError as error:
        raise ModelInvalid(f"the reader failed on {image.key}: {error}") from None
    for (name, (_, text)), output in zip(regions.items(), outputs, strict=True):
        yield (image, name, text), output


def _rows(
    dataset: Dataset, places: Sequence[Place], found: Sequence[Doubt], version: str
) -> list[dict[str, Any]]:
    moment = now()
    return [
        {
            "dataset_id": dataset.id,
            "image_id": places[each.index][0].id,
            "region": places[each.index][1],
            "given": each.given[:_LONGEST],
            "suggested": each.suggested[:_LONGEST],
            "confidence": each.confidence,
            "found_by": version[:100],
            "found_at": moment,
        }
        for each in found
    ]
