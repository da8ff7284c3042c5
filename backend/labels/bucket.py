"""Label files that lie beside the images in the bucket: read after every sync of a dataset of text.

`x.xml` (VOC) belongs to the image `x` of the same folder, whatever its `<filename>` says: people rename and
move pairs. `Label.txt` (PPOCRLabel) names its images. A few files are in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from posixpath import basename, splitext

from sqlalchemy import select

from backend.datasets import findings, operations
from backend.datasets.tables import Dataset, Image, Operation
from backend.db import SessionFactory, transaction
from backend.errors import ObjectMissing, TooLarge
from backend.labels import files
from backend.labels.jsonfile import MAX_BYTES
from backend.labels.names import Names
from backend.labels.records import Problem, Records
from backend.storage import ObjectInfo, ObjectStore
from plugins import registry as plugins

_READERS = 8  # files that are asked of the store at a time
_BATCH = 64
_LABEL_TXT = "label.txt"

Stems = Mapping[str, str]
"""Path without its ending -> key of the image; empty where several images share it."""


def read_all(
    sessions: SessionFactory, store: ObjectStore, dataset: Dataset, operation: Operation
) -> dict[str, int]:
    """Take the labels of all label files under the dataset's prefix, under a claimed sync. Answers the counts
    of `files.import_file` as `labels_changed`, ...; nothing for datasets of classes, whose labels are their
    folders. What cannot be taken is a finding.

    Raises what the store raises, and `AttemptRefused`.
    """
    if dataset.type == "classification":
        return {}
    with sessions() as session:
        keys = list(
            session.scalars(select(Image.key).where(Image.dataset_id == dataset.id, Image.state == "present"))
        )
    names, stems = Names(dataset.bucket, dataset.prefix, keys), _stems(keys)
    with transaction(sessions) as session:
        findings.replace(session, dataset, "labels", [])
    counts: Counter[str] = Counter()
    listed = (
        info.key for info in store.list(dataset.bucket, dataset.prefix) if is_label_file(dataset.type, info)
    )
    with ThreadPoolExecutor(_READERS, "labels") as pool:
        while batch := list(islice(listed, _BATCH)):
            read = list(pool.map(lambda key: _content(store, dataset.bucket, key), batch))
            with transaction(sessions) as session:
                operations.progress(session, operation.id, operation.attempt)
                for key, data in zip(batch, read, strict=True):
                    format_ = format_of(key)
                    records = _records(dataset, format_, key, data, stems)
                    name = key.removeprefix(dataset.prefix)
                    found = files.import_one(session, dataset, (name, format_, records), names)
                    counts.update({f"labels_{count}": number for count, number in found.items()})
    return dict(counts)


def is_label_file(dataset_type: str, info: ObjectInfo) -> bool:
    """Whether a dataset of this type reads labels from this object."""
    return dataset_type != "classification" and info.size > 0 and bool(format_of(info.key))


def format_of(key: str) -> str:
    """The format of a label file by its name, `voc` or `ppocrlabel`; empty for anything else."""
    name = basename(key).lower()
    if name.startswith("._") or "/__macosx/" in f"/{key}".lower():
        return ""
    if name == _LABEL_TXT:
        return "ppocrlabel"
    return "voc" if name.endswith(".xml") else ""


def _stems(keys: list[str]) -> Stems:
    found: dict[str, str] = {}
    for key in keys:
        stem = splitext(key)[0]
        found[stem] = "" if stem in found else key
    return found


def _content(store: ObjectStore, bucket: str, key: str) -> bytes | str:
    """The file, or why it cannot be had."""
    try:
        return store.read(bucket, key, MAX_BYTES)
    except ObjectMissing:
        return "it was deleted while it was read; sync again"
    except TooLarge:
        return f"it has more than {MAX_BYTES:,} bytes; split it"


def _records(dataset: Dataset, format_: str, key: str, data: bytes | str, stems: Stems) -> Records:
    if isinstance(data, str):
        return iter([Problem(0, data)])
    records = files.read(plugins.plugin_for_type(dataset.type), format_, data)
    return _paired(records, splitext(key)[0], stems) if format_ == "voc" else records


def _paired(records: Records, stem: str, stems: Stems) -> Records:
    """The records of an XML about the image beside it."""
    image = stems.get(stem)
    if not image:
        several = "several images have its name; give them different ones"
        yield Problem(0, several if image == "" else "there is no image of its name beside it")
        return
    yield from (replace(record, name=image) for record in records)
