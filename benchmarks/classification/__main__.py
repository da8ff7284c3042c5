"""See the package; `python -m benchmarks.classification --help`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import benchmarks.classification
from benchmarks.classification import DATA, results, table
from benchmarks.classification.results import Result
from benchmarks.classification.runs import Job, measure

METHODS = ("linear", "plain", "fastai", *table.OURS)
RATES = ("1e-4", "3e-4", "1e-3")  # of the plain fine-tune


def planned(options: argparse.Namespace, known: Callable[[], Sequence[Result]]) -> Iterator[Job]:
    """All runs in turn, those of one set and seed beside each other: what drifts meets all methods alike.

    `known` gives the results so far: a plain fine-tune tries all learning rates with one seed, and with the
    other seeds only the one that was best on the test side.
    """
    values = tuple(tuple(entry.split("=", 1)) for entry in options.values)
    for seed in options.seeds:
        for folder in _folders(options):
            for budget in (0.0, *options.budgets):
                for method in options.methods:
                    if not _applies(method, budget):
                        continue
                    job = Job(
                        folder, method, seed, budget, options.clock, options.threads,
                        values if method in table.OURS else (), options.verbose,
                    )  # fmt: skip
                    if method != "plain":
                        yield job
                        continue
                    for rate in RATES if options.all_rates else _rates(job, known()):
                        yield replace(job, method=f"plain {rate}")


def _applies(method: str, budget: float) -> bool:
    """A budget of 0 stands for what is ready as soon as may be: the linear layer, and our first models."""
    return method != "linear" if budget else method not in ("plain", "fastai")


def _rates(job: Job, known: Sequence[Result]) -> Sequence[str]:
    """The learning rates to try: all, or the best of another seed with which all were tried."""
    alike = [
        one
        for one in known
        if (one.set, one.budget, one.clock, one.threads)
        == (job.folder.name, job.budget, job.clock, job.threads)
        and one.method.startswith(table.PLAIN)
        and one.seed != job.seed
    ]
    for seed in {one.seed for one in alike}:
        tried = {one.method[len(table.PLAIN) :] for one in alike if one.seed == seed}
        if tried >= set(RATES):
            return [table.cells(alike)["plain"][job.budget].rate]
    return RATES


def _folders(options: argparse.Namespace) -> list[Path]:
    if options.data:
        return [folder.resolve() for folder in options.data]
    if not DATA.is_dir():
        raise ValueError(
            f"{DATA} is not a folder; set SIGHTLOOP_BENCH_DATA or name your own sets with --data"
        )
    return [DATA / name for name in options.sets or sorted(p.name for p in DATA.iterdir() if p.is_dir())]


def run(options: argparse.Namespace) -> int:
    """Measure what is missing, each run in a fresh process; how many runs failed."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as workers set it for trainings, and here for all
    failed = 0
    for job in planned(options, lambda: results.read(options.results)):
        if job.key in {one.key for one in results.read(options.results)}:
            continue
        title = f"{job.folder.name}, {job.name}, seed {job.seed}, " + (
            f"{job.budget:g} s" if job.budget else "the first model"
        )
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                result = pool.submit(measure, job).result()
        except ValueError as error:
            print(f"{title}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        except Exception:  # one broken method must not cost the night's other runs
            print(f"{title}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            failed += 1
            continue
        results.append(options.results, result)
        print(
            f"{title}: {100 * result.accuracy:.1f} % on test, {100 * result.validation:.1f} % on validation, "
            f"{result.seconds:.0f} s, {result.images_per_s:.1f} images/s, others used "
            f"{result.machine['others']:.1f} cores",
            flush=True,
        )
    return failed


def main() -> int:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.classification",
        description=benchmarks.classification.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", nargs="+", help=f"names of folders of {DATA}; all of them")
    parser.add_argument("--data", nargs="+", type=Path, metavar="FOLDER", help="folders of your own instead")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", type=float, default=[60.0, 180.0, 600.0], help="seconds")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what a budget counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--all-rates", action="store_true", help="all learning rates with every seed")
    parser.add_argument(
        "--set", dest="values", nargs="*", default=[], metavar="PARAMETER=VALUE", help="of ours"
    )
    parser.add_argument("--results", type=Path, default=Path("build/benchmarks/classification.jsonl"))
    parser.add_argument("--table", action="store_true", help="measure nothing; print the tables")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="measure nothing; draw the curves")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    try:
        if not (options.table or options.plot):
            return 1 if run(options) else 0
        return show(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def show(options: argparse.Namespace) -> int:
    """Print or draw the results of these sets, with this clock and so many threads."""
    names = {folder.name for folder in _folders(options)}
    wanted = options.clock, options.threads
    known = results.read(options.results)
    found = [one for one in known if one.set in names and (one.clock, one.threads) == wanted]
    if not found:
        raise ValueError(f"{options.results} has no such results; measure first")
    if options.table:
        print(table.table(found))
    if options.plot:
        table.plot(found, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
