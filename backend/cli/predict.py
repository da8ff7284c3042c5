"""`sightloop predict`: images to a service, as any client would send them."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import httpx

from backend.cli import credentials, show
from backend.cli.client import DIRECT, Resource, named
from backend.cli.errors import BadInput, OperationFailed
from backend.cli.frame import Shell, Verb, answer, pass_shell

_THREADS = 4


@click.command(cls=Verb, example="sightloop predict flowers rose.jpg tulip.jpg")
@click.argument("service")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--token", envvar="SIGHTLOOP_SERVICE_TOKEN", help="Token of the service. [default: as kept here]"
)
@click.option("--endpoint", help="Predict URL of the service; the API is not asked then.")
@click.option("--top-k", type=click.IntRange(1), help="Classes to answer with.")
@pass_shell
def predict(
    shell: Shell,
    service: str,
    images: tuple[Path, ...],
    token: str | None,
    endpoint: str | None,
    top_k: int | None,
) -> None:
    """Predict what is on images.

    The token is that of --token, of SIGHTLOOP_SERVICE_TOKEN, or the one that `deploy` was shown on this
    machine. With --json: `results` has the service's answer for each image, `result` is the first.
    """
    address = endpoint or _endpoint(shell, service)
    known = token or credentials.kept(shell.home).get(service)
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
        ask = partial(_ask, http, address, {"top_k": top_k} if top_k else {})
        results = []
        for result in pool.map(ask, images):
            results.append(result)
            advance(len(results), len(images), "")
    _report(shell, service, results)


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


def _ask(http: httpx.Client, address: str, query: dict[str, int], image: Path) -> Resource:
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


def _report(shell: Shell, service: str, results: list[Resource]) -> None:
    failed = [result for result in results if not result.get("success")]
    if shell.json:
        first = {"result": results[0]["result"]} if results[0].get("success") else {}
        answer({"name": service, "success": not failed, **first, "results": results})
    else:
        for result in results:
            click.echo(f"{result['image']}  {_outputs(result)}")
    if failed:
        raise OperationFailed(
            f"{len(failed)} of {len(results)} images got no prediction: {_reason(failed[0])}"
        )


def _outputs(result: Resource) -> str:
    if not result.get("success"):
        return f"failed: {_reason(result)}"
    outputs = result["result"]["output"]
    return ", ".join(f"{output['label']} {output['conf']:.3f}" for output in outputs) or "nothing found"


def _reason(result: Resource) -> str:
    detail = str(result.get("errorDetail") or result.get("errorMsg") or "no reason given")
    return f"{detail} ({result['errorCode']})" if result.get("errorCode") else detail
