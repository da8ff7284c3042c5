"""What the numbers of a model mean, as its plugin says."""

from __future__ import annotations

from plugins import registry
from plugins.contract import Metric, Plugin, PluginError


def headline(plugin: str) -> str:
    """The metric that ranks the plugin's models; empty for a plugin that is not installed here any more."""
    found = _plugin(plugin)
    return "" if found is None else found.headline


def explains(plugin: str) -> bool:
    """Whether services of the plugin's models can show where in an image the evidence for an answer is."""
    found = _plugin(plugin)
    return found is not None and found.explains


def metric(plugin: str, name: str) -> Metric:
    """What is known of a metric. Of one that nobody describes only the headline is known to be better when
    it is higher.
    """
    found = _plugin(plugin)
    described = {one.name: one for one in found.metrics} if found is not None else {}
    ranks = found is not None and name == found.headline
    return described.get(name, Metric(name, "", "higher" if ranks else "neither"))


def _plugin(name: str) -> Plugin | None:
    try:
        return registry.plugin(name)
    except PluginError:
        return None
