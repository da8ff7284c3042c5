"""`sightloop worker`: one more worker, in this terminal."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from backend.cli.embedded.programs import own_choices, worker_environment
from backend.cli.errors import NotRunning
from backend.cli.frame import Shell, Verb, pass_shell


@click.command(cls=Verb, example="sightloop worker --gpus 0,1")
@click.option("--gpus", metavar="0,1", help="GPUs to serve; none uses the CPU only. [default: all there are]")
@click.option("--queues", default="train,data", show_default=True, help="Queues to serve, most urgent first.")
@pass_shell
def worker(shell: Shell, gpus: str | None, queues: str) -> NoReturn:
    """Run one more worker until Ctrl-C.

    A running job is finished first; a second Ctrl-C drops it. It serves the stack of the data directory, or,
    on another machine, the one that SIGHTLOOP_DATABASE_URL, SIGHTLOOP_REDIS_URL, SIGHTLOOP_S3_ENDPOINT, its
    keys and SIGHTLOOP_SECRET_KEY name.
    """
    choices = shell.home.choices()
    environment = dict(os.environ)
    if not choices and not {"SIGHTLOOP_REDIS_URL", "SIGHTLOOP_SECRET_KEY"} & environment.keys():
        raise NotRunning(
            f"Sightloop is not running for data directory {shell.home.path}; start it with `sightloop up`, "
            "or name a stack elsewhere as `sightloop worker --help` says"
        )
    if choices and "SIGHTLOOP_REDIS_URL" not in os.environ:
        # As those of the stack, whatever its shell said: two that differ would write links of two addresses.
        environment |= shell.home.worker_environment() or worker_environment(shell.home, choices, os.environ)
        environment |= own_choices(os.environ)
    command = [sys.executable, "-m", "workers", "--queues", queues]
    command += ["--gpus", gpus] if gpus is not None else []
    # The worker replaces this process, so that signals reach it directly.
    os.execve(sys.executable, command, environment)
