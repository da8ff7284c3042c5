"""Sets of images with text as training sees them, read from their folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from defusedxml import ElementTree

from plugins import images
from plugins.contract import Example, Region, Split

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "ocr"
TEST, VALIDATION = 0.2, 0.1
Marked = tuple[str, tuple[Region, ...]]


def receipts() -> tuple[list[Example], dict[str, bytes]]:
    """Scanned receipts, a region a line; a fifth of the images by hash is hidden."""
    folder = DATA / "receipts_sroie"
    marked = [(path.with_suffix(".jpg").name, _voc(path)) for path in sorted(folder.glob("*.xml"))]
    return _examples(folder, marked, lambda _, data: hashlib.sha256(data).hexdigest())


def wires() -> tuple[list[Example], dict[str, bytes]]:
    """Photographs of cable sleeves, a quadrilateral each; a fifth of the texts is hidden with all its
    photographs, so no hidden text was seen in training.
    """
    folder = DATA / "wire_markers"
    return _examples(folder, list(_label_txt(folder / "Label.txt")), _by_text)


def _by_text(regions: Sequence[Region], _: bytes) -> str:
    texts = "\0".join(sorted(region.text or "" for region in regions))
    return hashlib.sha256(texts.encode()).hexdigest()


def _voc(path: Path) -> tuple[Region, ...]:
    regions = []
    for node in ElementTree.fromstring(path.read_bytes()).iter("object"):
        left, top, right, bottom = (
            float(node.findtext(f"bndbox/{name}") or 0) for name in ("xmin", "ymin", "xmax", "ymax")
        )
        points = ((left, top), (right, top), (right, bottom), (left, bottom))
        regions.append(Region(points, node.findtext("name"), ignored=node.findtext("difficult") == "1"))
    return tuple(regions)


def _label_txt(path: Path) -> Iterator[Marked]:
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, values = line.partition("\t")
        yield (
            Path(name).name,
            tuple(
                Region(
                    tuple((float(x), float(y)) for x, y in one["points"]),
                    one["transcription"],
                    ignored=bool(one.get("difficult")) or one["transcription"] == "###",
                )
                for one in json.loads(values)
            ),
        )


def _examples(
    folder: Path, marked: Sequence[Marked], group: Callable[[Sequence[Region], bytes], str]
) -> tuple[list[Example], dict[str, bytes]]:
    found, data = [], {}
    for name, regions in marked:
        content = (folder / name).read_bytes()
        header = images.probe(content)
        data[name] = content
        found.append((name, regions, header, group(regions, content)))
    sides = _sides([entry[3] for entry in found])
    examples = [
        Example(
            key=name,
            etag=hashlib.md5(data[name], usedforsecurity=False).hexdigest(),
            size=len(data[name]),
            content_hash=hashlib.sha256(data[name]).hexdigest(),
            split=sides[which],
            regions=regions,
            width=header.width,
            height=header.height,
        )
        for name, regions, header, which in found
    ]
    return examples, data


def _sides(groups: Sequence[str]) -> dict[str, Split]:
    """A fifth of the images for test and a tenth of the rest for validation, whole groups by their hash."""
    sides: dict[str, Split] = {}
    done = 0
    for group in sorted(set(groups)):
        share = done / len(groups)
        rest = TEST + VALIDATION * (1 - TEST)
        sides[group] = "test" if share < TEST else "validation" if share < rest else "train"
        done += groups.count(group)
    return sides


SETS = {"receipts_sroie": receipts, "wire_markers": wires}
