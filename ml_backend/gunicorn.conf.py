"""How gunicorn runs the ML backend: `gunicorn --config ml_backend/gunicorn.conf.py --bind HOST:PORT`.

One process, so that every model is open once; threads, so that a health check is answered while others wait
for a prediction. The app is made after the fork, and models are loaded in the background.
"""

import sys
from pathlib import Path
from typing import Any

from backend.settings import SettingsError, load

try:
    if not load().ml_backend_token:
        sys.exit("SIGHTLOOP_ML_BACKEND_TOKEN is not set; `sightloop up` makes one")
except SettingsError as error:
    sys.exit(str(error))

wsgi_app = "ml_backend.app:create_app()"
workers = 1
worker_class = "model_server.worker.PatientWorker"
# Those that predict or wait for it (twice eight, see `Bounds`), and more for health checks and setups.
threads = 32
preload_app = False
timeout = 60
graceful_timeout = 5
keepalive = 15
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
accesslog = None


def post_fork(_server: Any, worker: Any) -> None:
    """Clients that begin a request and stop would hold every thread, whoever they are."""
    worker.patience, worker.stall = 20.0, 60.0
