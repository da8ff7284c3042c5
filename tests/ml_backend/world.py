"""A database, a real object store and a real gunicorn with the ML backend, and what tests put into them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import select

from backend import db
from backend.datasets.tables import Dataset, Image
from backend.db import transaction
from backend.label_studio.ml_access import password
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.models import registry as models
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.settings import Settings
from backend.storage import StoreAddress
from backend.training.tables import TrainingTask
from backend.workspaces.tables import StorageConnection, Workspace
from plugins import bundle as bundles
from plugins.bundle import Bundle
from tests.model_server.servers import until
from tests.servers import SECRET_KEY
from tests.valkey import free_port

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "datasets"
CONFIG = """<View><Image name="image" value="$image"/><Choices name="choice" toName="image">
<Choice value="red"/><Choice value="green"/><Choice value="blue"/></Choices></View>"""
_NUMBERS = count(100)


@dataclass
class Place:
    """A dataset whose images stand as items in a Label Studio project."""

    dataset: Dataset
    project: int
    items: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def task(self, name: str, **values: Any) -> dict[str, Any]:
        """The item as Label Studio 1.23 sends it (`TaskSimpleSerializer`)."""
        return {
            "id": self.items[name],
            "data": {"image": "http://127.0.0.1:1/images/signed"},
            "meta": {},
            "created_at": "2026-03-19T23:15:01.004453Z",
            "updated_at": "2026-03-20T01:55:39.644616Z",
            "is_labeled": False,
            "overlap": 1,
            "inner_id": 11,
            "total_annotations": 0,
            "cancelled_annotations": 0,
            "total_predictions": 0,
            "comment_count": 0,
            "unresolved_comment_count": 0,
            "last_comment_updated_at": None,
            "project": self.project,
            "updated_by": 1,
            "file_upload": None,
            "comment_authors": [],
            "annotations": [],
            "predictions": [],
            **values,
        }


@dataclass
class World:
    """Everything that a test of the ML backend or of pre-labeling needs."""

    folder: Path
    runtime: Runtime
    connection: StorageConnection
    url: str = ""
    log: Path = Path()

    def place(self, pictures: Mapping[str, bytes], type: str = "classification") -> Place:
        """A new dataset with these images."""
        number, prefix = next(_NUMBERS), f"{uuid4().hex}/"
        with transaction(self.runtime.sessions) as session:
            dataset = Dataset(
                workspace_id=self.connection.workspace_id,
                connection_id=self.connection.id,
                name=f"d{number}",
                type=type,
                bucket=BUCKET,
                prefix=prefix,
                synced_at=db.now(),
            )
            session.add(dataset)
            session.flush()
            place = Place(dataset, project=number)
            session.add(LabelingProject(dataset_id=dataset.id, project=number, config=CONFIG))
            for name, data in pictures.items():
                image = Image(dataset_id=dataset.id, key=prefix + name, etag=name, size=len(data))
                session.add(image)
                session.flush()
                place.images[name], place.items[name] = image.id, next(_NUMBERS) * 10
                session.add(LabelingItem(dataset_id=dataset.id, image_id=image.id, item=place.items[name]))
            _ = dataset.connection
        store = self.runtime.store(self.connection)
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(lambda entry: store.put_bytes(BUCKET, prefix + entry[0], entry[1]), pictures.items())
            )
        return place

    def model(self, place: Place, bundle: Bundle, *, worse_than: str = "", stored: bool = True) -> Model:
        """A registered model of the dataset; its bundle lies in the store."""
        dataset, name = place.dataset, bundle.manifest.name
        if stored:
            archive = bundles.pack(bundle, self.folder / f"{bundle.manifest.digest}.zip")
            self.runtime.artifacts.put_file(
                self.runtime.settings.s3_bucket, models.bundle_key(bundle.manifest.digest), archive
            )
        with transaction(self.runtime.sessions) as session:
            task = TrainingTask(
                workspace_id=dataset.workspace_id,
                dataset_id=dataset.id,
                name=f"{name}{next(_NUMBERS)}",
                algorithm="classification-high-performance",
                parameters={},
                labels=[],
                queue="train",
                time_budget=60,
            )
            session.add(task)
            session.flush()
            model = Model(
                workspace_id=dataset.workspace_id,
                task_id=task.id,
                dataset_id=dataset.id,
                name=f"{name}{task.id}",
                plugin=bundle.manifest.plugin,
                algorithm="classification-high-performance",
                digest=bundle.manifest.digest,
                size=1,
                labels=["red", "green", "blue"],
                metrics={},
                facts={},
                snapshot="",
                worse_than=worse_than,
            )
            session.add(model)
        return model

    def delete_image(self, place: Place, name: str) -> None:
        """The sync has seen that the object is gone."""
        with transaction(self.runtime.sessions) as session:
            image = session.scalars(select(Image).where(Image.id == place.images[name])).one()
            image.state = "deleted"

    def call(self, place: Place, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A call as Label Studio makes it for this dataset; `auth` in `options` replaces the password."""
        dataset = place.dataset
        secret = password(self.runtime.settings, dataset.id, dataset.name)
        options.setdefault("auth", (dataset.name, secret))
        return httpx.request(
            method, f"{self.url}/d/{dataset.id}/{path}", json=body, timeout=60, trust_env=False, **options
        )

    def predict(
        self, place: Place, tasks: Any, context: Any = None, config: str = CONFIG, **options: Any
    ) -> httpx.Response:
        """`POST /predict` as `MLApi._prep_prediction_req` of Label Studio 1.23 makes it."""
        body = {
            "tasks": tasks,
            "project": f"{place.project}.1710890019",
            "label_config": config,
            "params": {"login": None, "password": None, "context": context},
        }
        return self.call(place, "POST", "predict", body, **options)


def environment(settings: Settings, plugins: Path) -> dict[str, str]:
    """What the ML backend's process is started with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLOOP_")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(plugins))),
        "SIGHTLOOP_DATA_DIR": str(settings.data_dir),
        "SIGHTLOOP_ML_BACKEND_TOKEN": settings.ml_backend_token,
        "SIGHTLOOP_SECRET_KEY": settings.secret_key,
        "SIGHTLOOP_S3_ENDPOINT": settings.s3_endpoint,
        "SIGHTLOOP_S3_ACCESS_KEY": settings.s3_access_key,
        "SIGHTLOOP_S3_SECRET_KEY": settings.s3_secret_key,
        "SIGHTLOOP_LOG_LEVEL": "debug",
    }


def plugin_path(folder: Path) -> Path:
    """A folder for PYTHONPATH with the plugin `reading`, as a third party would have it."""
    information = folder / "reading_plugin-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: reading-plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[sightloop.plugins]\nreading = tests.ml_backend.reading_plugin:PLUGIN\n"
    )
    return folder


@contextmanager
def world(folder: Path, migrated: Path, address: StoreAddress) -> Iterator[World]:
    """A world without a running ML backend."""
    shutil.copy(migrated, folder / "sightloop.db")
    settings = Settings(
        data_dir=folder,
        secret_key=new_key(),
        ml_backend_token="the secret of the tests",
        s3_endpoint=address.endpoint,
        s3_access_key=address.access_key,
        s3_secret_key=SECRET_KEY,
        s3_bucket="sightloop",
    )
    runtime = Runtime(settings)
    for bucket in (BUCKET, settings.s3_bucket):
        runtime.artifacts.ensure_bucket(bucket)
    with transaction(runtime.sessions) as session:
        workspace = Workspace(name="default")
        session.add(workspace)
        session.flush()
        connection = StorageConnection(
            workspace_id=workspace.id,
            name="default",
            endpoint=address.endpoint,
            access_key=address.access_key,
            secret_encrypted=runtime.sealer.seal(address.secret_key),
        )
        session.add(connection)
    yield World(folder, runtime, connection)
    runtime.sessions.kw["bind"].dispose()


@contextmanager
def serving(
    world: World, plugins: Path, *, bind: str = "", app: str = "app"
) -> Iterator[subprocess.Popen[bytes]]:
    """The ML backend under gunicorn, as the stack runs it; `app` names what makes it in `serving`."""
    port = free_port()
    world.url, world.log = f"http://127.0.0.1:{port}", world.folder / f"ml-backend-{app}.log"
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "ml_backend" / "gunicorn.conf.py")]
    with world.log.open("ab") as log:
        process = subprocess.Popen(
            [*command, "--bind", bind or f"127.0.0.1:{port}", f"tests.ml_backend.serving:{app}()"],
            env=environment(world.runtime.settings, plugins),
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
        try:
            until(lambda: _answers(world) or process.poll() is not None, "the ML backend answers")
            assert process.poll() is None, world.log.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _answers(world: World) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{world.url}/health", timeout=5, trust_env=False).is_success
    return False
