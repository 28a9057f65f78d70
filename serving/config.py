"""The models file: which models are served, on which slot type, with which limits.

One file serves every process. Serving reads the common keys and each model's `serving` section; `autoscaling`,
`policy`, `guardrails`, `card_costs` and what `tenants` may hold are the autoscaler's and are passed over here. Unknown
keys are errors, and all problems are listed at once.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models import source as sources
from models.parameters import not_json
from vgpu import yaml_document
from vgpu.core.profile import ProfileError
from vgpu.core.slot_type import parse_slot_types
from vgpu.yaml_document import NotYaml

# Strict: YAML's `yes` is no 1 and its "8" no 8.
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
# A model's name is a path segment, a metric label and a Serve application's name.
NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,62}")
# The Serve application that no model may be named after.
GATEWAY = "gateway"


class ConfigError(Exception):
    """The file cannot be used; the message lists every problem, one a line, with its key and the remedy."""


class ServingLimits(BaseModel):
    """How one model batches and what it refuses."""

    model_config = STRICT

    max_batch_size: int = Field(8, ge=1, le=1024)
    """Rows in one batch. Larger batches cost latency; MiniLM gains little beyond 8 on one thread."""
    max_wait_ms: float = Field(4, ge=0, le=1000)
    """Longest wait for company. A request that comes alone never waits: see `serving.batch`."""
    max_queue: int = Field(64, ge=1, le=100_000)
    """Rows waiting in one replica before it answers 429, and the most rows in one request."""
    max_body_bytes: int = Field(1 << 20, ge=1024, le=1 << 30)
    """Larger request bodies are answered 413 before they are read whole."""
    max_deadline_ms: float = Field(10_000, gt=0, le=3_600_000)
    """Longest time a request may take, and the deadline of one that names none."""


class ModelConfig(BaseModel):
    """One served model."""

    model_config = STRICT

    name: str
    source: str
    """Where the model comes from, as `models.source` reads it."""
    kind: str | None = Field(None, exclude=True)
    """The old name of `source`; a file that has both is refused."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's constructor."""
    slot: tuple[str, ...]
    """Slot types in which its replicas may live, as node labels say them: v100-8q-8GB. One, or a list of several."""
    objective_p95_ms: float = Field(gt=0, le=600_000)
    """The latency objective; an edge of the request histogram lies on it exactly."""
    replicas: int = Field(1, ge=0, le=1000)
    """Replicas at deployment; from then on the autoscaler owns the count. Left out: 1, or 0 where `autoscaling` allows
    that."""
    serving: ServingLimits = Field(default_factory=lambda: ServingLimits.model_validate({}))
    tenant: str | None = None
    """Whose it is; one of the file's `tenants`."""
    autoscaling: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @property
    def may_sleep(self) -> bool:
        """The autoscaler may leave it without a replica while nobody asks."""
        return self.autoscaling.get("min_replicas") == 0

    @model_validator(mode="before")
    @classmethod
    def _begins_asleep_where_it_may(cls, given: Any) -> Any:  # noqa: ANN401  # whatever stands in the file
        if isinstance(given, dict) and "replicas" not in given and isinstance(given.get("autoscaling"), dict):
            return {**given, "replicas": 0 if given["autoscaling"].get("min_replicas") == 0 else 1}
        return given

    @model_validator(mode="before")
    @classmethod
    def _kind_is_the_old_name_of_source(cls, given: Any) -> Any:  # noqa: ANN401  # whatever stands in the file
        if isinstance(given, dict) and "kind" in given and "source" not in given:
            return {"source" if key == "kind" else key: value for key, value in given.items()}
        return given

    @field_validator("kind", mode="before")
    @classmethod
    def _kind_is_not_given_beside_source(cls, _: object) -> None:
        raise ValueError("the old name of source, which is given too; remove kind")

    @field_validator("source")
    @classmethod
    def _source_can_be_read(cls, text: str) -> str:
        sources.parse(text)
        return text

    @field_validator("parameters")
    @classmethod
    def _parameters_are_json(cls, given: dict[str, Any]) -> dict[str, Any]:
        if said := not_json(given):
            raise ValueError(said)
        return given

    @field_validator("name")
    @classmethod
    def _name_can_be_served(cls, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError(
                "a name has 1 to 63 lower-case letters, digits and dashes, a letter first; rename the model"
            )
        if name == GATEWAY:
            raise ValueError(f"{GATEWAY} is the name of what answers the paths of no single model; rename the model")
        return name

    @field_validator("slot", mode="before")
    @classmethod
    def _slots_are_profiles(cls, given: object) -> tuple[str, ...]:
        try:
            return tuple(shape.label for shape in parse_slot_types(given))
        except ProfileError as error:
            raise ValueError(str(error)) from error


class ServingConfig(BaseModel):
    """Every model of one installation."""

    model_config = STRICT

    models: tuple[ModelConfig, ...]
    policy: dict[str, Any] = Field(default_factory=dict, exclude=True)
    guardrails: dict[str, Any] = Field(default_factory=dict, exclude=True)
    card_costs: dict[str, Any] = Field(default_factory=dict, exclude=True)
    tenants: dict[str, Any] = Field(default_factory=dict, exclude=True)
    """Who shares the installation; the autoscaler holds each to its `max_slots`."""

    @field_validator("models")
    @classmethod
    def _there_is_a_model(cls, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        if not models:
            raise ValueError("empty; name at least one model")
        return models


def parse(document: object) -> ServingConfig:
    """Check a parsed models file. Raises `ConfigError` listing every problem."""
    if not isinstance(document, dict):
        raise ConfigError("the file holds no mapping; write one with the key `models`")
    models = document.get("models")
    if not isinstance(models, dict):
        return _validated(document, [])
    entries = tuple(
        {**settings, "name": name} if isinstance(settings, dict) else settings for name, settings in models.items()
    )
    renamed = [name for name, settings in models.items() if isinstance(settings, dict) and "name" in settings]
    problems = [f"models.{name}.name: unknown key; the name is the key above it" for name in renamed]
    problems += _strange_tenants(models, document.get("tenants") or {})
    try:
        config = _validated({**document, "models": entries}, list(models))
    except ConfigError as error:
        raise ConfigError("\n".join([*problems, str(error)])) from error
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _strange_tenants(models: dict[Any, Any], tenants: object) -> list[str]:
    """Models of tenants that the file does not have."""
    if not isinstance(tenants, dict):
        return []
    here = f"the tenants here are {', '.join(map(str, tenants))}" if tenants else "the file has no tenants"
    return [
        f"models.{name}.tenant: {owner!r} is none of tenants; add it there, or correct the name: {here}"
        for name, settings in models.items()
        if isinstance(settings, dict) and isinstance(owner := settings.get("tenant"), str) and owner not in tenants
    ]


def _validated(document: dict[str, Any], names: Sequence[object]) -> ServingConfig:
    try:
        return ServingConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(entry, names) for entry in error.errors())) from None


def load(path: Path) -> ServingConfig:
    """Read a models file. Raises `ConfigError` naming the file."""
    try:
        document = yaml_document.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a readable models file") from error
    except NotYaml as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse(document)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _problem(entry: Any, names: Sequence[object]) -> str:  # noqa: ANN401  # pydantic's own untyped record
    where = [str(part) for part in entry["loc"]]
    if len(where) > 1 and where[0] == "models":
        where[1] = str(names[int(where[1])])
    key = ".".join(where)
    match entry["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; remove it or correct its spelling"
        case "missing":
            return f"{key}: missing; it has no default"
        case "model_type" | "tuple_type" | "dict_type":
            return f"{key}: expected a mapping"
        case "value_error":
            return f"{key}: {entry['ctx']['error']}"
    return f"{key}: {entry['msg'].removeprefix('Input ')}"
