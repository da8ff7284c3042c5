"""The real Label Studio, for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory
from backend.label_studio.client import LabelStudio, connect
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.settings import Settings
from tests.label_studio import real
from tests.label_studio.real import RealLabelStudio


@pytest.fixture(scope="session")
def label_studio() -> Iterator[RealLabelStudio]:
    """One that runs; a test makes projects of its own in it."""
    yield from real.label_studio()


@pytest.fixture
def runtime(sessions: SessionFactory, label_studio: RealLabelStudio, tmp_path: Path) -> Runtime:
    settings = Settings(
        data_dir=tmp_path,
        secret_key=new_key(),
        label_studio_url=label_studio.url,
        label_studio_token=label_studio.token,
    )
    made = Runtime(settings)
    made.__dict__["sessions"] = sessions
    return made


@pytest.fixture
def studio(runtime: Runtime) -> Iterator[LabelStudio]:
    made = connect(runtime.settings)
    yield made
    made.close()


@pytest.fixture
def labelled(session: Session, dataset: Dataset) -> Dataset:
    """Every image is usable; the nuts of the last number have no label."""
    for image in session.scalars(select(Image).where(Image.dataset_id == dataset.id)):
        image.usable, image.checked_etag, image.width, image.height = True, image.etag, 64, 48
    image.label = image.label_source = None
    session.commit()
    return dataset
