"""helm/README.md: the text is written by hand, the tables between markers are made from values.yaml and the code."""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from helm.generate import switcher_file
from helm.generate.models_file import sections
from helm.generate.values import VALUES, Parameter, parameters

Json = dict[str, Any]
Value = Any
README = VALUES.with_name("README.md")
_LONGEST_DEFAULT = 60


def files() -> dict[str, str]:
    """The README with its tables made anew."""
    text = README.read_text(encoding="utf-8")
    text = replaced(text, "models", models_table())
    text = replaced(text, "switcher", switcher_table())
    return {"README.md": replaced(text, "values", values_tables(VALUES.read_text(encoding="utf-8")))}


def replaced(text: str, name: str, table: str) -> str:
    """The text with what stands between the two markers of this name exchanged. Raises ValueError without them."""
    start, end = f"<!-- {name}: generated -->\n", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"helm/README.md: write {start.strip()} and {end} once each, where the table is to stand")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"


def values_tables(values_text: str) -> str:
    """One table for each section of values.yaml."""
    blocks = []
    for section, group in groupby(parameters(values_text), key=lambda parameter: parameter.section):
        lines = [f"### {section}\n"] if section else []
        lines += ["| Value | What it does | Default |", "| --- | --- | --- |", *map(_row, group)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _row(parameter: Parameter) -> str:
    said = parameter.description
    if parameter.choices:
        said += f" One of {', '.join(f'`{choice}`' for choice in parameter.choices)}."
    return f"| `{parameter.path}` | {_cell(said)} | {_default(parameter.default)} |"


def _default(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{_cell(text)}`" if len(text) <= _LONGEST_DEFAULT else "see values.yaml"


def models_table() -> str:
    """Every key of the models file."""
    rows: list[str] = []
    for name, section in sections().items():
        inner = section.get("additionalProperties") or {}
        if "properties" in inner:
            rows += _keys(f"{name}.<name>", inner)
        elif inner:
            rows += _keys(name, {"properties": {"<name>": inner}})
        else:
            rows += _keys(name, section)
    return _table_of_keys(rows)


def switcher_table() -> str:
    """Every key of the switcher's file."""
    file = switcher_file.config()["properties"]
    rows = [*_keys("", {"properties": {"time_zone": file["time_zone"]}})]
    rows += _keys("gpus.<name>", file["gpus"]["additionalProperties"])
    rows += _keys("layouts.<name>.<gpu>[]", file["layouts"]["additionalProperties"]["additionalProperties"]["items"])
    rows += _keys("schedule[]", file["schedule"]["items"])
    for name in ("on_demand", "policy"):
        rows += _keys(name, file[name])
    for kind, section in switcher_file.provider_kinds().items():
        rows.append(f"| `providers.<name>.kind` | {_cell(section['description'])} | `{kind}` | required |")
        own = {name: entry for name, entry in section["properties"].items() if name != "kind"}
        rows += _keys("providers.<name>", {**section, "properties": own})
    return _table_of_keys(rows)


def _table_of_keys(rows: list[str]) -> str:
    return "\n".join(["| Key | What it does | Takes | Default |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _keys(path: str, section: Json) -> Iterator[str]:
    for name, entry in section["properties"].items():
        if entry.get("properties"):
            yield from _keys(f"{path}.{name}", entry)
            continue
        default = "required" if name in section.get("required", ()) else ""
        if "default" in entry:
            default = f"`{json.dumps(entry['default'])}`"
        key = f"{path}.{name}" if path else name
        yield f"| `{key}` | {_cell(entry.get('description', ''))} | {_cell(_takes(entry))} | {default} |"


def _takes(entry: Json) -> str:
    if "enum" in entry:
        return "one of " + ", ".join(f"`{choice}`" for choice in entry["enum"])
    if entry.get("allOf"):
        return "slot type"
    types = entry.get("type", [])
    words = [" or ".join(kind for kind in ([types] if isinstance(types, str) else types) if kind != "null")]
    for keyword, said in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    ):
        if keyword in entry:
            words.append(f"{said} {entry[keyword]}")
    return ", ".join(word for word in words if word)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")
