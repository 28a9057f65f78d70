"""The models file: which models are served, on which slot type, with which limits.

One file serves every process. Serving reads the common keys and each model's `serving` section; `autoscaling`, `policy`
and `guardrails` are the autoscaler's and are passed over here. Unknown keys are errors, and all problems are listed at once.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vgpu.core.profile import ProfileError, parse_profile

STRICT = ConfigDict(extra="forbid", frozen=True)
# A model's name is a path segment, a metric label and a Serve application's name.
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"


class ConfigError(Exception):
    """The file cannot be used; the message lists every problem with its key and the remedy."""


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

    name: str = Field(pattern=NAME_PATTERN)
    kind: str
    """Which kind of model, by `models.catalog`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Passed to the kind's constructor."""
    slot: str
    """Slot type its replicas need, as the node label says it: v100-8q-8GB."""
    objective_p95_ms: float = Field(gt=0, le=600_000)
    """The latency objective; an edge of the request histogram lies on it exactly."""
    replicas: int = Field(1, ge=1, le=1000)
    """Replicas at deployment; from then on the autoscaler owns the count."""
    serving: ServingLimits = Field(default_factory=lambda: ServingLimits.model_validate({}))
    autoscaling: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @field_validator("slot")
    @classmethod
    def _slot_is_a_profile(cls, label: str) -> str:
        try:
            parse_profile(label)
        except ProfileError as error:
            raise ValueError(str(error)) from error
        return label


class ServingConfig(BaseModel):
    """Every model of one installation, by name."""

    model_config = STRICT

    models: tuple[ModelConfig, ...] = Field(min_length=1)
    policy: dict[str, Any] = Field(default_factory=dict, exclude=True)
    guardrails: dict[str, Any] = Field(default_factory=dict, exclude=True)


def parse(document: object) -> ServingConfig:
    """Check a parsed models file. Raises `ConfigError` listing every problem."""
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise ConfigError("models: missing; the file holds a mapping `models` from name to settings")
    models = [
        {"name": name, **settings} if isinstance(settings, dict) else settings
        for name, settings in document["models"].items()
    ]
    try:
        return ServingConfig.model_validate({**document, "models": models})
    except ValidationError as error:
        names = list(document["models"])
        raise ConfigError("\n".join(_problem(entry, names) for entry in error.errors())) from None


def load(path: Path) -> ServingConfig:
    """Read a models file. Raises `ConfigError` naming the file."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a readable models file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    try:
        return parse(document)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _problem(entry: Any, names: list[str]) -> str:  # noqa: ANN401  # pydantic's own untyped record
    where = [str(part) for part in entry["loc"]]
    if len(where) > 1 and where[0] == "models" and where[1].isdigit():
        where[1] = str(names[int(where[1])])
    if entry["type"] == "extra_forbidden":
        return f"{'.'.join(where)}: unknown key; remove it or correct its spelling"
    return f"{'.'.join(where)}: {entry['msg']}"
