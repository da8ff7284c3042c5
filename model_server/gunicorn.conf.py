"""How gunicorn runs one service: `gunicorn --config model_server/gunicorn.conf.py`.

One process an instance, each with threads that read, decode and wait while one of them uses the model. The
model is loaded after the fork. Executed again on SIGHUP, so nothing here may touch the run folder.
"""

import os
import sys
from pathlib import Path
from typing import Any

from model_server import config as configuration
from model_server import instance, logs
from model_server.balance import Connections

_path = instance.config_path()
try:
    _config = configuration.read(_path)
except configuration.ConfigError as error:
    sys.exit(str(error))
_run = instance.run_folder(_path)

# Set before any worker imports the libraries that read them. The model is given its threads by its predictor;
# other libraries must not start a pool beside them.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_run / "metrics")
os.environ["OMP_NUM_THREADS"] = str(_config.quota)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

wsgi_app = "model_server.instance:from_environment()"
# The supervisor hands over a listening socket as file descriptor 0, which outlives this process.
_listening = os.environ.get("SIGHTLOOP_LISTEN_FD")
bind = f"fd://{_listening}" if _listening else f"{_config.host}:{_config.port}"
backlog = 256
workers = _config.instances
worker_class = "model_server.worker.PatientWorker"
# One a waiting request, and enough more for health checks, refusals and clients that are slow to send.
threads = _config.queue_size + 32
worker_connections = threads + 256
preload_app = False
timeout = 60
graceful_timeout = 30
keepalive = 15
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
accesslog = None
logconfig_dict = logs.for_standard_logging()


def on_starting(server: Any) -> None:
    """Start with an empty run folder."""
    instance.clear(_run)


def when_ready(server: Any) -> None:
    """Say where the service listens; the port may have been chosen by the system."""
    host, port = server.LISTENERS[0].getsockname()[:2]
    (_run / "address").write_text(f"{host}:{port}")


def post_fork(server: Any, worker: Any) -> None:
    """Take on the budget of one instance."""
    worker.patience = _config.read_seconds
    worker.connections = Connections(_run / "connections")
    instance.limit_memory(_config.quota)
    instance.keep_memory()
    logs.configure()


def post_worker_init(worker: Any) -> None:
    """The model is loaded and tested: this instance answers."""
    from model_server import metrics  # noqa: PLC0415 - only instances import it

    metrics.READY.set(1)
    instance.say_ready(_path, os.getpid())


def worker_exit(server: Any, worker: Any) -> None:
    """The last request is answered."""
    instance.say_not_ready(_path, worker.pid)


def child_exit(server: Any, worker: Any) -> None:
    """Clear up after a process that may have had no chance to do so itself.

    One that died while it loaded the model would be started again at once, for ever: unless another instance
    answers, the whole service ends, and the supervisor decides when it is tried again.
    """
    # Imported only when an instance has ended.
    from gunicorn.errors import HaltServer  # type: ignore[import-untyped]  # noqa: PLC0415
    from prometheus_client import multiprocess  # noqa: PLC0415

    loaded = instance.forget(_path, worker.pid)
    Connections(_run / "connections").say(worker.age, None)
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    stopping = not server.LISTENERS
    if not (loaded or stopping or instance.ready_count(_path)):
        logs.configure()
        instance.log_cannot_start("an instance died while it loaded the model")
        raise HaltServer("Worker failed to boot.", instance.BOOT_ERROR)
