"""Every way in which a request can fail, each with its number, its name and its HTTP status.

    bytes --payload--> items --images--> pixels --predictor--> answer
      1001 (413)        1001      1002               2003
    no instance in time: 2002        not foreseen: 2001

The five numbers are the contract with existing clients. Refusals that HTTP has a status for carry that status
as their number. An error is raised where it is noticed and caught once, in `model_server.app`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ServingError(Exception):
    """A request is refused; `detail` is a sentence for the client and must hold nothing secret."""

    code: ClassVar[int]
    name: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON body, without what the edge adds to every answer."""
        return {
            "success": False,
            "errorCode": self.code,
            "errorMsg": self.name,
            "errorDetail": self.detail,
        }


class InputFormatError(ServingError):
    """The request is not what the API accepts."""

    code, name, status = 1001, "INPUT_FORMAT_ERROR", 400


class BodyTooLarge(InputFormatError):
    """More bytes than the service accepts."""

    status = 413


class ImageDecodeError(ServingError):
    """The image is damaged, dangerous, or of a format that is not supported."""

    code, name, status = 1002, "IMAGE_DECODE_ERROR", 400


class UnknownError(ServingError):
    """Something that was not foreseen; the client learns only where to look."""

    code, name, status = 2001, "UNKNOWN_ERROR", 500


class GetInstanceError(ServingError):
    """No instance could take the request in time."""

    code, name, status = 2002, "GET_INSTANCE_ERROR", 503

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class ModelForwardError(ServingError):
    """The model failed on this input."""

    code, name, status = 2003, "MODEL_FORWARD_ERROR", 500


class Unauthorized(ServingError):
    """The token is missing or wrong; both look the same."""

    code, name, status = 401, "UNAUTHORIZED", 401

    def __init__(self) -> None:
        super().__init__("the Authorization header must hold a token of this service")


class NotFound(ServingError):
    """No such address here."""

    code, name, status = 404, "NOT_FOUND", 404


class MethodNotAllowed(ServingError):
    """The address exists, not with this method."""

    code, name, status = 405, "METHOD_NOT_ALLOWED", 405


class TooManyRequests(ServingError):
    """The rate limit of the service is reached."""

    code, name, status = 429, "TOO_MANY_REQUESTS", 429


ALL: tuple[type[ServingError], ...] = (
    InputFormatError,
    BodyTooLarge,
    ImageDecodeError,
    UnknownError,
    GetInstanceError,
    ModelForwardError,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    TooManyRequests,
)
