"""Label Studio as a program of the stack: run by Label Studio's own Python, it imports nothing of ours.

`python -P labelserver.py serve --bind 127.0.0.1:8710` does what `label-studio start` does, and differs in
what a supervised server needs: it listens on the port it is told or ends (`label-studio start` moves on to
the next free one), it is waitress with a bounded number of threads instead of Django's development server, a
new database is the copy of a template that was migrated at set-up (which takes up to a minute), and the
first user's API token is the one it is told after every start. `python -P labelserver.py template` makes
that template.

It reads LABEL_STUDIO_USERNAME, LABEL_STUDIO_PASSWORD, LABEL_STUDIO_USER_TOKEN, LABEL_STUDIO_BASE_DATA_DIR
and what else Label Studio reads with that prefix. Names without it, such as HOST or DEBUG, are not for it.
"""
# What this imports is installed in Label Studio's environment, not in ours.
# mypy: disable-error-code="import-not-found, import-untyped, misc"

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

_DATABASE = "label_studio.sqlite3"
_THREADS = 16
_LARGEST_REQUEST = 260 * 1024**2
# What a process needs of its surroundings. Label Studio would also take HOST, PORT, DEBUG, SECRET_KEY and
# some 160 more names from there, which a shell sets for other programs.
_NEEDED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_NEEDED_STARTS = ("LABEL_STUDIO_", "LC_", "SIGHTLOOP_SUPERVISOR_")
_NEEDED_ENDS = ("_PROXY", "_proxy")
_EVERYWHERE = ("", "0.0.0.0", "::")
# Nothing is sent to anybody: no usage, no errors, no question for newer versions.
_SILENT = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


def main(arguments: list[str]) -> None:
    """`serve --bind HOST:PORT` runs until it is told to stop, `template` makes the template."""
    parser = argparse.ArgumentParser(prog="labelserver")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve").add_argument("--bind", required=True)
    verbs.add_parser("template")
    chosen = parser.parse_args(arguments)
    _clean_environment()
    _ask_directly(getattr(chosen, "bind", ""))
    if chosen.verb == "template":
        make_template(template())
    else:
        serve(chosen.bind)


def _clean_environment() -> None:
    for name in list(os.environ):
        if name not in _NEEDED and not name.startswith(_NEEDED_STARTS) and not name.endswith(_NEEDED_ENDS):
            del os.environ[name]
    os.environ.update({f"LABEL_STUDIO_{name}": value for name, value in _SILENT.items()})
    os.environ["DJANGO_DB"] = os.environ.get("LABEL_STUDIO_DJANGO_DB", "sqlite")
    # Read without the prefix; Label Studio would otherwise make a key of its own in its data folder.
    if key := os.environ.pop("LABEL_STUDIO_SECRET_KEY", ""):
        os.environ["SECRET_KEY"] = key


def _ask_directly(bind: str) -> None:
    """The API and the ML backend, which get secrets with every call, are asked past any proxy."""
    host = bind.rpartition(":")[0].strip("[]")
    own = dict.fromkeys(["127.0.0.1", "localhost", "::1", *([host] if host not in _EVERYWHERE else [])])
    # Where both are set, the one in small letters counts.
    told = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if told.strip() != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join([*([told] if told else []), *own])


def template() -> Path:
    """Where the migrated, empty database of this version of Label Studio lies, in its virtual environment."""
    return Path(sys.prefix, "share", "sightloop", f"label-studio-{version('label-studio')}.sqlite3")


def make_template(path: Path) -> None:
    """Migrate an empty database and put it at `path`; does nothing when it is there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        os.environ["LABEL_STUDIO_BASE_DATA_DIR"] = folder
        _set_up()
        from django.db import connections  # noqa: PLC0415 - only after Django is set up

        connections["default"].cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connections.close_all()
        Path(folder, _DATABASE).replace(path)


def serve(bind: str) -> None:
    """Migrate, make the first user, listen. Ends with an error when something else listens there."""
    import waitress  # noqa: PLC0415 - making a template needs no server

    host, _, port = bind.rpartition(":")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())  # waitress lets requests end first
    server = waitress.create_server(
        application(port),
        host=host.strip("[]"),
        port=int(port),
        threads=_THREADS,
        max_request_body_size=_LARGEST_REQUEST,
        ident=None,
    )
    sys.stderr.write(f"Label Studio {version('label-studio')} listens on {bind}\n")
    server.run()


def application(port: str) -> Any:
    """Label Studio's WSGI application, with its database migrated and its first user there."""
    data = Path(os.environ["LABEL_STUDIO_BASE_DATA_DIR"])
    if not (data / _DATABASE).exists() and template().exists():
        part = data / f".{_DATABASE}.part"
        shutil.copyfile(template(), part)
        part.replace(data / _DATABASE)
    app = _set_up()
    from django.conf import settings  # noqa: PLC0415 - only after Django is set up
    from django.db import connections  # noqa: PLC0415

    # By which it calls itself when it speaks to an ML backend; `label-studio start` sets it too.
    settings.INTERNAL_PORT = port
    _ensure_user()
    connections.close_all()  # of this thread, which serves nothing
    return app


def _set_up() -> Any:
    """Set Django up and migrate the database; the WSGI application."""
    from label_studio import server  # noqa: PLC0415 - takes seconds

    server._setup_env()
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415
    from django.db import connections  # noqa: PLC0415

    options = connections.databases["default"].setdefault("OPTIONS", {})
    if connections["default"].vendor == "sqlite":
        # Readers beside the one writer, and a writer that waits for its turn instead of failing.
        options.update(timeout=20, transaction_mode="IMMEDIATE", init_command="PRAGMA journal_mode=WAL")
    server._apply_database_migrations()
    return get_wsgi_application()


def _ensure_user() -> None:
    """The first user is there and has the token, also where an older start or a click gave it another."""
    from organizations.models import Organization  # noqa: PLC0415 - Label Studio's, once it is set up
    from rest_framework.authtoken.models import Token  # noqa: PLC0415
    from users.models import User  # noqa: PLC0415

    name, key = os.environ["LABEL_STUDIO_USERNAME"], os.environ["LABEL_STUDIO_USER_TOKEN"]
    user = User.objects.filter(email=name).first()
    if user is None:
        user = User.objects.create_user(email=name, password=os.environ["LABEL_STUDIO_PASSWORD"])
        user.is_staff = user.is_superuser = True
        user.save()
    organization = Organization.objects.first()
    if organization is None:
        organization = Organization.create_organization(
            created_by=user, title="Sightloop", legacy_api_tokens_enabled=True
        )
    elif not organization.has_user(user):
        organization.add_user(user)
    if user.active_organization_id is None:
        user.active_organization = organization
        user.save(update_fields=["active_organization"])
    if not Token.objects.filter(user=user, key=key).exists():
        Token.objects.filter(user=user).delete()
        Token.objects.create(user=user, key=key)


if __name__ == "__main__":
    main(sys.argv[1:])
