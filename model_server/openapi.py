"""The OpenAPI 3.1 document of one service."""

from __future__ import annotations

from typing import Any

from model_server.config import ServiceConfig
from model_server.errors import ALL, ServingError
from model_server.payload import DEFAULT_TOP_K, MAX_TOP_K

_RESULT = {
    "type": "object",
    "required": ["output", "meta"],
    "properties": {
        "output": {"type": "array", "items": {"$ref": "#/components/schemas/Output"}},
        "meta": {
            "type": "object",
            "required": ["height", "width"],
            "properties": {"height": {"type": "integer"}, "width": {"type": "integer"}},
        },
        "decision": {"$ref": "#/components/schemas/Decision"},
        "evidence": {"$ref": "#/components/schemas/Evidence"},
    },
}
_DECISION = {
    "type": "object",
    "description": "What to do with the answer; only of models that have learned thresholds.",
    "required": ["label", "reason"],
    "properties": {
        "label": {"type": ["string", "null"], "description": "Act on this class; null: on none of them."},
        "reason": {
            "enum": ["", "not_sure", "unlike_training"],
            "description": "Empty with a class. `not_sure`: no class is likely enough. `unlike_training`: "
            "the image is not like those that the model has learned from.",
        },
    },
}
_EVIDENCE = {
    "type": "object",
    "description": "Where in the image the model found what speaks for a class; only with `explain=true`.",
    "required": ["label", "grid", "peak"],
    "properties": {
        "label": {"type": "string", "description": "The class, the first of `output`."},
        "grid": {
            "type": "array",
            "description": "Rows from top to bottom, laid evenly over the whole upright image. Above 0 the "
            "place speaks for the class, below 0 against it; the place that says most has 1 or -1.",
            "items": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}},
        },
        "peak": {
            "type": "number",
            "minimum": 0,
            "description": "What 1 in the grid stands for, in natural logarithms of odds: multiply by it to "
            "compare images.",
        },
    },
}
_OUTPUT = {
    "type": "object",
    "required": ["label", "conf"],
    "properties": {
        "label": {"type": "string", "description": "A class, or the text that was read."},
        "conf": {"type": "number", "minimum": 0, "maximum": 1},
        "pos": {
            "type": "array",
            "description": "Upper left, upper right, lower right, lower left, as fractions of the image.",
            "minItems": 4,
            "maxItems": 4,
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        },
    },
}
_REQUEST = {
    "type": "object",
    "required": ["dataArray"],
    "properties": {
        "dataArray": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["body"],
                "properties": {
                    "name": {"type": "string", "default": "image"},
                    "type": {"type": "string", "enum": ["stream"], "default": "stream"},
                    "body": {
                        "type": "string",
                        "minLength": 1,
                        "contentEncoding": "base64",
                        "description": "A JPEG, PNG, BMP or WEBP image.",
                    },
                },
            },
        }
    },
}


def document(config: ServiceConfig) -> dict[str, Any]:
    """What the service accepts and answers."""
    return {
        "openapi": "3.1.0",
        "info": {"title": config.name, "version": config.digest[:12]},
        "paths": {
            f"/api/predict/{config.name}": {"post": _predict(config)},
            **_views(),
        },
        "components": {
            "schemas": {
                "Request": _request(config.max_images),
                "Output": _OUTPUT,
                "Result": _RESULT,
                "Decision": _DECISION,
                "Evidence": _EVIDENCE,
                "Answer": _answer(),
                "Error": _error(),
            },
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The token, `Bearer <token>`, or `EAS <signature>`.",
                }
            },
        },
    }


def _predict(config: ServiceConfig) -> dict[str, Any]:
    return {
        "operationId": "predict",
        "summary": f"Ask {config.model} about one or several images",
        "security": [{"token": []}],
        "parameters": [
            {
                "name": "top_k",
                "in": "query",
                "description": "How many classes to answer.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TOP_K, "default": DEFAULT_TOP_K},
            },
            {
                "name": "explain",
                "in": "query",
                "description": "Whether to add `evidence`; refused with 1001 by models that cannot.",
                "schema": {"type": "boolean", "default": False},
            },
        ],
        "requestBody": {"required": True, "content": _content("Request")},
        "responses": {
            "200": {"description": "At least one image was answered.", "content": _content("Answer")},
            **_refusals(),
        },
    }


def _views() -> dict[str, Any]:
    """What a service says of itself."""
    health = _view("Yes.", "application/json", {"type": "object"})
    lines = {"type": "object", "properties": {"lines": {"type": "array", "items": {"type": "string"}}}}
    return {
        "/health/live": {"get": {"summary": "Whether the process runs", "responses": health}},
        "/health/ready": {"get": {"summary": "Whether it can answer", "responses": health}},
        "/metrics": {
            "get": {
                "summary": "Requests, times and instances, for Prometheus",
                "responses": _view("Measurements.", "text/plain", {"type": "string"}),
            }
        },
        "/log": {
            "get": {
                "summary": "The last lines of the log, for the backend's token alone",
                "security": [{"token": []}],
                "responses": {**_view("Lines.", "application/json", lines), "401": _refusals()["401"]},
            }
        },
        "/openapi.json": {
            "get": {
                "summary": "This document",
                "responses": _view("OpenAPI 3.1.", "application/json", {"type": "object"}),
            }
        },
    }


def _view(description: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": description, "content": {kind: {"schema": schema}}}}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _refusals() -> dict[str, Any]:
    by_status: dict[int, list[type[ServingError]]] = {}
    for kind in ALL:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": " ".join(f"{kind.code} {kind.name}: {kind.__doc__}" for kind in kinds),
            "content": _content("Error"),
        }
        for status, kinds in sorted(by_status.items())
    }


def _request(max_images: int) -> dict[str, Any]:
    data_array = {**_REQUEST["properties"]["dataArray"], "maxItems": max_images}  # type: ignore[index]
    return {**_REQUEST, "properties": {"dataArray": data_array}}


def _extras() -> dict[str, Any]:
    return {
        "success": {"type": "boolean"},
        "requestId": {"type": "string"},
        "model": {"type": "string"},
        "results": {"type": "array", "description": "Of several images: one entry an image, in order."},
    }


def _answer() -> dict[str, Any]:
    properties = {**_extras(), "result": {"$ref": "#/components/schemas/Result"}}
    return {"type": "object", "required": ["success", "requestId", "model"], "properties": properties}


def _error() -> dict[str, Any]:
    properties = {
        **_extras(),
        "errorCode": {"type": "integer", "enum": sorted({kind.code for kind in ALL})},
        "errorMsg": {"type": "string", "enum": sorted({kind.name for kind in ALL})},
        "errorDetail": {"type": "string"},
    }
    required = ["success", "errorCode", "errorMsg", "errorDetail", "requestId", "model"]
    return {"type": "object", "required": required, "properties": properties}
