"""How Label Studio reaches the ML backend: one address and one password a dataset.

The passwords are derived, so that the API, the workers and the ML backend agree on them without a table, and
what one dataset's project knows opens no other dataset.
"""

from __future__ import annotations

import hmac

from backend.datasets.tables import Dataset
from backend.settings import Settings


def address(settings: Settings, dataset: Dataset) -> str:
    """The ML backend's URL for a dataset, as Label Studio is told it; empty when there is no ML backend."""
    return f"{settings.ml_backend_url}/d/{dataset.id}" if settings.ml_backend_url else ""


def password(settings: Settings, dataset_id: int, user: str) -> str:
    """The Basic auth password of `user`, the dataset's name, for the address of a dataset (64 hex digits)."""
    message = f"ml-backend/{dataset_id}/{user}".encode()
    return hmac.digest(settings.ml_backend_token.encode(), message, "sha256").hex()


def admits(settings: Settings, dataset_id: int, user: str, given: str) -> bool:
    """Whether that is the password, compared in constant time; never without a secret to derive it from."""
    expected = password(settings, dataset_id, user)
    return bool(settings.ml_backend_token) and hmac.compare_digest(expected.encode(), given.encode())
