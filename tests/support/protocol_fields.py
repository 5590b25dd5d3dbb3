"""Fields of the websocket's messages as a flat table, by which a version of the protocol is frozen and compared.

``python -m tests.support.protocol_fields`` adds messages, fields and values that the frozen version 1 does not have yet;
it never takes one away or changes one. Examples of new messages are written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mindwire.api.asyncapi import document

FROZEN = Path(__file__).parents[1] / "mindwire" / "api" / "protocol_v1.json"
TAKEN = "ClockQuestion"  # the one message that clients send


def fields(described: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each message and each kind of event: path of a field → its types, if it is required, and its values if they are few.

    ``[]`` in a path is an item of a list, ``*`` any name.
    """
    schemas = described["components"]["schemas"]
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for name, message in described["components"]["messages"].items():
        payload = message["payload"]
        tables[name] = {}
        _enter(tables[name], "", payload, schemas, required=True)
        if name == "EventMessage":
            for rule in _resolved(payload, schemas)["allOf"]:
                kind = rule["if"]["properties"]["kind"]["const"]
                _enter(
                    tables.setdefault(f"{name}/{kind}", {}),
                    "data",
                    rule["then"]["properties"]["data"],
                    schemas,
                    required=True,
                )
    return tables


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _enter(
    table: dict[str, dict[str, Any]], path: str, schema: dict[str, Any], schemas: dict[str, Any], *, required: bool
) -> None:
    """Enter a field and those within it; of alternatives the types are joined."""
    options = schema.get("anyOf", schema.get("oneOf")) if "$ref" not in schema else None
    if options is None and "$ref" in schema:
        schema = _resolved(schema, schemas)
        options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        for option in options:
            _enter(table, path, option, schemas, required=required)
        return
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    kind = schema.get("type") or ("any" if values is None else _type_of(values[0]))
    entry = table.setdefault(path, {"types": [], "required": required})
    entry["types"] = sorted({*entry["types"], kind})
    if values is not None:
        entry["values"] = sorted({*entry.get("values", []), *values}, key=str)
    for name, part in schema.get("properties", {}).items():
        _enter(table, f"{path}.{name}".lstrip("."), part, schemas, required=name in schema.get("required", ()))
    if isinstance(schema.get("items"), dict):
        _enter(table, f"{path}[]", schema["items"], schemas, required=True)
    if isinstance(schema.get("additionalProperties"), dict):
        _enter(table, f"{path}.*", schema["additionalProperties"], schemas, required=True)


def _type_of(value: object) -> str:
    return {bool: "boolean", int: "integer", str: "string"}.get(type(value), "any")


def breaks(frozen: dict[str, Any], described: dict[str, Any]) -> list[str]:
    """What a document takes away or changes of a frozen version, as sentences.

    Parameters
    ----------
    frozen : dict
        ``fields`` of the frozen version.
    described : dict
        AsyncAPI document.
    """
    now, found = fields(described), []
    for message, table in frozen.items():
        if message not in now:
            found.append(f"{message} is no longer there.")
            continue
        for path, before in table.items():
            place = f"{message}: {path or 'the message'}"
            after = now[message].get(path)
            if after is None:
                found.append(f"{place} is no longer there.")
                continue
            if after["types"] != before["types"]:
                found.append(f"{place} is {' or '.join(after['types'])}, but was {' or '.join(before['types'])}.")
            if before["required"] and not after["required"]:
                found.append(f"{place} may be left out, but was always there.")
            if missing := [value for value in before.get("values", ()) if value not in after.get("values", [value])]:
                found.append(f"{place} no longer has {', '.join(map(str, missing))}.")
    for path, after in now.get(TAKEN, {}).items() if TAKEN in frozen else ():
        before = frozen[TAKEN].get(path, {"required": False})
        if after["required"] and not before["required"]:
            found.append(f"{TAKEN}: {path} is demanded of clients, but was not.")
    return found


def grown(frozen: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """The frozen fields with what a document adds to them."""
    now = fields(described)
    for message, table in now.items():
        kept = frozen.setdefault(message, {})
        for path, after in table.items():
            before = kept.setdefault(path, after)
            if "values" in before:
                before["values"] = sorted({*before["values"], *after.get("values", [])}, key=str)
    return frozen


def main() -> None:
    version = json.loads(FROZEN.read_text(encoding="utf-8")) if FROZEN.exists() else {"fields": {}, "examples": {}}
    if found := breaks(version["fields"], document()):
        raise SystemExit("\n".join(found))
    version["fields"] = grown(version["fields"], document())
    lines = ",\n".join(
        f"    {json.dumps(message)}: {{\n"
        + ",\n".join(f"      {json.dumps(path)}: {json.dumps(entry)}" for path, entry in table.items())
        + "\n    }"
        for message, table in version["fields"].items()
    )
    examples = ",\n".join(
        f"    {json.dumps(message)}: [\n"
        + ",\n".join(f"      {json.dumps(one, ensure_ascii=False)}" for one in some)
        + "\n    ]"
        for message, some in version["examples"].items()
    )
    text = f'{{\n  "version": 1,\n  "fields": {{\n{lines}\n  }},\n  "examples": {{\n{examples}\n  }}\n}}\n'
    FROZEN.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
