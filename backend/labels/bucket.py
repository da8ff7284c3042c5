"""Label files that lie beside the images in the bucket: read after every sync.

`x.xml` (VOC) belongs to the image `x` of the same folder, whatever its `<filename>` says: people rename and
move pairs. `Label.txt` (PPOCRLabel), `labels.csv` and the JSON of Label Studio and COCO name their images.
An image's row remembers the file that gave its label. When that file is gone, or does not name the image any
more, the label goes, unless somebody else has named the image since.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from posixpath import basename, splitext

from sqlalchemy import exists, select

from backend.datasets import findings, operations
from backend.datasets.findings import Found
from backend.datasets.listing import SAMPLES
from backend.datasets.tables import Dataset, Image, Operation
from backend.datasets.types import has_classes, plugin_for
from backend.db import SessionFactory, transaction
from backend.errors import ObjectMissing, TooLarge
from backend.labels import files
from backend.labels import store as labels
from backend.labels.files import Import, LabelFile
from backend.labels.jsonfile import MAX_BYTES
from backend.labels.names import Names
from backend.labels.records import Entry, Problem, Records
from backend.storage import ObjectInfo, ObjectStore

_READERS = 8  # files that are asked of the store at a time
_FILES, _BYTES = 64, 64 * 1024**2  # that are in memory at a time, but for one that is larger
_RECORDS = 500  # that are taken in one transaction
_NAMES = {"label.txt": "ppocrlabel", "labels.csv": "csv"}
# The strongest first: what a weaker file says of an image counts when a stronger one has let go of it.
_ORDER = ("voc", "ppocrlabel", "json", "csv")

Piece = tuple[Import, list[Entry | Problem], bool]
"""Some records of a file, and whether they are its last."""


@dataclass
class _Run:
    """One reading. `stems`: path without its ending -> key of the image, empty where several share it;
    `held`: key of a label file -> keys of the images that have their label from it.
    """

    sessions: SessionFactory
    store: ObjectStore
    dataset: Dataset
    operation: Operation
    names: Names
    stems: Mapping[str, str]
    held: Mapping[str, set[str]]
    counts: Counter[str] = field(default_factory=Counter)
    no_labels: list[str] = field(default_factory=list)


def read_all(
    sessions: SessionFactory, store: ObjectStore, dataset: Dataset, operation: Operation, *, met: int
) -> dict[str, int]:
    """Take the labels of all label files under the dataset's prefix, under a claimed sync that has `met` so
    many of them. Answers the counts of `files.import_file` as `labels_changed`, ..., and `labels_withdrawn`;
    nothing where there are no such files and no labels of them. What cannot be taken is a finding.

    Raises what the store raises, and `AttemptRefused`.
    """
    run = _begin(sessions, store, dataset, operation, met)
    if run is None:
        return {}
    under = store.list(dataset.bucket, dataset.prefix) if met else iter(())
    listed = [info for info in under if is_label_file(dataset.type, info)]
    there = {info.key for info in listed}
    for file in run.held.keys() - there:
        _withdraw(run, file, run.held[file])
    listed.sort(key=lambda info: _ORDER.index(kind_of(info.key)))
    with ThreadPoolExecutor(_READERS, "labels") as pool:
        for group in _groups(_pieces(run, pool, listed)):
            _take(run, group)
    with transaction(sessions) as session:
        operations.progress(session, operation.id, operation.attempt)
        findings.add(session, dataset, "labels", _no_labels(run.no_labels))
    return dict(run.counts)


def is_label_file(dataset_type: str, info: ObjectInfo) -> bool:
    """Whether a dataset of this type may read labels from this object."""
    kind = kind_of(info.key) if info.size > 0 else ""
    return bool(kind) and (not has_classes(dataset_type) or kind in ("json", "csv"))


def kind_of(key: str) -> str:
    """What a label file is by its name: `voc`, `ppocrlabel`, `csv`, or `json`, whose contents tell more;
    empty for anything else.
    """
    name = basename(key).lower()
    if name.startswith("._") or "/__macosx/" in f"/{key}".lower():
        return ""
    return _NAMES.get(name) or {".xml": "voc", ".json": "json"}.get(splitext(name)[1], "")


def _begin(
    sessions: SessionFactory, store: ObjectStore, dataset: Dataset, operation: Operation, met: int
) -> _Run | None:
    """What is known before; None where there is nothing to read or to take away."""
    present = (Image.dataset_id == dataset.id, Image.state == "present")
    with transaction(sessions) as session:
        operations.progress(session, operation.id, operation.attempt)
        findings.replace(session, dataset, "labels", [])
        if not met and not session.scalar(select(exists().where(*present, Image.label_file.is_not(None)))):
            return None
        rows = session.execute(select(Image.key, Image.label_file).where(*present)).all()
    stems: dict[str, str] = {}
    held: defaultdict[str, set[str]] = defaultdict(set)
    for key, file in rows:
        stem = splitext(key)[0]
        stems[stem] = "" if stem in stems else key
        if file is not None:
            held[file].add(key)
    names = Names(dataset.bucket, dataset.prefix, [row.key for row in rows])
    return _Run(sessions, store, dataset, operation, names, stems, held)


def _pieces(run: _Run, pool: ThreadPoolExecutor, listed: Sequence[ObjectInfo]) -> Iterator[Piece]:
    """What all files say, some records of one file at a time."""
    for batch in _batches(info for info in listed if not _is_beside(run, info)):
        for info, data in zip(batch, pool.map(lambda info: _content(run, info.key), batch), strict=True):
            format_ = _format(info.key, data)
            if not format_:
                run.no_labels.append(info.key)
                continue
            records = _records(run, format_, info.key, data)
            name = info.key.removeprefix(run.dataset.prefix)
            taken = Import(run.dataset, LabelFile(name, format_, info.key, info.modified), run.names)
            chunk = list(islice(records, _RECORDS))
            while following := list(islice(records, _RECORDS)):
                yield taken, chunk, False
                chunk = following
            yield taken, chunk, True


def _is_beside(run: _Run, info: ObjectInfo) -> bool:
    """Whether it is a camera's or a program's own `x.json` about the image `x`: thousands of them are not
    read each time.
    """
    beside = kind_of(info.key) == "json" and splitext(info.key)[0] in run.stems
    if beside:
        run.no_labels.append(info.key)
    return beside


def _batches(listed: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    batch: list[ObjectInfo] = []
    size = 0
    for info in listed:
        if batch and (len(batch) >= _FILES or size + info.size > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(info)
        size += info.size
    if batch:
        yield batch


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces of so many files as make one transaction."""
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(len(records) for _, records, _ in group) >= _RECORDS:
            yield group
            group = []
    if group:
        yield group


def _take(run: _Run, group: Sequence[Piece]) -> None:
    ended = [taken for taken, _, last in group if last]
    with transaction(run.sessions) as session:
        operations.progress(session, run.operation.id, run.operation.attempt)
        for taken, records, last in group:
            taken.take(session, records)
            if last:
                taken.write(session)
    for taken in ended:
        run.counts.update({f"labels_{count}": number for count, number in taken.counts.items()})
        held = run.held.get(taken.file.key)
        if held and taken.whole:
            _withdraw(run, taken.file.key, held - taken.named)


def _withdraw(run: _Run, file: str, keys: Iterable[str]) -> None:
    """The images of these keys lose the label that they have from this file."""
    rest = sorted(keys)
    for start in range(0, len(rest), _RECORDS):
        with transaction(run.sessions) as session:
            operations.progress(session, run.operation.id, run.operation.attempt)
            images = session.scalars(
                select(Image).where(
                    Image.dataset_id == run.dataset.id,
                    Image.key.in_(rest[start : start + _RECORDS]),
                    Image.label_file == file,
                )
            ).all()
            for image in images:
                labels.withdraw(session, run.dataset, image)
            run.counts["labels_withdrawn"] += len(images)


def _content(run: _Run, key: str) -> bytes | str:
    """The file, or why it cannot be had."""
    try:
        return run.store.read(run.dataset.bucket, key, MAX_BYTES)
    except ObjectMissing:
        return "it was deleted while it was read; sync again"
    except TooLarge:
        return f"it has more than {MAX_BYTES:,} bytes; split it"


def _format(key: str, data: bytes | str) -> str:
    """The format of a label file; empty for JSON that is neither Label Studio's nor COCO."""
    kind = kind_of(key)
    if kind != "json":
        return kind
    if isinstance(data, str):
        return "coco"  # whichever: there is nothing to read
    if not files.may_have_labels(data):
        return ""
    return "label-studio" if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" else "coco"


def _records(run: _Run, format_: str, key: str, data: bytes | str) -> Records:
    if isinstance(data, str):
        return iter([Problem(0, data)])
    records = files.read(plugin_for(run.dataset.type), format_, data)
    return _paired(records, splitext(key)[0], run.stems) if format_ == "voc" else records


def _paired(records: Records, stem: str, stems: Mapping[str, str]) -> Records:
    """The records of an XML about the image beside it."""
    image = stems.get(stem)
    if not image:
        several = "several images have its name; give them different ones"
        yield Problem(0, several if image == "" else "there is no image of its name beside it")
        return
    yield from (replace(record, name=image) for record in records)


def _no_labels(keys: Sequence[str]) -> Iterator[Found]:
    reason = "it is neither an export of Label Studio nor COCO; it was left out"
    yield from (Found("no_label_file", reason, key) for key in keys[:SAMPLES])
    if len(keys) > SAMPLES:
        more = f"{len(keys) - SAMPLES:,} more JSON files like these {SAMPLES} were left out"
        yield Found("no_label_file", more)
