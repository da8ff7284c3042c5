"""Every way in which Sightloop says no: one class an outcome, with a stable code and an HTTP status.

The edge (the REST API, a job, the command line) catches `AppError` once and turns it into its own form.
The message is one sentence that says what is wrong and how to mend it.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """Something that was not foreseen; the log has it under the request id.

    The base of all others. `code` is stable and may be relied on; the wording of the message may change.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"


class InvalidRequest(AppError):
    """A field is missing, of the wrong type or out of range."""

    code, status, title = "invalid_request", 422, "The request is not valid"


class MalformedBody(AppError):
    """The body is not the JSON object that was expected."""

    code, status, title = "malformed_body", 400, "The body cannot be read"


class Unauthenticated(AppError):
    """No token, or one that is wrong, expired or revoked; a wrong name or password."""

    code, status, title = "unauthenticated", 401, "A valid token is needed"


class Forbidden(AppError):
    """It is known who asks, and the role may not do this."""

    code, status, title = "forbidden", 403, "Your role may not do that"


class TooManyAttempts(AppError):
    """A password was wrong too often within a minute."""

    code, status, title = "too_many_attempts", 429, "Too many attempts"


class NotFound(AppError):
    """There is no such thing in this workspace."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(AppError):
    """The address exists and knows other methods."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class NameTaken(AppError):
    """Names are unique in a workspace."""

    code, status, title = "name_taken", 409, "The name is taken"


class WrongState(AppError):
    """The thing exists, and in its present state this cannot be done to it."""

    code, status, title = "wrong_state", 409, "Not possible in this state"


class InUse(AppError):
    """Something else still needs it."""

    code, status, title = "in_use", 409, "Still in use"


class TooLarge(AppError):
    """The body is larger than the API reads."""

    code, status, title = "too_large", 413, "Too large"


class NotEnoughData(AppError):
    """The dataset cannot be trained on: too few images, labels or classes."""

    code, status, title = "not_enough_data", 422, "The dataset cannot be trained on"


class UnknownAlgorithm(AppError):
    """No plugin offers that algorithm for this type of dataset."""

    code, status, title = "unknown_algorithm", 422, "Unknown algorithm"


class NoSuchDevice(AppError):
    """There are GPUs, and none of the type that was asked for."""

    code, status, title = "no_such_device", 422, "No such GPU"


class InsufficientResources(AppError):
    """The quota of one instance is more than the cores or the memory of this machine."""

    code, status, title = "insufficient_resources", 422, "Not enough resources"


class ServiceUnreachable(AppError):
    """A deployed service does not answer the backend."""

    code, status, title = "service_unreachable", 502, "The service cannot be reached"


class StorageUnreachable(AppError):
    """The object store does not answer."""

    code, status, title = "storage_unreachable", 502, "The object store cannot be reached"


class StorageDenied(AppError):
    """The object store refuses the credentials or the action."""

    code, status, title = "storage_denied", 422, "The object store refuses"


class BucketMissing(AppError):
    """There is no such bucket."""

    code, status, title = "bucket_missing", 422, "No such bucket"


class ObjectMissing(AppError):
    """There is no such object."""

    code, status, title = "object_missing", 404, "No such object"


class StorageFull(AppError):
    """The object store or the local disk has no room."""

    code, status, title = "storage_full", 507, "No room left"


class QueueUnavailable(AppError):
    """Valkey or Redis does not answer."""

    code, status, title = "queue_unavailable", 503, "The queue cannot be reached"


class ModelInvalid(AppError):
    """A model bundle is incomplete, changed, or holds what it must not."""

    code, status, title = "model_invalid", 422, "The model bundle is not valid"


class WorkerLost(AppError):
    """Every attempt lost its worker."""

    code, status, title = "worker_lost", 500, "The worker was lost"


class LinkExpired(AppError):
    """A signed link has expired or was revoked, or what it led to is gone."""

    code, status, title = "link_expired", 410, "The link leads nowhere any more"


class UnsupportedImage(AppError):
    """The object is no image of a format that Sightloop reads."""

    code, status, title = "unsupported_image", 415, "Not an image"


class TooManyRequests(AppError):
    """More was asked for than is answered at a time."""

    code, status, title = "too_many_requests", 429, "Too many requests"

    def __init__(self, message: str, retry_after: int) -> None:
        """`retry_after`: seconds, at least 1, after which another try is worth it."""
        super().__init__(message)
        self.retry_after = retry_after


class LabelStudioMissing(AppError):
    """No Label Studio is set up for this stack."""

    code, status, title = "label_studio_missing", 409, "There is no Label Studio"


class LabelStudioUnreachable(AppError):
    """Label Studio does not answer."""

    code, status, title = "label_studio_unreachable", 502, "Label Studio cannot be reached"


class LabelStudioDenied(AppError):
    """Label Studio refuses the token."""

    code, status, title = "label_studio_denied", 502, "Label Studio refuses the token"


class LabelStudioRefused(AppError):
    """Label Studio answers, and not what was expected."""

    code, status, title = "label_studio_refused", 502, "Label Studio refuses"


ALL: tuple[type[AppError], ...] = (AppError, *AppError.__subclasses__())
