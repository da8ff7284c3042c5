"""The main job from images to a prediction, as a series of commands that are shown as they run.

`make demo` runs it, `make demo TYPE=ocr` with a reader of text; `python -m demo --data FOLDER` takes your own
images: one folder a class, or with label files beside them for a reader. Run again, it uses what is there and
takes seconds. `sightloop down` stops what it leaves running.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from demo.kinds import KINDS, Kind, Unusable

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "demo"


@click.command()
@click.option("--type", "kind", default="classification", help=f"One of {', '.join(KINDS)}.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with one folder of images a class, or with images of text and label files beside them.",
)
def main(kind: str, data: Path | None) -> None:
    """Upload, sync, check, train, deploy, predict."""
    if kind not in KINDS:
        stop(f"there is no demo of the type {kind!r}; choose one of {', '.join(KINDS)}: make demo TYPE=ocr")
    show(KINDS[kind], data)


def show(kind: Kind, data: Path | None) -> None:
    """All steps, on the user's images or on samples."""
    work = ROOT / "build" / "demo"
    work.mkdir(parents=True, exist_ok=True)
    try:
        # Of the user's images the model may have learnt from the one that it is asked about.
        folder, image = (data, kind.own(data)) if data else kind.samples(work)
    except Unusable as error:
        stop(str(error))
    name = re.sub(r"[^A-Za-z0-9_-]", "-", folder.resolve().name).strip("-_")[:24] or "mine"

    step("1. Start everything on this machine")
    sightloop("up", "--label-studio-wait", "0")  # it is ready long before the training ends

    step("2. Put the images into a bucket")
    path = f"s3://{BUCKET}/{name}"
    sightloop("upload", str(folder), path)

    step("3. Make a dataset of them, index it, look for what stands in the way of training")
    index(name, kind, path)

    step("4. Train a model")
    model = trained(name, kind)

    step("5. Deploy it")
    endpoint, token = deployed(name, model)

    step(f"6. Ask it {kind.question} {os.path.relpath(image)}")
    predict(endpoint, token, image, work)

    tell_what_runs(name, endpoint)


def tell_what_runs(name: str, endpoint: str) -> None:
    """Where everything is, and how to stop it."""
    step("All of it is left running")
    stack = ask("up")
    click.echo(f"Console         {stack['console']} (user admin; the first start above shows the password)")
    click.echo("Password lost?  sightloop users reset-password admin")
    click.echo(f"REST API        {stack['api']}")
    click.echo(f"Object store    {stack['s3']['endpoint']}\nService         {endpoint}")
    click.echo(f"More images     sightloop predict {name} IMAGE...\nStop it         sightloop down")
    if shutil.which("sightloop", path=os.environ["PATH"].partition(os.pathsep)[2]) is None:
        click.echo("(`sightloop` is in .venv/bin; `. .venv/bin/activate` puts it on the PATH of this shell)")


def index(name: str, kind: Kind, path: str) -> None:
    """The dataset, made unless there is one, synced and checked."""
    if not exists("datasets", name):
        sightloop("datasets", "create", name, "--type", kind.type, "--path", path)
    elif (found := ask("datasets", "show", name)["type"]) != kind.type:
        stop(f"there is a dataset {name} of type {found}; rename the folder, or say make demo TYPE={found}")
    sightloop("datasets", "sync", name)
    sightloop("datasets", "check", name)


def trained(name: str, kind: Kind) -> str:
    """The newest model of the dataset, trained unless there is one."""
    tasks = [task for task in ask("tasks", "list") if task["dataset"] == name]
    for task in tasks:
        if task["state"] == "succeeded" and exists("models", task["name"]):
            click.echo(f"Model {task['name']} was trained before.")
            return str(task["name"])
    taken = {task["name"] for task in ask("tasks", "list")}
    task = next(free for free in (name, *(f"{name}-{n}" for n in range(2, 1000))) if free not in taken)
    options = ("--dataset", name, "--algorithm", kind.algorithm, "--time-budget", kind.budget, "--wait")
    sightloop("train", task, *options)
    sightloop("models", "show", task)
    return task


def deployed(name: str, model: str) -> tuple[str, str]:
    """Endpoint and token of the running service."""
    if not exists("services", name):
        sightloop("deploy", name, "--model", model, "--wait")
    elif ask("services", "show", name)["state"] in ("Stopped", "Failed"):
        sightloop("services", "start", name, "--wait")
    else:
        click.echo(f"Service {name} was deployed before.")
    kept = Path(ask("up")["data_dir"], "tokens.json")
    tokens = json.loads(kept.read_text()) if kept.exists() else {}
    token = tokens.get(name) or ask("services", "tokens", name, "create")["token"]
    return ask("services", "show", name)["endpoint"], token


def predict(endpoint: str, token: str, image: Path, work: Path) -> None:
    """One request with curl, as any program would make it; the token stays off the command line."""
    body = base64.b64encode(image.read_bytes()).decode()
    request, headers = work / "request.json", work / "headers.txt"
    request.write_text(json.dumps({"dataArray": [{"name": "image", "type": "stream", "body": body}]}))
    headers.touch(mode=0o600)
    headers.write_text(f"Authorization: {token}\nContent-Type: application/json\n")
    if shutil.which("curl") is None:
        sightloop("predict", ask_name(endpoint), str(image))
        return
    files = [os.path.relpath(path) for path in (headers, request)]
    answer = run(["curl", "-sS", endpoint, "-H", f"@{files[0]}", "--data", f"@{files[1]}"], capture=True)
    click.secho(answer.strip(), bold=True)
    if not json.loads(answer).get("success"):
        stop("the service did not answer with a prediction; see `sightloop services show`")


def ask_name(endpoint: str) -> str:
    """The service's name, the last part of its endpoint."""
    return endpoint.rstrip("/").rpartition("/")[2]


def exists(noun: str, name: str) -> bool:
    """Whether there is one of that name."""
    command = [*SIGHTLOOP, noun, "show", name, "--json"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def ask(*arguments: str) -> Any:
    """What a command says, without showing it."""
    done = subprocess.run([*SIGHTLOOP, *arguments, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        stop(f"`sightloop {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def sightloop(*arguments: str) -> None:
    """Show and run a command of Sightloop."""
    run(["sightloop", *arguments], capture=False)


def run(command: list[str], *, capture: bool) -> str:
    """Show and run a command; the demo ends when it fails."""
    click.secho(f"$ {shlex.join(command)}", fg="cyan")
    real = [*SIGHTLOOP, *command[1:]] if command[0] == "sightloop" else command
    done = subprocess.run(real, stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        stop(f"the demo stops here, because `{shlex.join(command)}` failed (see above); then run it again")
    return done.stdout or ""


def step(title: str) -> None:
    """A heading."""
    click.secho(f"\n{title}", bold=True)


def stop(sentence: str) -> NoReturn:
    """End with a sentence."""
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(1)


SIGHTLOOP = [str(Path(sys.executable).with_name("sightloop"))]

if __name__ == "__main__":
    main()
