"""From the dataset to Label Studio: the project, and an item for every usable image.

Items carry our image's id in `meta`, so that those of a run that was killed between the import and its commit
are found again and nothing is made twice. An item of an image that has left the bucket is deleted when no
person has worked on it, else it is kept and marked in `meta`: Label Studio has no archive.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select, update

from backend.datasets import links
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image, Operation
from backend.datasets.types import plugin_for
from backend.db import now, transaction
from backend.errors import AppError, LabelStudioRefused, NotEnoughData
from backend.label_studio import ml_project, ordering, registry
from backend.label_studio.adopting import adopt, has_work
from backend.label_studio.client import LabelStudio, RemoteProject, connect
from backend.label_studio.following import follow
from backend.label_studio.refreshing import META, data_of, refresh
from backend.label_studio.resending import resend
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import store
from backend.runtime import Runtime
from plugins import registry as plugins

BATCH = 500
ACTIONS = (
    *("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"),
    *("TASKS_DELETED", "PROJECT_UPDATED"),
)


def run(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """Make or update the project and its items; answers the counts and the `url`."""
    studio = connect(runtime.settings)
    try:
        row = ensure_project(runtime, studio, operation.dataset, operation.parameters.get("labels") or ())
        counts = _publish(runtime, studio, row, operation.dataset, progress)
        counts["relabelled"] = resend(runtime, studio, row, operation.dataset, progress, whole=True)
        if registry.has_order(runtime.sessions, operation.dataset_id):
            counts["ranked"] = ordering.show(runtime, studio, row, operation.dataset, progress)
        ml_project.connect(studio, runtime.settings, operation.dataset, row.project)
    finally:
        studio.close()
    follow(runtime, operation.dataset_id)
    return {**counts, "url": registry.url_of(runtime.settings, row)}


def labeling_of(dataset: Dataset) -> Any:
    """The labeling module of the dataset's plugin."""
    return plugins.load(plugin_for(dataset.type).labeling)


# --- the project


def ensure_project(
    runtime: Runtime, studio: LabelStudio, dataset: Dataset, extra: Sequence[str] = ()
) -> LabelingProject:
    """The dataset's project: as it is, of a run that was killed, or a new one when it was deleted there.

    Classes are added, never removed. A configuration that a user has edited is left as it is.
    """
    plugin = plugin_for(dataset.type)
    with runtime.sessions() as session:
        row = registry.project_of(session, dataset.id)
        found = session.scalars(
            select(Image.label)
            .where(Image.dataset_id == dataset.id, Image.state == "present", Image.label.is_not(None))
            .distinct()
        ).all()
    labels = sorted({*(label for label in found if label), *extra})
    if plugin.label_form == "class" and not labels:
        raise NotEnoughData(
            f"dataset {dataset.name!r} has no labels yet: name its classes, `sightloop datasets label "
            f"{dataset.name} --labels a,b`"
        )
    config = labeling_of(dataset).config(labels)
    remote = studio.project(row.project) if row is not None else None
    if remote is None:
        remote = _adopt_or_make(studio, dataset, config)
        row = _remember(runtime, dataset, remote, config)
    elif row is not None and row.config == remote.config and config != remote.config:
        studio.update_project(row.project, label_config=config)
        _set(runtime, row, config=(studio.project(row.project) or remote).config)
    assert row is not None
    _ensure_webhook(runtime, studio, row)
    return row


def _adopt_or_make(studio: LabelStudio, dataset: Dataset, config: str) -> RemoteProject:
    mark = f"[sightloop {dataset.id} {dataset.created_at.isoformat()}]"
    titles = set()
    for project in studio.projects():
        if mark in project.description:
            return studio.project(project.id) or project
        titles.add(project.title)
    wanted = dataset.name if len(dataset.name) >= 3 else f"{dataset.name} (dataset)"
    title, number = wanted, 2
    while title in titles:
        title, number = f"{wanted} ({number})", number + 1
    made = studio.create_project(
        title=title, description=f"Dataset {dataset.name} of Sightloop {mark}", config=config
    )
    return studio.project(made.id) or made


def _remember(runtime: Runtime, dataset: Dataset, remote: RemoteProject, config: str) -> LabelingProject:
    with transaction(runtime.sessions) as session:
        row = registry.project_of(session, dataset.id)
        if row is None:
            row = LabelingProject(dataset_id=dataset.id, project=remote.id)
            session.add(row)
        elif row.project != remote.id:  # the former one was deleted there, with its items
            for item in session.scalars(select(LabelingItem).where(LabelingItem.dataset_id == dataset.id)):
                session.delete(item)
        row.project, row.config, row.webhook, row.ml_backend = remote.id, remote.config or config, None, None
        row.cursor, row.view, row.error, row.others = "", None, "", 0
    return row


def _set(runtime: Runtime, row: LabelingProject, **values: Any) -> None:
    with transaction(runtime.sessions) as session:
        session.execute(update(LabelingProject).where(LabelingProject.id == row.id).values(**values))
    for name, value in values.items():
        setattr(row, name, value)


def _ensure_webhook(runtime: Runtime, studio: LabelStudio, row: LabelingProject) -> None:
    """The hint that something has changed; the secret lies in a header, and no contents are sent."""
    address = f"{runtime.settings.api_url or links.base_url(runtime.settings)}/hooks/label-studio/{row.id}"
    hooks = studio.ask(lambda: studio.sdk.webhooks.list(project=str(row.project)))
    ours = [hook for hook in hooks if hook.url == address]
    if ours and row.webhook == ours[0].id:
        return
    for hook in ours:
        studio.ask(lambda number=hook.id: studio.sdk.webhooks.delete(number))  # type: ignore[misc]
    secret = secrets.token_urlsafe(32)
    made = studio.ask(
        lambda: studio.sdk.webhooks.create(
            url=address,
            project=row.project,
            actions=ACTIONS,
            send_for_all_actions=False,
            send_payload=False,
            headers={registry.SECRET_HEADER: secret},
        ),
        again=False,
    )
    _set(runtime, row, webhook=made.id, webhook_secret_encrypted=runtime.sealer.seal(secret))


# --- its items


def _publish(
    runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset, progress: Progress
) -> dict[str, int]:
    remote = studio.project(row.project)
    counts = {"made": 0, "found": 0, "archived": 0, "renewed": 0, "refused": 0}
    if remote is not None and remote.items:
        counts["found"] = adopt(runtime, studio, row, dataset)
    counts["archived"] = _archive(runtime, studio, row, dataset)
    counts["renewed"] = refresh(runtime, dataset, progress)
    with runtime.sessions() as session:
        missing = list(
            session.scalars(
                select(Image.id)
                .outerjoin(LabelingItem, LabelingItem.image_id == Image.id)
                .where(
                    Image.dataset_id == dataset.id,
                    Image.state == "present",
                    Image.usable,
                    LabelingItem.id.is_(None),
                )
                .order_by(Image.id)
            )
        )
    for start in range(0, len(missing), BATCH):
        if progress.should_stop():
            break
        batch = missing[start : start + BATCH]
        made = _import(runtime, studio, row, dataset, batch)
        counts["made"] += made
        counts["refused"] += len(batch) - made
        progress(start + len(batch), len(missing))
    return counts


def _import(
    runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset, ids: Sequence[int]
) -> int:
    """Import one batch; after an error or a short answer, see what came of it. A batch that is refused is
    halved until the one item that Label Studio does not take stands alone. Answers how many are there now.
    """
    with runtime.sessions() as session:
        images = list(session.scalars(select(Image).where(Image.id.in_(ids)).order_by(Image.id)))
    expires = now() + links.LIFETIME
    items = [_item(runtime, dataset, image, expires) for image in images]
    try:
        made = studio.import_items(row.project, items)
    except LabelStudioRefused:
        if len(images) > 1:
            half = len(ids) // 2
            return sum(_import(runtime, studio, row, dataset, part) for part in (ids[:half], ids[half:]))
        return 0
    except AppError:
        adopt(runtime, studio, row, dataset)
        raise
    if len(made) != len(images):
        return adopt(runtime, studio, row, dataset)
    with transaction(runtime.sessions) as session:
        for image, item in zip(images, made, strict=True):
            session.add(
                LabelingItem(
                    dataset_id=dataset.id,
                    image_id=image.id,
                    item=item,
                    etag=image.etag,
                    link_expires_at=expires,
                    sent=store.fingerprint(store.label_of(image)),
                )
            )
    return len(made)


def _item(runtime: Runtime, dataset: Dataset, image: Image, expires: Any) -> dict[str, Any]:
    label = store.label_of(image)
    item: dict[str, Any] = {
        "data": data_of(runtime.settings, dataset, image, expires),
        "meta": {META: image.id, "etag": image.etag},
    }
    if label is not None:
        width, height = image.regions_size  # Label Studio counts in percent
        result = labeling_of(dataset).result_from_label(label, width=width, height=height)
        # The import id marks it as ours; without the flag Label Studio takes it for ground truth.
        item["annotations"] = [{"id": image.id, "ground_truth": False, "result": result}]
    return item


def _archive(runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset) -> int:
    with runtime.sessions() as session:
        gone = list(
            session.scalars(
                select(LabelingItem)
                .join(Image, Image.id == LabelingItem.image_id)
                .where(
                    LabelingItem.dataset_id == dataset.id,
                    Image.state != "present",
                    LabelingItem.archived.is_(False),
                )
            )
        )
    for batch in _batches(gone, 100):
        there = {int(item["id"]): item for item in studio.items_of(row.project, [g.item for g in batch])}
        sent_at = {each.item: each.sent_at for each in batch}
        kept = {number for number, item in there.items() if has_work(item, sent_at[number])}
        studio.delete_items(row.project, [number for number in there if number not in kept])
        for number in kept:
            studio.update_item(number, meta={**there[number]["meta"], "archived": True})
        with transaction(runtime.sessions) as session:
            for each in batch:
                known = session.get_one(LabelingItem, each.id)
                if each.item in kept:
                    known.archived = True
                else:
                    session.delete(known)
    return len(gone)


def _batches(rows: Sequence[LabelingItem], size: int) -> Iterator[Sequence[LabelingItem]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
