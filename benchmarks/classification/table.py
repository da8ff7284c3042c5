"""The results as tables in Markdown, one a set, and as curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.classification.results import Result, difference, wilson

PLAIN = "plain "  # followed by the learning rate
OURS = ("high-performance", "high-precision")
_DISTURBED = 0.3  # cores that others used during a run
_NAMES = {"linear": "linear layer on features", "plain": "plain fine-tune", "fastai": "fastai `fine_tune`"}
_COLOURS = {
    "linear": "#7f7f7f",
    "plain": "#1f77b4",
    "fastai": "#ff7f0e",
    OURS[0]: "#d62728",
    OURS[1]: "#9467bd",
}


@dataclass(frozen=True)
class Cell:
    """The runs of one method with one budget, over the seeds; `rate` is the learning rate of a plain one."""

    runs: Sequence[Result]
    rate: str = ""

    @property
    def accuracies(self) -> list[float]:
        """One a seed."""
        return [one.accuracy for one in self.runs]

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def seconds(self) -> float:
        """Mean seconds of training."""
        return float(np.mean([one.seconds for one in self.runs]))

    @property
    def ours(self) -> bool:
        """Whether it is one of our algorithms."""
        return self.runs[0].method.startswith(OURS)

    def text(self) -> str:
        """Mean and range in percent."""
        low, high = min(self.accuracies), max(self.accuracies)
        text = f"{100 * self.mean:.1f}"
        if len(self.runs) > 1:
            text += f" ({100 * low:.1f} to {100 * high:.1f})"
        return text + (f" at {self.rate}" if self.rate else "")


Cells = dict[str, dict[float, Cell]]


def cells(results: Sequence[Result]) -> Cells:
    """By method and budget. Of the learning rates of the plain fine-tune the one with the best mean on the
    TEST side is taken for each budget, which flatters it; rates that were tried with fewer seeds do not
    count.
    """
    runs: dict[str, dict[float, dict[str, list[Result]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for one in results:
        method, rate = (
            ("plain", one.method[len(PLAIN) :]) if one.method.startswith(PLAIN) else (one.method, "")
        )
        runs[method][one.budget][rate].append(one)
    return {
        method: {budget: _best(rates) for budget, rates in sorted(budgets.items())}
        for method, budgets in sorted(runs.items(), key=lambda item: _place(item[0]))
    }


def _place(method: str) -> tuple[int, str]:
    """The others first, then ours; variants of ours after it."""
    order = [*_NAMES, *OURS]
    name = method.partition(" ")[0]
    return (order.index(name) if name in order else len(order)), method


def _best(rates: dict[str, list[Result]]) -> Cell:
    most = max(len(runs) for runs in rates.values())
    chosen = [Cell(runs, rate) for rate, runs in rates.items() if len(runs) == most]
    return max(chosen, key=lambda cell: cell.mean)


def table(results: Sequence[Result]) -> str:
    """Markdown: for each set the methods by budget, the paired differences, and what disturbed the runs."""
    parts = []
    for name in dict.fromkeys(one.set for one in results):
        some = [one for one in results if one.set == name]
        found = cells(some)
        budgets = sorted({budget for row in found.values() for budget in row if budget})
        sizes = some[0].images
        head = (
            f"{sizes['train']} images to train on, {sizes['validation']} to validate, {sizes['test']} to test"
        )
        columns = [
            "method",
            "first model",
            *map(_named, budgets),
            "95 % interval",
            "log loss",
            "ECE",
            "images/s",
        ]
        parts.append(f"### {name} ({head})\n")
        parts.append("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        parts += [_row(method, row, budgets) for method, row in found.items()]
        parts.append("\n" + "\n".join(_reading(found, some)) + "\n")
    return "\n".join(parts)


def _row(method: str, row: dict[float, Cell], budgets: Sequence[float]) -> str:
    last = row[max(row)]
    low, high = wilson(last.mean, len(last.runs[0].right))
    first = f"{row[0].text()} after {row[0].seconds:.0f} s" if 0 in row else ""
    means = [
        np.mean([getattr(one, name) for one in last.runs]) for name in ("log_loss", "ece", "images_per_s")
    ]
    entries = [
        _NAMES.get(method, method),
        first,
        *(row[budget].text() if budget in row else "" for budget in budgets),
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{means[0]:.3f}",
        f"{means[1]:.3f}",
        f"{means[2]:.1f}" if means[2] else "",
    ]
    return "| " + " | ".join(entries) + " |"


def _named(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _reading(found: Cells, results: Sequence[Result]) -> Iterator[str]:
    """Sentences: ours against the best of the others, when it was reached, and disturbances."""
    others = [row[max(row)] for row in found.values() if not row[max(row)].ours]
    if others:
        best = max(others, key=lambda cell: cell.mean)
        name = _NAMES.get(best.runs[0].method.partition(" ")[0], best.runs[0].method)
        for method, row in found.items():
            last = row[max(row)]
            if last.ours:
                gap, low, high = (100 * value for value in difference(list(last.runs), list(best.runs)))
                reached = [cell.seconds for cell in row.values() if cell.mean >= best.mean]
                when = "not reached"
                if reached:
                    times = best.seconds / min(reached)
                    when = f"reached after {min(reached):.0f} s, {times:.1f} times as fast"
                yield (
                    f"* {method} less the best of the others ({name}, {100 * best.mean:.1f} % after "
                    f"{best.seconds:.0f} s): {gap:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}, "
                    f"paired by image; that accuracy was {when}."
                )
    seeds = sorted({one.seed for one in results})
    clocks = sorted({one.clock for one in results})
    disturbed = [one for one in results if one.machine["others"] >= _DISTURBED]
    yield (
        f"* {len(results)} runs, seeds {', '.join(map(str, seeds))}, seconds of the {' and '.join(clocks)} "
        f"clock; during {len(disturbed)} of them others used {_DISTURBED} cores or more"
        + (f" (at most {max(one.machine['others'] for one in disturbed):.1f})." if disturbed else ".")
    )


def plot(results: Sequence[Result], path: Path) -> None:
    """Accuracy over the seconds of training, one panel a set.

    Points are runs with that budget, bands the range over the seeds, thin lines what the longest runs reached
    on their way.
    """
    names = list(dict.fromkeys(one.set for one in results))
    figure = Figure(figsize=(4.6 * len(names) + 0.4, 4.4), layout="constrained")
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(1, len(names), number)
        _panel(axes, [one for one in results if one.set == name])
        axes.set(title=name, xlabel="seconds of training", xscale="log")
        axes.set_xticks([10, 30, 60, 180, 600], ["10", "30", "60", "180", "600"], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        if number == 1:
            axes.set_ylabel("test accuracy, %")
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    shown = {label: line for label, line in handles.items() if not label.startswith("_")}
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=min(5, 2 * len(names)), frameon=False
    )
    figure.savefig(path, dpi=120)


def _panel(axes: Axes, results: Sequence[Result]) -> None:
    found = cells(results)
    longest = max(cell.seconds for row in found.values() for cell in row.values())
    # Curves begin at chance; what is to be seen is where they end.
    lowest = min(min(cell.accuracies) for row in found.values() for cell in row.values())
    axes.set_ylim(max(0.0, 100 * lowest - 5), 101)
    for method, row in found.items():
        colour = _COLOURS.get(method, "#2ca02c")
        points = [(c.seconds, c.mean, min(c.accuracies), max(c.accuracies)) for c in row.values()]
        seconds, means, lows, highs = (np.array(column) for column in zip(*points, strict=True))
        axes.plot(
            seconds, 100 * means, color=colour, marker="o", label=_NAMES.get(method, method).replace("`", "")
        )
        axes.fill_between(seconds, 100 * lows, 100 * highs, color=colour, alpha=0.15, linewidth=0)
        if method == "linear":  # it gets no better with time
            axes.plot([seconds[-1], longest], [100 * means[-1]] * 2, color=colour, linestyle=":")
        for one in row[max(row)].runs:
            inside = [point for point in one.curve if point[1] is not None]
            if inside:
                axes.plot(*_line(inside), color=colour, alpha=0.35, linewidth=0.8)


def _line(points: Sequence[Sequence[float | None]]) -> tuple[list[float], list[float]]:
    return [float(point[0] or 0) for point in points], [100 * float(point[1] or 0) for point in points]
