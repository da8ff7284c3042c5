"""A new service with its first token, and further tokens."""

from __future__ import annotations

from backend.db import transaction
from backend.models import registry as models
from backend.runtime import Runtime
from backend.services import registry, tokens
from backend.services.tokens import NewToken


def deploy(
    runtime: Runtime,
    workspace_id: int,
    *,
    name: str,
    model: str,
    instances: int = 1,
    quota: int = 1,
    rate_limit: int = 0,
) -> NewToken:
    """Deploy the model of that name; its service's first token. Raises `NotFound` and what `create` does."""
    with transaction(runtime.sessions) as session:
        chosen = models.get(session, workspace_id, model)
        service = registry.create(
            session, chosen, name, instances=instances, quota=quota, rate_limit=rate_limit
        )
        return tokens.issue(session, runtime.sealer, service)


def add_token(runtime: Runtime, workspace_id: int, name: str) -> NewToken:
    """Another token of the service, valid on every instance within a second. Raises `NotFound`."""
    with transaction(runtime.sessions) as session:
        service = registry.get(session, workspace_id, name)
        made = tokens.issue(session, runtime.sealer, service)
        service.revision = registry.next_revision(session)
    return made
