"""Labels by folder: `prefix/<class>/x.jpg` is labelled `<class>`."""

from __future__ import annotations

SOURCE = "folder"


def label_of(key: str, prefix: str) -> str | None:
    """The first folder below the prefix; None for an image directly under it.

    Deeper folders are the user's own order (`cat/monday/x.jpg` is a `cat`): a tree of classes is rarely
    meant, and a session, a camera or a month often is.
    """
    first, slash, _ = key.removeprefix(prefix).partition("/")
    return first if slash and first else None
