"""What a dataset's type says of it: the plugin that learns from it, and the form of its labels."""

from __future__ import annotations

from backend.errors import UnknownAlgorithm
from plugins import registry
from plugins.contract import Plugin, PluginError


def plugin_for(dataset_type: str) -> Plugin:
    """The plugin for datasets of that type. Raises `UnknownAlgorithm` where it is not installed any more."""
    try:
        return registry.plugin_for_type(dataset_type)
    except PluginError as error:
        raise UnknownAlgorithm(f"{error}; install the plugin again that this dataset was made for") from None


def has_classes(dataset_type: str) -> bool:
    """Whether a label is a class, which a folder's name can give too, rather than regions with their text."""
    return plugin_for(dataset_type).label_form == "class"
