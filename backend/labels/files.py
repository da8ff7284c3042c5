"""Label files in and out of a dataset: which reader and writer, whose label counts, what is left out.

Import takes what a reader hands over, finds the image of each entry, and gives it the label unless a
stronger source (`sources.PRECEDENCE`) has named the image, or the same source at a later time. Whatever is
not taken is a finding with file, line and reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from itertools import islice

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.datasets import findings
from backend.datasets.findings import Found
from backend.datasets.tables import LABELLED, Dataset, Finding, Image
from backend.datasets.types import has_classes, plugin_for
from backend.db import SessionFactory, transaction
from backend.errors import InvalidRequest
from backend.labels import coco, csv, label_studio, ppocrlabel, sources, store, voc
from backend.labels.jsonfile import MAX_BYTES
from backend.labels.names import Names
from backend.labels.records import Entry, Problem, Records
from backend.storepaths import is_text
from plugins import registry as plugins
from plugins.boxes import clamp, has_area
from plugins.contract import Label, Plugin

FORMATS = ("label-studio", "coco", "csv", "ppocrlabel", "voc")
_SOURCES = {name: name.replace("-", "_") for name in FORMATS}
_BATCH = 500
_TOLD = 1000  # findings of one file; the rest is a number


@dataclass(frozen=True)
class LabelFile:
    """A label file: its name and format. `key` and `modified` are those of one in the bucket; what it says
    without a time of its own was said then.
    """

    name: str
    format: str
    key: str = ""
    modified: datetime | None = None


def import_file(
    sessions: SessionFactory, dataset: Dataset, file: str, data: bytes, format_: str = ""
) -> dict[str, int | str]:
    """Read a label file into the dataset. `file` is its name, `format_` one of `FORMATS` or empty: by its
    name and contents. Answers `format` and the counts `changed`, `same`, `kept` (somebody stronger or later
    has said something else) and `left_out` (not readable, or no such image).

    Raises `InvalidRequest` for a file that is too large, or of a form that this dataset does not have.
    """
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"{file} has {len(data):,} bytes; at most {MAX_BYTES:,} are read, so split it")
    format_ = format_ or guess(file, data)
    records = read(plugin_for(dataset.type), format_, data)
    with sessions() as session:
        present = select(Image.key).where(Image.dataset_id == dataset.id, Image.state == "present")
        names = Names(dataset.bucket, dataset.prefix, session.scalars(present))
    run = Import(dataset, LabelFile(file, format_), names)
    while batch := list(islice(records, _BATCH)):
        with transaction(sessions) as session:
            run.take(session, batch)
    with transaction(sessions) as session:
        run.tell(session)
    return {"format": format_, **run.counts}


def guess(file: str, data: bytes) -> str:
    """The format by the file's name and its first bytes. Raises `InvalidRequest`."""
    ending = file.rpartition(".")[2].lower()
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if ending == "json" and start in (b"[", b"{"):
        return "label-studio" if start == b"[" else "coco"
    known = {"csv": "csv", "tsv": "csv", "xml": "voc", "txt": "ppocrlabel"}
    if ending not in known:
        raise InvalidRequest(f"the format of {file[:100]!r} is not clear; name it: {', '.join(FORMATS)}")
    return known[ending]


def may_have_labels(data: bytes) -> bool:
    """Whether JSON has the members without which it is neither an export of Label Studio nor COCO."""
    whole = b'"annotations"' in data and (b'"data"' in data or b'"images"' in data)
    return whole or b'"annotation_id"' in data


def read(plugin: Plugin, format_: str, data: bytes) -> Records:
    """What a file of that format says, for datasets of this plugin. Raises `InvalidRequest`."""
    check_format(plugin, format_)
    text = plugin.label_form == "regions"
    if format_ == "label-studio":
        return label_studio.read(data, plugins.load(plugin.labeling), text=text)
    if format_ == "ppocrlabel":
        return ppocrlabel.read(BytesIO(data))
    reader = {"coco": coco.read, "csv": csv.read, "voc": voc.read}[format_]
    return reader(data, text=text)


def check_format(plugin: Plugin, format_: str) -> None:
    """Whether labels of this plugin have that format. Raises `InvalidRequest`."""
    if format_ not in FORMATS:
        raise InvalidRequest(f"{format_[:40]!r} is no format; there are {', '.join(FORMATS)}")
    if format_ == "ppocrlabel" and plugin.label_form != "regions":
        raise InvalidRequest("PPOCRLabel files hold regions with text, and this dataset has classes")


class Import:
    """One file on its way into a dataset: `counts` as of `import_file`, the keys of the images that it has
    `named`, and whether the `whole` of it could be read: else nobody knows which others it names.
    """

    def __init__(self, dataset: Dataset, file: LabelFile, names: Names) -> None:
        self.file = file
        self._dataset, self._names = dataset, names
        self._source, self._key, self._modified = _SOURCES[file.format], file.key, file.modified
        self._text = not has_classes(dataset.type)
        self._origin: findings.Source = "labels" if file.key else "import"
        self._file = ascii(file.name)[1:-1][:100]
        self.counts = {"changed": 0, "same": 0, "kept": 0, "left_out": 0}
        self.named: set[str] = set()
        self.whole = True
        self._found: list[Found] = []
        self._untold = 0

    def take(self, session: Session, records: Sequence[Entry | Problem]) -> None:
        """One batch."""
        for record in records:
            key, reason = self._names.find(record.name) if record.name else ("", "")
            if isinstance(record, Problem):
                self.named.add(key)
                self.whole = self.whole and bool(record.name)
                self._leave_out(record.line, record.reason, key)
            elif reason:
                self._leave_out(record.line, f"{record.name[:200]!r}: {reason}")
            else:
                self._entry(session, record, key)

    def tell(self, session: Session) -> None:
        """Write the findings, in the place of those of an earlier import of a file of this name."""
        former = delete(Finding).where(
            Finding.dataset_id == self._dataset.id,
            Finding.source == self._origin,
            Finding.message.startswith(f"{self._file}, ", autoescape=True),
        )
        session.execute(former.execution_options(synchronize_session=False))
        self.write(session)

    def write(self, session: Session) -> None:
        """Add the findings to those that are there."""
        if self._untold:
            text = f"{self._file}, and {self._untold:,} more like these {_TOLD:,}"
            self._found.append(Found("label_left_out", text))
        findings.add(session, self._dataset, self._origin, self._found)

    def _entry(self, session: Session, entry: Entry, key: str) -> None:
        image = session.scalars(
            select(Image).where(Image.dataset_id == self._dataset.id, Image.key == key)
        ).one()
        if reason := self._about_another(entry, image):
            self._leave_out(entry.line, reason, key)  # and what this file said of the image before goes
            return
        self.named.add(key)
        label, complaint = self._fitting(entry, image)
        if complaint:
            self._leave_out(entry.line, complaint, key)
            return
        same = store.label_of(image) == label and not image.skipped
        if not same and not self._wins(entry, image):
            self.counts["kept"] += 1
            text = f"it says otherwise than {image.label_source}, which counts"
            self._note("label_conflict", entry.line, text, key)
        elif same and not self._wins(entry, image):
            self.counts["same"] += 1
        else:
            at = entry.at or self._modified
            changed = store.apply(
                session, image, label, source=self._source, author=entry.by, at=at, file=self._key
            )
            if self._text and entry.width and entry.height:
                store.about_size(image, entry.width, entry.height)
            self.counts["changed" if changed else "same"] += 1

    def _wins(self, entry: Entry, image: Image) -> bool:
        """Between two of one source the later counts, but a file's new word counts over its former one. What
        has no time was said when it was imported, or when its file was put into the bucket.
        """
        at = entry.at or self._modified
        if image.label_source == self._source and at and image.labelled_at:
            return at >= image.labelled_at or (self._key != "" and image.label_file == self._key)
        return sources.wins(self._source, image.label_source)

    def _about_another(self, entry: Entry, image: Image) -> str:
        """Why its regions are not of this image; empty where they may be, or the size is not known yet."""
        if not (self._text and entry.width and image.width):
            return ""
        told, real = f"{entry.width} x {entry.height}", f"{image.width} x {image.height}"
        return "" if told == real else f"it is about an image of {told} pixels, and the image has {real}"

    def _fitting(self, entry: Entry, image: Image) -> tuple[Label, str]:
        """The label as the image can have it, or why it cannot."""
        label = entry.label
        if not self._text:
            name = (label.name or "").strip()
            if not name or len(name) > sources.MAX_LABEL or not is_text(name):
                return label, f"a class has 1 to {sources.MAX_LABEL} characters of text"
            return Label(name), ""
        if not (image.width and image.height):
            return label, ""
        cut = [clamp(region, image.width, image.height) for region in label.regions]
        inside = tuple(region for region, _ in cut if has_area(region))
        if label.regions and not inside:
            return label, f"none of its {len(cut):,} regions lies inside of the image"
        if any(outside for _, outside in cut):
            self._note("region_outside", entry.line, "a region lies outside of the image", image.key)
        return replace(label, regions=inside), ""

    def _leave_out(self, line: int, reason: str, key: str = "") -> None:
        self.counts["left_out"] += 1
        self._note("label_left_out", line, reason, key)

    def _note(self, code: str, line: int, reason: str, key: str) -> None:
        if len(self._found) >= _TOLD:
            self._untold += 1
            return
        where = f"line {line:,}" if line else "the file"
        safe = reason.encode("utf-8", "backslashreplace").decode()
        self._found.append(Found(code, f"{self._file}, {where}: {safe}", key))


def rows(session: Session, dataset: Dataset) -> Iterator[Image]:
    """The labelled images by key, a few hundred at a time in memory."""
    chosen = select(Image).where(
        Image.dataset_id == dataset.id, Image.state == "present", Image.skipped.is_(False), LABELLED
    )
    with session.scalars(chosen.order_by(Image.key).execution_options(yield_per=_BATCH)) as found:
        yield from found
