"""Planted wrong texts among the doubtful ones that `datasets doubts` lists: the figures of `labels.md`.

    python -m benchmarks.proofreading

The labelled boxes of the receipts are read by the pretrained reader, which takes minutes; what it reads is
kept in --keep, a line an image, and read on from there. Then a twentieth of the texts is made wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.labels import voc
from backend.labels.records import Entry
from plugins.contract import Output, Region
from plugins.images import Limits, decode
from plugins.ocr import proofreading
from plugins.ocr.exporter.pretrained import open_reader
from plugins.ocr.text import loosely, normalise

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "ocr"
WRONG = 0.05
KINDS = ("a character changed", "two digits swapped", "two texts swapped")


@dataclass(frozen=True)
class Line:
    """A labelled text, its image, and what was read in its box."""

    image: str
    text: str
    read: Output


def main() -> None:
    """Print the figures as JSON, a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="receipts_sroie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    lines = read(DATA / options.set, options.keep / f"proofreading-{options.set}.jsonl", options.threads)
    same = sum(loosely(line.text) == loosely(line.read.label) for line in lines)
    print(json.dumps({"set": options.set, "texts": len(lines), "read as labelled": same / len(lines)}))
    for seed in options.seeds:
        print(json.dumps({"set": options.set, "seed": seed, **judged(lines, seed)}), flush=True)


def read(folder: Path, kept: Path, threads: int) -> list[Line]:
    """The texts of all images, each with what is read in its box."""
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {entry["image"] for entry in done}
    labelled = dict(_labelled(folder))
    if rest := sorted(labelled.keys() - known):
        texts = (region.text or "" for regions in labelled.values() for region in regions)
        _, reader = open_reader(texts, threads=threads)
        with kept.open("a") as stream:
            for path in rest:
                picture = decode(Path(path).read_bytes(), limits=Limits(100_000_000, 100_000_000))
                outputs = reader.read(picture, labelled[path])
                pairs = [[r.text, o.label, o.conf] for r, o in zip(labelled[path], outputs, strict=True)]
                done.append({"image": path, "lines": pairs})
                stream.write(json.dumps(done[-1]) + "\n")
                stream.flush()
    return [
        Line(entry["image"], text, Output(label, conf))
        for entry in sorted(done, key=lambda entry: str(entry["image"]))
        for text, label, conf in entry["lines"]
    ]


def _labelled(folder: Path) -> Iterator[tuple[str, list[Region]]]:
    for path in sorted(folder.glob("*.xml")):
        for entry in voc.read(path.read_bytes(), text=True):
            if isinstance(entry, Entry):
                regions = [region for region in entry.label.regions if region.text and not region.ignored]
                yield str(path.with_suffix(".jpg")), regions


def judged(lines: Sequence[Line], seed: int) -> dict[str, object]:
    """What is listed after planting: how much of it was planted, and how much of that is listed."""
    texts, planted = plant(lines, seed)
    listed = [doubt.index for doubt in proofreading.doubts(texts, [line.read for line in lines])]
    hits = [place in planted for place in listed]
    found = {kind: [place in set(listed) for place, of in planted.items() if of == kind] for kind in KINDS}
    return {
        "planted": len(planted),
        "listed": len(listed),
        "recall": sum(hits) / len(planted),
        "precision": sum(hits) / max(len(listed), 1),
        **{f"first_{head}": sum(hits[:head]) / head for head in (20, 50, 100)},
        "recall of": {kind: round(sum(one) / max(len(one), 1), 3) for kind, one in found.items()},
    }


def plant(lines: Sequence[Line], seed: int) -> tuple[list[str], dict[int, str]]:
    """The texts with a twentieth of them made wrong, a third of these in each way; which, and how."""
    draw = random.Random(seed)
    texts = [line.text for line in lines]
    order = [place for place, text in enumerate(texts) if normalise(text)]
    draw.shuffle(order)
    planted: dict[int, str] = {}
    for number, place in enumerate(order[: round(WRONG * len(order))]):
        kind = KINDS[number % 3]
        if place in planted or not _spoil(texts, lines, planted, place, kind, draw):
            kind = KINDS[0]
            texts[place] = _changed(texts[place], draw)
        planted[place] = kind
    return texts, planted


def _spoil(
    texts: list[str],
    lines: Sequence[Line],
    planted: dict[int, str],
    place: int,
    kind: str,
    draw: random.Random,
) -> bool:
    """Make this text wrong in this way, and another one with it where two are swapped; whether it can be."""
    text = texts[place]
    if kind == KINDS[0]:
        return False
    if kind == KINDS[1]:
        pairs = [
            at for at in range(len(text) - 1) if text[at : at + 2].isdigit() and text[at] != text[at + 1]
        ]
        if pairs:
            at = draw.choice(pairs)
            texts[place] = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        return bool(pairs)
    others = [
        other
        for other, line in enumerate(lines)
        if line.image == lines[place].image
        and other not in planted
        and loosely(texts[other]) != loosely(text)
    ]
    if others:
        other = draw.choice(others)
        texts[place], texts[other] = texts[other], text
        planted[other] = kind
    return bool(others)


def _changed(text: str, draw: random.Random) -> str:
    at = draw.choice([place for place, character in enumerate(text) if not character.isspace()])
    others = [one for one in string.ascii_letters + string.digits if one.lower() != text[at].lower()]
    return text[:at] + draw.choice(others) + text[at + 1 :]


if __name__ == "__main__":
    main()
