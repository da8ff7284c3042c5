"""What can go wrong on the command line's own side: one class an outcome, each said in one sentence."""

from __future__ import annotations

from backend.errors import AppError


class StackError(AppError):
    """The embedded stack cannot do what it was asked."""

    code, status, title = "stack", 500, "The stack cannot do that"


class DataDirUnusable(StackError):
    """The data directory is not ours, not private or has a name that programs cannot take."""

    code, title = "data_dir_unusable", "The data directory cannot be used"


class PortTaken(StackError):
    """Another program listens on a port of the plan."""

    code, title = "port_taken", "The port is taken"


class ProgramMissing(StackError):
    """A program that the stack runs is not installed."""

    code, title = "program_missing", "A program is missing"


class StartFailed(StackError):
    """A program of the stack does not start or does not answer in time."""

    code, title = "start_failed", "The stack does not start"


class StopFailed(StackError):
    """A program of the stack is still there after it was told to stop."""

    code, title = "stop_failed", "The stack does not stop"


class Unreachable(StackError):
    """The API did not finish an answer."""

    code, title = "unreachable", "The API broke off"


class NotRunning(Unreachable):
    """No API answers."""

    code, title = "not_running", "Sightloop is not running"


class Refused(AppError):
    """The REST API said no; the code is the API's."""

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.answer_code = code
        self.answer_status = status


class OperationFailed(AppError):
    """What was asked for ran, and failed."""

    code, status, title = "operation_failed", 500, "The operation failed"


class BadInput(AppError):
    """A file or value on this machine cannot be used."""

    code, status, title = "bad_input", 422, "The input cannot be used"
