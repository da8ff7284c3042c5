"""How good a reader is, in numbers that its users speak of.

Each answer is compared with the region where it lies (see `matching`); regions without a transcription count
for finding text and not for reading it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from plugins.contract import Evaluation, Example, Judged, Prediction
from plugins.ocr.matching import Pair, all_pairs
from plugins.ocr.text import kind

HEADLINE = "end_to_end_f1"
LENGTHS = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 40), (41, None))
_LISTED = 30  # confusions, and images with mistakes
_TEXTS = 12  # listed of one image


def evaluate(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Evaluation:
    """See `plugins.contract.Evaluate`. The headline, F1 end to end, counts a region as right when an answer
    lies there (intersection over union at least 0.5) with its text, whatever the case and the spaces;
    `end_to_end_f1_strict` wants the text exactly.
    """
    by_image = all_pairs(examples, predictions)
    every = [pair for pairs in by_image for pair in pairs]
    read = [pair for pair in every if pair.located and pair.truth is not None]
    edits = sum(Levenshtein.distance(pair.truth or "", pair.answer or "") for pair in read)
    characters = sum(len(pair.truth or "") for pair in read)
    loose, strict = (_end_to_end(every, right) for right in (_is_right, _is_exact))
    metrics = {
        HEADLINE: loose[2],
        "end_to_end_f1_strict": strict[2],
        "end_to_end_precision": loose[0],
        "end_to_end_recall": loose[1],
        **dict(
            zip(("detection_f1", "detection_precision", "detection_recall"), _detection(every), strict=True)
        ),
        "exact_match": _share(sum(pair.exact for pair in read), len(read)),
        "exact_match_loose": _share(sum(pair.right for pair in read), len(read)),
        "character_error_rate": _share(edits, characters),
        "regions": float(sum(pair.region is not None for pair in every)),
        "examples": float(len(examples)),
    }
    details = {
        "by_length": _by_length(every),
        "by_character": _by_character(read),
        "confusions": _confusions(read),
        "mistakes": _mistakes(examples, by_image),
        "untranscribed": sum(pair.region is not None and pair.truth is None for pair in every),
        "images_without_text": sum(not example.regions for example in examples),
    }
    return Evaluation(metrics, details, _answers(examples, by_image))


def _answers(examples: Sequence[Example], by_image: Sequence[Sequence[Pair]]) -> list[Judged]:
    """Regions that nobody transcribed say nothing about reading."""
    return [
        Judged(example.key, pair.truth, pair.answer, float(pair.conf), pair.right)
        for example, pairs in zip(examples, by_image, strict=True)
        for pair in pairs
        if pair.judged
    ]


def _is_right(pair: Pair) -> bool:
    return pair.right


def _is_exact(pair: Pair) -> bool:
    return pair.exact


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _f1(right: int, found: int, wanted: int) -> tuple[float, float, float]:
    """Precision, recall and F1. Where nothing is wanted there is nothing to be right in: all are 0."""
    return _share(right, found), _share(right, wanted), _share(2 * right, found + wanted)


def _detection(every: Sequence[Pair]) -> tuple[float, float, float]:
    """Precision (answers that lie where a region is), F1 and recall, F1 first."""
    located = sum(pair.located for pair in every)
    found = sum(pair.answer is not None for pair in every)
    precision, recall, f1 = _f1(located, found, sum(pair.region is not None for pair in every))
    return f1, precision, recall


def _end_to_end(every: Sequence[Pair], right: Callable[[Pair], bool]) -> tuple[float, float, float]:
    """Precision, recall and F1 of regions read, those without a transcription left out."""
    judged = [pair for pair in every if pair.judged]
    found = sum(pair.answer is not None for pair in judged)
    return _f1(sum(map(right, judged)), found, sum(pair.region is not None for pair in judged))


def _by_length(every: Sequence[Pair]) -> list[dict[str, Any]]:
    """Regions found and read by the length of their text."""
    rows = []
    for low, high in LENGTHS:
        group = [
            pair
            for pair in every
            if pair.truth is not None and low <= len(pair.truth) and (high is None or len(pair.truth) <= high)
        ]
        if group:
            read = [pair for pair in group if pair.located]
            rows.append(
                {
                    "length": f"{low} to {high}" if high else f"{low} and more",
                    "regions": len(group),
                    "found": _share(len(read), len(group)),
                    "exact": _share(sum(pair.exact for pair in read), len(read)),
                    "right": _share(sum(pair.right for pair in read), len(read)),
                }
            )
    return rows


def _by_character(read: Sequence[Pair]) -> list[dict[str, Any]]:
    """The share of the truth's characters that were read, by the class of the character."""
    total: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for pair in read:
        truth = pair.truth or ""
        total.update(map(kind, truth))
        for edit in Levenshtein.editops(truth, pair.answer or ""):
            if edit.tag != "insert":
                wrong[kind(truth[edit.src_pos])] += 1
    return [
        {"kind": name, "characters": count, "right": 1 - wrong[name] / count}
        for name, count in sorted(total.items())
    ]


def _confusions(read: Sequence[Pair]) -> list[dict[str, Any]]:
    """The most frequent single mistakes: one character for another, left out (`answer` empty) or added
    (`truth` empty).
    """
    counts: Counter[tuple[str, str]] = Counter()
    for pair in read:
        truth, answer = pair.truth or "", pair.answer or ""
        for edit in Levenshtein.editops(truth, answer):
            wanted = "" if edit.tag == "insert" else truth[edit.src_pos]
            given = "" if edit.tag == "delete" else answer[edit.dest_pos]
            counts[wanted, given] += 1
    order = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"truth": wanted, "answer": given, "count": count} for (wanted, given), count in order[:_LISTED]]


def _mistakes(examples: Sequence[Example], by_image: Sequence[Sequence[Pair]]) -> list[dict[str, Any]]:
    """The images with the most that is wrong, the worst first, with a few of their texts."""
    rows: list[dict[str, Any]] = []
    for example, pairs in zip(examples, by_image, strict=True):
        wrong = [pair for pair in pairs if pair.judged and not pair.right]
        if not wrong:
            continue
        texts = [
            {"truth": pair.truth or "", "answer": pair.answer or "", "conf": pair.conf} for pair in wrong
        ]
        rows.append(
            {
                "key": example.key,
                "wrong": len(wrong),
                "missed": sum(pair.answer is None for pair in wrong),
                "invented": sum(pair.region is None for pair in wrong),
                "misread": sum(pair.located for pair in wrong),
                "regions": sum(pair.region is not None for pair in pairs),
                "texts": texts[:_TEXTS],
            }
        )
    return sorted(rows, key=lambda row: (-row["wrong"], row["key"]))[:_LISTED]
