"""Every table in one place: importing this module fills `Base.metadata` (migrations and tests need it)."""

from backend.accounts import tables as accounts
from backend.datasets import tables as datasets
from backend.label_studio import tables as label_studio
from backend.labels import tables as labels
from backend.models import tables as models
from backend.services import tables as services
from backend.training import tables as training
from backend.trials import tables as trials
from backend.workspaces import tables as workspaces

__all__ = [
    "accounts",
    "datasets",
    "label_studio",
    "labels",
    "models",
    "services",
    "training",
    "trials",
    "workspaces",
]
