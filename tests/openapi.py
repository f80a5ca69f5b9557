"""Checks requests and replies against the official OpenAPI document of Pinterest (5.23).

The document lies beside the repository where it is being developed (`../shared`). Where it does
not, `AVAILABLE` is false and nothing is ever found wrong.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft4Validator

DOCUMENT = Path(__file__).resolve().parents[1].parent / "shared" / "pinterest-openapi.json"
AVAILABLE = DOCUMENT.exists()
# Fields and filters of 5.28, which the document does not know yet (API facts section 8).
_NEWER = {"records_v2", "is_nca", "exclude_nca"}


def problems(
    method: str, path: str, status: int, request_body: Any, response_body: Any
) -> list[str]:
    """What is wrong with one exchange, in words; empty when nothing is.

    `path` may be a whole URL or start with /v5, and may carry a query. Bodies are parsed JSON (a
    form as a dict); None stands for no body. The request is judged only if the reply is a 2xx.
    """
    if not AVAILABLE:
        return []
    url = urlsplit(path)
    operation = _operation(method, url.path.removeprefix("/v5"))
    if operation is None:
        return [f"no such operation: {method} {url.path}"]
    found = [f"reply: {each}" for each in _wrong(_reply_schema(operation, status), response_body)]
    if status < 300:
        found += _wrong_query(operation, dict(parse_qsl(url.query)))
        found += [f"request: {each}" for each in _wrong_request(operation, request_body)]
    return found


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = _plain(json.loads(DOCUMENT.read_text()))
    return document


def _plain(node: Any) -> Any:
    """`nullable` is OpenAPI's own word; JSON Schema says the same with a list of types."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _plain(value) for key, value in node.items()}
    if plain.get("nullable") is True and "type" in plain:
        plain["type"] = [plain["type"], "null"]
        if "enum" in plain:
            plain["enum"] = [*plain["enum"], None]
    return plain


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in _document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", r"[0-9]{1,18}", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


def _reply_schema(operation: dict[str, Any], status: int) -> dict[str, Any]:
    # Newer releases declare 201 for creates, with the same content.
    responses = operation["responses"]
    declared = responses.get("200" if status == 201 else str(status), responses["default"])
    schema: dict[str, Any] = declared["content"]["application/json"]["schema"]
    return schema


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = _document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _chosen(schema: dict[str, Any], body: Any) -> dict[str, Any]:
    """The variant that a discriminator picks, or the schema itself."""
    schema = _resolved(schema)
    discriminator = schema.get("discriminator")
    if discriminator and isinstance(body, dict):
        variant = discriminator["mapping"].get(body.get(discriminator["propertyName"]))
        return _resolved({"$ref": variant}) if variant else schema
    return schema


def _wrong(schema: dict[str, Any], body: Any) -> list[str]:
    whole = {"allOf": [_chosen(schema, body)], "components": _document()["components"]}
    return [
        f"{'/'.join(map(str, error.absolute_path)) or 'body'}: {error.message}"
        for error in Draft4Validator(whole).iter_errors(body)
    ]


def _wrong_request(operation: dict[str, Any], body: Any) -> list[str]:
    declared = operation.get("requestBody")
    if declared is None:
        return [] if body is None else ["there should be no body"]
    (content,) = declared["content"].values()
    found = _wrong(content["schema"], body)
    if isinstance(body, dict):
        unknown = body.keys() - _property_names(_chosen(content["schema"], body)) - _NEWER
        found += [f"unknown field {name}" for name in sorted(unknown)]
    return found


def _property_names(schema: dict[str, Any]) -> set[str]:
    schema = _resolved(schema)
    names = set(schema.get("properties", ()))
    return names.union(*(_property_names(part) for part in schema.get("allOf", ())))


def _wrong_query(operation: dict[str, Any], query: dict[str, str]) -> list[str]:
    shared = _document()["components"]["parameters"]
    parameters = [
        shared[each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        for each in operation.get("parameters", ())
    ]
    schemas = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
    found = []
    for name, value in query.items():
        if name in schemas:
            typed = int(value) if schemas[name].get("type") == "integer" else value
            found += [f"query {name}: {each}" for each in _wrong(schemas[name], typed)]
        elif name not in _NEWER:
            found.append(f"query: unknown parameter {name}")
    return found
