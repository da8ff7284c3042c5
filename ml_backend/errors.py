"""The ways in which a whole call is refused; what concerns one item is said in its prediction instead."""

from __future__ import annotations

from typing import Any, ClassVar


class Refusal(Exception):
    """A call is refused; the message is a sentence for whoever reads Label Studio's log."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def body(self) -> dict[str, Any]:
        """The JSON answer. Label Studio itself looks only at the status."""
        return {"error": str(self), "code": self.code}


class WrongPassword(Refusal):
    """No Basic auth, or not that of this dataset; an unknown dataset looks the same."""

    code, status = "unauthenticated", 401

    def __init__(self) -> None:
        super().__init__(
            "user and password of this ML backend are those that Sightloop gave its Label Studio project; "
            "`sightloop datasets label NAME` renews them"
        )


class UnknownDataset(Refusal):
    """The dataset was deleted."""

    code, status = "not_found", 404


class NotLabelStudio(Refusal):
    """The body is not what Label Studio sends."""

    code, status = "malformed_body", 400


class CannotTrain(Refusal):
    """Label Studio's button "Start training"."""

    code, status = "wrong_state", 409
