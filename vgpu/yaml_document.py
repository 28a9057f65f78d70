"""A YAML file as the people who write it mean it, for every process that reads one.

YAML 1.1 as PyYAML reads it, but for three things. A key that a mapping has twice is refused, for one of the two would
be lost without a word. 1e-06 is a number, as in YAML 1.2 and as Go writes it (YAML 1.1 wants 1.0e-06 and takes the
other for text). A lone = or << is text where it is a value.
"""

import re
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


class NotYaml(ValueError):
    """What was read is no YAML, or has a key twice; says where, in one line."""


class _Loader(yaml.CSafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # PyYAML's own signature
        seen = set[tuple[str, object]]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            known = (key.tag, self.construct_object(key))
            if known in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice; remove one of them", key.start_mark
                )
            seen.add(known)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


class _Dumper(yaml.CSafeDumper):
    pass


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))
for _tag in (_MERGE, "tag:yaml.org,2002:value"):
    _Loader.add_constructor(_tag, _text)


def load(content: bytes | str) -> Any:  # noqa: ANN401  # whatever the file holds
    """The values of a document, UTF-8; None of an empty one. Raises `NotYaml`."""
    try:
        return yaml.load(content.decode("utf-8") if isinstance(content, bytes) else content, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a 13th month, a number of 5000 digits
        raise NotYaml(f"not YAML: {' '.join(str(error).split())}") from error


def dump(value: object) -> str:
    """The document that `load` reads as this value, mappings in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False))
