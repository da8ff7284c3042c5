"""The export step: complete the bundle (plots, card, test vectors, manifest last), store it, register it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from backend.db import now
from backend.models import registry as models
from backend.models.card import write_card
from backend.models.tables import Model
from backend.training import records
from backend.version import VERSION
from plugins import answers, bundle, registry
from plugins.contract import Draft, Prediction
from plugins.images import CHECKED, decode
from workers.evaluate import Judgement, open_predictor
from workers.patience import patiently
from workers.prepare import Prepared

if TYPE_CHECKING:
    from workers.train import Attempt

_VECTORS = 3
_VECTOR_SIDE = 256
_LIBRARIES = ("torch", "torchvision", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class Exported:
    """A verified bundle in the object store."""

    manifest: bundle.Manifest
    size: int
    judgement: Judgement


def export(attempt: Attempt, prepared: Prepared, draft: Draft, judgement: Judgement) -> Exported:
    """The whole step; the same attempt may run it again."""
    record, task = attempt.record, attempt.task
    _plots(attempt, prepared, draft, judgement)
    answers.write(draft.folder, judgement.evaluation.answers)
    _test_vectors(attempt, prepared, draft)
    manifest = bundle.Manifest(
        plugin=attempt.plugin.name,
        algorithm=attempt.algorithm.name,
        name=task.name,
        created_at=now().isoformat(timespec="seconds"),
        model=dict(draft.model),
        metrics=dict(judgement.evaluation.metrics),
        details={"evaluated_on": judgement.side, **judgement.evaluation.details},
        base=dict(draft.base),
        facts={
            **draft.facts,
            **_ancestry(prepared, draft),
            "device": prepared.device,
            "trained_seconds": round(record.trained_seconds, 1),
        },
        parameters={
            **asdict(registry.parse_params(attempt.algorithm, task.parameters)),
            "labels": list(task.labels),
            "time_budget": task.time_budget,
        },
        snapshot=prepared.snapshot,
        libraries=_libraries(),
        files={},
    )
    write_card(draft.folder / "model_card.md", manifest, judgement.note)
    complete = bundle.verify(bundle.write(draft.folder, manifest).folder)
    archive = bundle.pack(complete, attempt.folder / "bundle.zip")
    runtime = attempt.runtime
    record.flush()
    bucket, key = runtime.settings.s3_bucket, models.bundle_key(complete.manifest.digest)
    patiently(record, lambda: runtime.artifacts.ensure_bucket(bucket))
    patiently(record, lambda: runtime.artifacts.put_file(bucket, key, archive))
    size = archive.stat().st_size
    record.facts |= {"digest": complete.manifest.digest, "bytes": size, "files": len(complete.manifest.files)}
    record.log(
        f"Bundle {complete.manifest.digest[:12]}: {size / 1e6:.1f} MB, {len(complete.manifest.files)} files"
    )
    return Exported(complete.manifest, size, judgement)


def register(session: Session, attempt: Attempt, exported: Exported) -> Model:
    """The model's row; the caller commits it together with the task's final state."""
    task, manifest = attempt.task, exported.manifest
    model = Model(
        workspace_id=task.workspace_id,
        task_id=task.id,
        dataset_id=task.dataset_id,
        name=task.name,
        plugin=manifest.plugin,
        algorithm=manifest.algorithm,
        digest=manifest.digest,
        size=exported.size,
        labels=list(task.labels),
        metrics=dict(manifest.metrics),
        facts=dict(manifest.facts),
        snapshot=manifest.snapshot,
        worse_than=exported.judgement.worse_than,
        note=exported.judgement.note,
    )
    session.add(model)
    session.flush()
    return model


def _ancestry(prepared: Prepared, draft: Draft) -> Mapping[str, Any]:
    """Of a model that went on from another one: which it was, and the snapshots that one has learned from."""
    previous = prepared.previous
    if previous is None or draft.facts.get("parent") != previous.name:
        return {}
    return {"parent_digest": previous.digest, "lineage": previous.lineage}


def _plots(attempt: Attempt, prepared: Prepared, draft: Draft, judgement: Judgement) -> None:
    with attempt.runtime.sessions() as session:
        rows = records.metrics(session, attempt.task.id, after=0, limit=1_000_000)
    values = [
        {"step": row.step, "epoch": row.epoch, "name": row.name, "value": row.value, "at": row.at.isoformat()}
        for row in rows
    ]
    folder = draft.folder / "plots"
    folder.mkdir(exist_ok=True)
    registry.load(attempt.plugin.illustrator)(judgement.evaluation, values, folder)
    if attempt.plugin.mistakes:
        examples = [example for example in prepared.examples if example.split == judgement.side]
        predictor = open_predictor(attempt.plugin, draft.folder, draft.model, attempt)
        draw = registry.load(attempt.plugin.mistakes)
        draw(judgement.evaluation, examples, prepared.read, predictor, folder)


def _test_vectors(attempt: Attempt, prepared: Prepared, draft: Draft) -> None:
    """A few validation images, small, with the answers that this model gives to exactly these files."""
    folder = draft.folder / "test_vectors"
    folder.mkdir(exist_ok=True)
    predictor = open_predictor(attempt.plugin, draft.folder, draft.model, attempt)
    chosen = [example for example in prepared.examples if example.split == "validation"][:_VECTORS]
    expected = []
    for number, example in enumerate(chosen):
        image = decode(prepared.read(example), wanted_side=_VECTOR_SIDE, limits=CHECKED).image
        image.thumbnail((_VECTOR_SIDE, _VECTOR_SIDE))
        path = folder / f"{number}.png"
        image.save(path)
        decoded = decode(path.read_bytes(), wanted_side=predictor.wanted_side)
        expected.append({"file": path.name, "outputs": _outputs(predictor.predict([decoded])[0])})
    (folder / "expected.json").write_text(json.dumps(expected, indent=1), encoding="utf-8")


def _outputs(prediction: Prediction) -> list[Mapping[str, Any]]:
    return [{k: v for k, v in asdict(output).items() if v is not None} for output in prediction.outputs]


def _libraries() -> dict[str, str]:
    versions = {"sightloop": VERSION}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a plugin may do without it
            continue
    return versions
