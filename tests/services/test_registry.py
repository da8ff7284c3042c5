"""Deploying, changing and reporting on services."""

from __future__ import annotations

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.errors import InsufficientResources, InUse, InvalidRequest, NameTaken, NotFound, WrongState
from backend.models import registry as models
from backend.models.tables import Model
from backend.sealing import Sealer, new_key
from backend.services import asking, hosting, registry, tokens
from backend.services.hosting import Report
from backend.services.lifecycle import TRANSITIONS, ServiceState
from backend.services.registry import Change
from backend.services.tables import Service, ServiceEvent
from backend.settings import Settings
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.registry import TaskRequest

SETTINGS = Settings(secret_key=new_key())


def _model(session: Session, dataset: Dataset, name: str, plugin: str = "classification") -> Model:
    request = TaskRequest(name=name, algorithm="classification-high-performance")
    task = tasks.create(session, dataset, request, Placement("train"))
    row = Model(
        workspace_id=dataset.workspace_id,
        task_id=task.id,
        dataset_id=dataset.id,
        name=name,
        plugin=plugin,
        algorithm=request.algorithm,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        size=1,
        labels=["bolt", "nut"],
        metrics={"accuracy": 0.5},
        facts={},
        snapshot="s",
    )
    session.add(row)
    session.flush()
    return row


@pytest.fixture
def model(session: Session, dataset: Dataset) -> Model:
    return _model(session, dataset, "m1")


@pytest.fixture
def service(session: Session, model: Model) -> Service:
    return registry.create(session, model, "s1", instances=1, quota=1)


def _ready(service: Service, **changes: object) -> Report:
    report = Report(service.revision, "ready", service.instances, 8720, "http://h:8720/api/predict/s1", "")
    return replace(report, **changes)  # type: ignore[arg-type]


def test_a_service_runs_when_the_host_says_so(session: Session, service: Service) -> None:
    assert service.state == "Creating"
    hosting.take_report(session, service.id, _ready(service, state="starting", ready_instances=0))
    assert service.state == "Waiting"
    hosting.take_report(session, service.id, _ready(service))
    assert (service.state, service.endpoint) == ("Running", "http://h:8720/api/predict/s1")
    events = session.scalars(select(ServiceEvent).order_by(ServiceEvent.id)).all()
    assert [event.new for event in events] == ["Waiting", "Running"]


def test_a_report_about_an_older_revision_does_not_count(session: Session, service: Service) -> None:
    late = _ready(service)
    hosting.take_report(session, service.id, late)
    registry.change(session, service, Change(instances=2))
    hosting.take_report(session, service.id, late)
    assert service.state == "Scaling"


def test_another_model_is_an_update_and_more_instances_are_scaling(
    session: Session, dataset: Dataset, service: Service
) -> None:
    hosting.take_report(session, service.id, _ready(service))
    registry.change(session, service, Change(model=_model(session, dataset, "m2")))
    assert service.state == "Updating"
    hosting.take_report(session, service.id, _ready(service, state="starting"))
    assert service.state == "Updating", "the old instances answer meanwhile"
    hosting.take_report(session, service.id, _ready(service))
    registry.change(session, service, Change(instances=2))
    assert service.state == "Scaling"
    assert [row.model_name for row in registry.served(session, service)] == ["m1", "m2"]


def test_a_crash_is_failed_and_recovers(session: Session, service: Service) -> None:
    hosting.take_report(session, service.id, _ready(service))
    hosting.take_report(session, service.id, _ready(service, state="failed", message="it crashed"))
    assert (service.state, service.message) == ("Failed", "it crashed")
    hosting.take_report(session, service.id, _ready(service))
    assert service.state == "Running"


def test_stop_start_and_delete(session: Session, service: Service) -> None:
    hosting.take_report(session, service.id, _ready(service))
    registry.stop(session, service)
    gone = _ready(service, state="stopped", ready_instances=0, port=None, endpoint=None)
    hosting.take_report(session, service.id, gone)
    assert (service.state, service.port) == ("Stopped", 8720)
    with pytest.raises(WrongState):
        registry.stop(session, service)
    registry.start(session, service)
    assert service.state == "Creating"
    with pytest.raises(WrongState):
        registry.start(session, service)
    registry.delete(session, service)
    with pytest.raises(WrongState, match="is being deleted"):
        registry.change(session, service, Change(instances=2))
    hosting.take_report(session, service.id, _ready(service, state="deleted"))
    session.flush()
    with pytest.raises(NotFound):
        registry.get(session, service.workspace_id, "s1")


def test_a_report_cannot_delete_what_should_run(session: Session, service: Service) -> None:
    hosting.take_report(session, service.id, _ready(service, state="deleted"))
    assert registry.get(session, service.workspace_id, "s1") is service


def test_what_no_host_can_give_is_refused(session: Session, model: Model) -> None:
    with pytest.raises(InsufficientResources, match="Use a quota of at most"):
        registry.create(session, model, "big", instances=1, quota=4096)
    with pytest.raises(InvalidRequest, match="instances must be"):
        registry.create(session, model, "many", instances=1000, quota=1)


def test_a_service_name_is_taken_once(session: Session, model: Model, service: Service) -> None:
    with pytest.raises(NameTaken, match="services update s1"):
        registry.create(session, model, "s1", instances=1, quota=1)


def test_a_service_keeps_to_its_kind_of_model(session: Session, dataset: Dataset, service: Service) -> None:
    with pytest.raises(InvalidRequest, match="Deploy it under another name"):
        registry.change(session, service, Change(model=_model(session, dataset, "reader", plugin="ocr")))


def test_a_model_that_is_served_cannot_be_deleted(session: Session, model: Model, service: Service) -> None:
    with pytest.raises(InUse, match="s1"):
        models.delete(session, model)


def test_each_change_is_a_revision_that_hosts_see(session: Session, sealer: Sealer, service: Service) -> None:
    before = registry.revision(session)
    registry.change(session, service, Change(instances=2))
    assert registry.revision(session) > before
    seen = hosting.assignments(session, sealer, SETTINGS)
    assert seen["revision"] == registry.revision(session)
    assert seen["services"][0]["instances"] == 2


def test_a_token_is_stored_as_hashes_that_check_it_and_its_signatures(
    session: Session, sealer: Sealer, service: Service
) -> None:
    made = tokens.issue(session, sealer, service)
    assert len(made.text) == 72
    assigned = hosting.assignments(session, sealer, SETTINGS)["services"][0]["tokens"][1]
    assert made.text not in str(assigned)
    assert assigned["sha256"] == hashlib.sha256(made.text.encode()).hexdigest()
    by_token = hmac.new(made.text.encode(), b"message", hashlib.sha1).digest()
    by_key = hmac.new(bytes.fromhex(assigned["signing_key"]), b"message", hashlib.sha1).digest()
    assert base64.b64encode(by_token) == base64.b64encode(by_key)


def test_hosts_know_a_token_of_our_own_that_no_list_shows(
    session: Session, sealer: Sealer, service: Service
) -> None:
    own = asking.own_token(SETTINGS, service.id)
    assert len(own) == 72 and own != asking.own_token(SETTINGS, service.id + 1)
    assert own != asking.own_token(Settings(secret_key=new_key()), service.id)
    (assigned,) = hosting.assignments(session, sealer, SETTINGS)["services"][0]["tokens"]
    assert assigned["sha256"] == hashlib.sha256(own.encode()).hexdigest()
    assert tokens.of(session, service) == []


def test_the_last_token_stays(session: Session, sealer: Sealer, service: Service) -> None:
    first = tokens.issue(session, sealer, service)
    with pytest.raises(WrongState, match="make another one first"):
        tokens.revoke(session, service, first.row.id)
    second = tokens.issue(session, sealer, service)
    tokens.revoke(session, service, first.row.id)
    assert tokens.of(session, service) == [second.row]
    with pytest.raises(NotFound):
        tokens.revoke(session, service, first.row.id)


def test_every_service_state_can_come_to_running_or_an_end() -> None:
    ends = {ServiceState.RUNNING, ServiceState.DELETING}
    for state in set(ServiceState) - ends:
        seen, todo = {state}, [state]
        while todo:
            for following in TRANSITIONS[todo.pop()] - seen:
                seen.add(following)
                todo.append(following)
        assert seen & ends


def test_changes_at_the_same_time_have_revisions_of_their_own(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        first = registry.next_revision(session)

    def bump(_: int) -> int:
        with transaction(sessions) as session:
            return registry.next_revision(session)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bump, range(40)))
    assert sorted(found) == list(range(first + 1, first + 41))
