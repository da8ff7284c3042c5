"""`python -m workers --queues train,data [--gpus 0,1]`: one worker; `sightloop worker` runs it."""

from __future__ import annotations

import argparse
import os
import sys

from backend.errors import AppError
from backend.logs import configure
from backend.queue import DATA, TRAIN, gpu_queue, ping
from backend.settings import SettingsError
from workers import memory
from workers.gpus import find
from workers.process import process_runtime
from workers.worker import SightloopWorker


def main() -> int:
    """Work until a signal ends it: the first lets the running job finish, the second does not."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--queues", default=f"{TRAIN},{DATA}", help="queues to serve, the most urgent first")
    parser.add_argument("--gpus", default=None, help="GPUs to serve, such as 0,1; none uses the CPU only")
    options = parser.parse_args()
    try:
        runtime = process_runtime()
        # A wrong key, or an address of no database, stops the worker now, not in the middle of a job.
        runtime.sealer, runtime.sessions  # noqa: B018
        gpus = find(runtime.settings.gpus if options.gpus is None else options.gpus)
        ping(runtime.redis)
    except (AppError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(runtime.settings.log_level)
    # Threads of torch that wait without spinning leave the cores to the services beside the training.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    queues = [name for name in options.queues.split(",") if name]
    if gpus and TRAIN in queues:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.index for gpu in gpus)
        types = sorted({gpu_queue(gpu.type) for gpu in gpus})
        queues = [*types, gpu_queue(""), *queues]
    SightloopWorker(runtime, queues).work(logging_level=runtime.settings.log_level.upper())
    return 0


if __name__ == "__main__":
    memory.restart_if_needed("workers")
    sys.exit(main())
