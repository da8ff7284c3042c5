"""One process of a service: its limits, its start, and the file that says it is ready.

Beside the configuration `<file>` lies the run folder `<file>.run`:

    loaded/<pid>  one a process that has loaded the model and passed its self-test, until it is reaped
    ready/<pid>   the same, until it stops accepting requests
    address       host:port on which the service listens
    metrics/      what the processes count, for Prometheus
    connections   how many connections each process holds
    rate          the state of the rate limit
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sys
from pathlib import Path

import structlog
from flask import Flask

from model_server import config as configuration
from plugins.bundle import BundleError
from plugins.contract import PluginError

GIB = 1024**3
MIB = 1024**2
BYTES_PER_QUOTA = 4 * GIB
# mallopt(3): M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
_MALLOC = {-8: 1, -3: 16 * MIB, -1: 64 * MIB, -2: MIB}
CANNOT_START = "the service cannot start"
BOOT_ERROR = 3  # gunicorn's own number for a worker that could not boot: it then ends as a whole

_log = structlog.get_logger(__name__)


def config_path() -> Path:
    """The configuration file of this process. Ends the process with a sentence if there is none."""
    path = os.environ.get(configuration.ENVIRONMENT)
    if not path:
        sys.exit(f"{configuration.ENVIRONMENT} must name the configuration file of the service")
    return Path(path)


def run_folder(path: Path) -> Path:
    """The run folder beside a configuration file."""
    return path.with_name(f"{path.name}.run")


def clear(folder: Path) -> None:
    """Forget what an earlier run of the service left; called before any process of this run starts."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("loaded", "ready", "metrics"):
        (folder / name).mkdir(parents=True, mode=0o700)


def limit_memory(quota: int) -> None:
    """Let an allocation beyond the budget fail inside this process instead of on the machine.

    The data size is limited, not the address space: ONNX Runtime and the allocator reserve far more addresses
    than they use.
    """
    most = quota * BYTES_PER_QUOTA
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def keep_memory() -> None:
    """Let the C library keep the memory of one image for the next.

    By default each of many threads has memory of its own and gives it back after every image; to have it
    cleared again by the system cost a quarter of the time of decoding. Where the C library is not glibc,
    nothing happens.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        for parameter, value in _MALLOC.items():
            tune(parameter, value)


def say_ready(path: Path, pid: int) -> None:
    """The process answers from now on."""
    for name in ("loaded", "ready"):
        (run_folder(path) / name / str(pid)).touch()


def say_not_ready(path: Path, pid: int) -> None:
    """The process answers no longer."""
    (run_folder(path) / "ready" / str(pid)).unlink(missing_ok=True)


def forget(path: Path, pid: int) -> bool:
    """Clear up after a process that is gone; whether it had ever loaded the model."""
    say_not_ready(path, pid)
    mark = run_folder(path) / "loaded" / str(pid)
    loaded = mark.exists()
    mark.unlink(missing_ok=True)
    return loaded


def ready_count(path: Path) -> int:
    """How many processes of the service answer now."""
    try:
        pids = [int(entry.name) for entry in (run_folder(path) / "ready").iterdir()]
    except (OSError, ValueError):
        return 0
    return sum(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def log_cannot_start(reason: str) -> None:
    """The line of the log from which the host learns why."""
    _log.error(CANNOT_START, reason=reason)


def from_environment() -> Flask:
    """The application that gunicorn runs, loaded after the fork. Ends the process with a sentence."""
    # Flask, NumPy and ONNX Runtime are needed by the instances only; gunicorn's own process stays small.
    from model_server import selftest  # noqa: PLC0415
    from model_server.app import create_app  # noqa: PLC0415
    from model_server.engine import Engine, open_predictor  # noqa: PLC0415
    from model_server.rate import RateLimit  # noqa: PLC0415

    path = config_path()
    try:
        live = configuration.LiveConfig(path)
        config = live.current()
        predictor = open_predictor(config)
        tested = selftest.run(predictor, Path(config.bundle))
    except (configuration.ConfigError, BundleError, PluginError) as error:
        log_cannot_start(str(error))
        sys.exit(BOOT_ERROR)
    except Exception as error:
        _log.error(CANNOT_START, reason=f"{type(error).__name__}: {error}", exc_info=error)
        sys.exit(BOOT_ERROR)
    _log.info("model loaded", model=config.model, digest=config.digest[:12], self_test=tested)
    rate = RateLimit(run_folder(path) / "rate")
    log = os.environ.get(configuration.LOG_ENVIRONMENT)
    return create_app(
        config, Engine(predictor, config), live=live.current, rate=rate, log=Path(log) if log else None
    )
