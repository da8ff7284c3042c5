"""`sightloop predict`: images to a service, as any client would send them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx

from backend.cli import show
from backend.cli.client import DIRECT, Resource, named
from backend.cli.errors import BadInput, OperationFailed
from backend.cli.frame import Shell, Verb, answer, pass_shell

_THREADS = 4
_SIDE = 1024  # pixels of a drawing's longer side, and of what is decoded for it
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# What the reasons of a decision for none of the classes are in words, and how many classes show why.
_REASONS = {"not_sure": ("not sure", 2), "unlike_training": ("unlike the training images", 1)}


@click.command(
    cls=Verb,
    example="sightloop predict flowers rose.jpg tulip.jpg\n"
    "sightloop predict flowers rose.jpg --explain why.png",
)
@click.argument("service")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--token", envvar="SIGHTLOOP_SERVICE_TOKEN", help="Token of the service. [default: as kept here]"
)
@click.option("--endpoint", help="Predict URL of the service; the API is not asked then.")
@click.option("--top-k", type=click.IntRange(1), help="Classes to answer with.")
@click.option(
    "--explain",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Draw what the answer rests on, orange for it and blue against it: a file, or a folder "
    "for several images.",
)
@pass_shell
def predict(
    shell: Shell,
    service: str,
    images: tuple[Path, ...],
    *,
    token: str | None,
    endpoint: str | None,
    top_k: int | None,
    explain: Path | None,
) -> None:
    """Predict what is on images.

    A model that has learned when to trust itself answers with the one class to act on, or says why there is
    none: it is not sure, or the image is unlike those that it was trained on.

    The token is that of --token, of SIGHTLOOP_SERVICE_TOKEN, or the one that `deploy` was shown on this
    machine. With --json: `results` has the service's answer for each image, `result` is the first.
    """
    drawings = _drawings(explain, images)
    address = endpoint or _endpoint(shell, service)
    known = token or shell.tokens.get(service)
    if not known:
        raise BadInput(
            f"no token of service {service} is known here; give one with --token, "
            f"or make one with `sightloop services tokens {service} create`"
        )
    with (
        httpx.Client(headers={"Authorization": known}, timeout=60, mounts=DIRECT) as http,
        ThreadPoolExecutor(_THREADS) as pool,
        show.bar(f"predicting with {service}") as advance,
    ):
        query = ({"top_k": str(top_k)} if top_k else {}) | ({"explain": "true"} if explain else {})
        results = []
        for result in pool.map(partial(_ask, http, address, query), images):
            results.append(result)
            advance(len(results), len(images), "")
    for result, image, drawing in zip(results, images, drawings, strict=False):
        _draw(result, image, drawing)
    _report(shell, service, results, every_class=top_k is not None)


def _drawings(explain: Path | None, images: Sequence[Path]) -> list[Path]:
    """Where the drawing of each image goes; the folder is made now, so that trouble with it comes first."""
    if explain is None:
        return []
    is_file = explain.suffix.lower() in _PICTURES and not explain.is_dir()
    if is_file and len(images) > 1:
        raise BadInput(f"{explain} is one file for {len(images)} images; give a folder with --explain")
    if is_file and explain.resolve() == images[0].resolve():
        raise BadInput(f"{explain} is the image itself; give another file with --explain")
    folder = explain.parent if is_file else explain
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"the folder {folder} cannot be made: {error.strerror}") from None
    if is_file:
        return [explain]
    seen: Counter[str] = Counter()
    drawings = []
    for image in images:
        seen[image.stem] += 1
        number = f"-{seen[image.stem]}" if seen[image.stem] > 1 else ""
        drawings.append(folder / f"{image.stem}.evidence{number}.png")
    return drawings


def _draw(result: Resource, image: Path, drawing: Path) -> None:
    """Draw the evidence of one answer; its path stands in the result as `drawing`."""
    if not result.get("success"):
        return
    if "evidence" not in result["result"]:
        raise OperationFailed("the service sent no evidence: it runs an older release; update its host")
    from plugins import images  # noqa: PLC0415 - Pillow and NumPy, which most calls do not need
    from plugins.classification import evidence  # noqa: PLC0415
    from plugins.contract import Evidence  # noqa: PLC0415

    found = result["result"]["evidence"]
    shown = Evidence(found["label"], tuple(map(tuple, found["grid"])), found["peak"])
    try:
        evidence.overlay(
            images.decode(image.read_bytes(), wanted_side=_SIDE).image, shown, longest=_SIDE
        ).save(drawing)
    except OSError as error:
        raise OperationFailed(f"{drawing} cannot be written: {error.strerror or error}") from None
    result["drawing"] = str(drawing)


def _endpoint(shell: Shell, service: str) -> str:
    found = shell.client.get(named("services", service))
    if found["state"] in ("Stopped", "Stopping", "Failed", "Deleting"):
        raise OperationFailed(
            f"service {service} is {found['state']}; start it with `sightloop services start {service}`"
        )
    if not found["endpoint"]:
        raise OperationFailed(
            f"service {service} is {found['state']} and has no endpoint yet; try again in a moment"
        )
    return str(found["endpoint"])


def _ask(http: httpx.Client, address: str, query: dict[str, str], image: Path) -> Resource:
    """The service's answer for one image, with its path; trouble on the way has the same form."""
    try:
        body = base64.b64encode(image.read_bytes()).decode()
    except OSError as error:
        return _trouble(image, f"{image} cannot be read: {error.strerror}")
    content = {"dataArray": [{"name": "image", "type": "stream", "body": body}]}
    try:
        reply: Resource = http.post(address, params=query, json=content).json()
    except httpx.HTTPError as error:
        return _trouble(
            image, f"the service does not answer ({type(error).__name__}); see `sightloop services show`"
        )
    except ValueError:
        return _trouble(image, f"{address} is no service of Sightloop: it does not answer with JSON")
    return {"image": str(image), **reply}


def _trouble(image: Path, detail: str) -> Resource:
    return {"image": str(image), "success": False, "errorDetail": detail}


def _report(shell: Shell, service: str, results: list[Resource], *, every_class: bool) -> None:
    failed = [result for result in results if not result.get("success")]
    if shell.json:
        first = {"result": results[0]["result"]} if results[0].get("success") else {}
        answer({"name": service, "success": not failed, **first, "results": results})
    else:
        for result in results:
            drawn = f"  ({result['drawing']})" if "drawing" in result else ""
            click.echo(f"{result['image']}  {_said(result, every_class)}{drawn}")
    if failed:
        raise OperationFailed(
            f"{len(failed)} of {len(results)} images got no prediction: {_reason(failed[0])}"
        )


def _said(result: Resource, every_class: bool) -> str:
    """`rose 0.97`, `not sure: rose 0.41, tulip 0.38`, or all classes of a model that decides nothing."""
    if not result.get("success"):
        return f"failed: {_reason(result)}"
    outputs: list[dict[str, Any]] = result["result"]["output"]
    decision = result["result"].get("decision")
    if decision is None:
        return _outputs(outputs) or "nothing found"
    if decision["label"] is not None:
        chosen = [output for output in outputs if output["label"] == decision["label"]]
        return _outputs(outputs if every_class else chosen) or str(decision["label"])
    why, count = _REASONS.get(decision["reason"], (decision["reason"], 1))
    return f"{why}: {_outputs(outputs if every_class else outputs[:count])}"


def _outputs(outputs: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{output['label']} {output['conf']:.2f}" for output in outputs)


def _reason(result: Resource) -> str:
    detail = str(result.get("errorDetail") or result.get("errorMsg") or "no reason given")
    return f"{detail} ({result['errorCode']})" if result.get("errorCode") else detail
