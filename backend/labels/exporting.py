"""A dataset's labels as one file, in the formats of `files.FORMATS`; VOC, a file an image, as a zip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from zipfile import ZIP_DEFLATED, ZipFile

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.datasets.types import plugin_for
from backend.db import SessionFactory
from backend.errors import InvalidRequest
from backend.labels import coco, csv, files, label_studio, ppocrlabel, store, voc
from backend.labels.names import key_of, written
from backend.labels.records import Sized
from backend.storepaths import format_path
from plugins import registry as plugins
from plugins.contract import Label

# Names by which the formats' own programs look for them.
FILES = {
    "label-studio": "label-studio.json",
    "coco": "coco.json",
    "csv": "labels.csv",
    "ppocrlabel": "Label.txt",
    "voc": "voc.zip",
}
_CHUNK = 1024 * 1024


def check(session: Session, dataset: Dataset, format_: str) -> None:
    """Whether it can be written. Raises `InvalidRequest`: no such format, none of this dataset's form, or
    sizes of images that only `check` knows.
    """
    plugin = plugin_for(dataset.type)
    files.check_format(plugin, format_)
    if plugin.label_form == "class":
        return
    unknown = session.scalar(
        select(func.count()).where(
            Image.dataset_id == dataset.id,
            Image.state == "present",
            Image.regions.is_not(None),
            or_(Image.width.is_(None), Image.height.is_(None)),
        )
    )
    if unknown and format_ == "label-studio":
        raise InvalidRequest(
            f"the size of {unknown:,} images is not known, and Label Studio's places are in percent; run "
            f"`sightloop datasets check {dataset.name}` first"
        )


def write(sessions: SessionFactory, dataset: Dataset, format_: str) -> Iterator[bytes]:
    """The file in pieces, all labelled images by key. What `check` refuses is not asked for again."""
    plugin = plugin_for(dataset.type)
    text = plugin.label_form == "regions"
    with sessions() as session:
        images = _sized(files.rows(session, dataset), dataset.prefix)
        if format_ == "label-studio":
            address = format_path(dataset.bucket, "")
            yield from label_studio.write(images, plugins.load(plugin.labeling), address, dataset.prefix)
        elif format_ == "coco":
            yield from coco.write(images)
        elif format_ == "csv":
            yield from csv.write(images, text=text)
        elif format_ == "ppocrlabel":
            yield from ppocrlabel.write((one.name, one.label) for one in images)
        else:
            yield from _zipped(images, dataset.prefix)


def _sized(images: Iterable[Image], prefix: str) -> Iterator[Sized]:
    for image in images:
        label = store.label_of(image) or Label()
        yield Sized(written(image.key, prefix), label, *image.regions_size)


def _zipped(images: Iterable[Sized], prefix: str) -> Iterator[bytes]:
    """Each file where its image lies below the prefix."""
    taken: set[str] = set()
    with TemporaryFile() as file:
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for one in images:
                image = key_of(one.name, prefix).removeprefix(prefix)
                name = str(PurePosixPath(image).with_suffix(".xml"))
                name = f"{image}.xml" if name in taken else name  # a.jpg beside a.png
                taken.add(name)
                archive.writestr(name, voc.write(one.name, one.label, width=one.width, height=one.height))
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk
