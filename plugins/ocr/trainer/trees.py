"""Gradient boosting of scikit-learn as an ONNX graph, so that a service needs no scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import GradientBoostingClassifier

from plugins.ocr.bases.onnx_graph import IR_VERSION, OPSET

_TREES_DOMAIN, _TREES_OPSET = "ai.onnx.ml", 3


def graph(model: GradientBoostingClassifier) -> bytes:
    """Two classes: `values` (n, features) -> `probabilities` (n, 1) of the second one.

    The sum of all trees and of the first guess, which is the log odds of the classes' frequencies, is put
    through the logistic function (Friedman 2001, Greedy function approximation, algorithm 5).
    """
    trees = [one.tree_ for one in model.estimators_[:, 0]]
    prior = float(np.clip(model.init_.class_prior_[1], 1e-7, 1 - 1e-7))
    nodes = helper.make_graph(
        [
            helper.make_node(
                "TreeEnsembleRegressor",
                ["values"],
                ["sums"],
                domain=_TREES_DOMAIN,
                n_targets=1,
                base_values=[float(np.log(prior / (1 - prior)))],
                **_attributes(trees, float(model.learning_rate)),
            ),
            helper.make_node("Sigmoid", ["sums"], ["probabilities"]),
        ],
        "breaks",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", int(model.n_features_in_)])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 1])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_TREES_DOMAIN, _TREES_OPSET)]
    whole = helper.make_model(nodes, opset_imports=opsets, producer_name="sightloop", ir_version=IR_VERSION)
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString())


def _attributes(trees: list[Any], rate: float) -> dict[str, Any]:
    """The operator's parallel lists: one entry a node, one a leaf."""
    names = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    leaves: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(trees):
        for node in range(tree.node_count):
            left, right = int(tree.children_left[node]), int(tree.children_right[node])
            leaf = left == right  # -1 both
            row = (
                number,
                node,
                0 if leaf else int(tree.feature[node]),
                "LEAF" if leaf else "BRANCH_LEQ",
                0.0 if leaf else float(np.float32(tree.threshold[node])),
                0 if leaf else left,
                0 if leaf else right,
            )
            for name, value in zip(names, row, strict=True):
                nodes[f"nodes_{name}"].append(value)
            if leaf:
                entry = (number, node, 0, rate * float(tree.value[node].flat[0]))
                for name, value in zip(leaves, entry, strict=True):
                    leaves[name].append(value)
    return {**nodes, **leaves}
