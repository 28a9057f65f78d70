"""The models file and the autoscaler's own settings -> the specification that `decide` follows.

From the models file the autoscaler takes each model's `slot`, `objective_p95_ms` and `autoscaling` section, and passes
over `serving`, which is the data plane's. Every default is the specification's own. All problems are listed at once.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec, SpecError
from vgpu.core.profile import ProfileError, parse_profile

Settings = TypeVar("Settings", PolicySettings, GuardrailSettings)

STRICT = ConfigDict(extra="forbid", frozen=True)


class ConfigError(Exception):
    """The file cannot be used; the message has one line for each problem."""


class AutoscalingSection(BaseModel):
    """How one model is scaled; what is left out takes the default of `autoscaler.core.spec.ModelSpec`."""

    model_config = STRICT

    min_replicas: int = 1
    max_replicas: int = 1
    priority: int | None = None
    target_in_flight: float | None = None
    target_utilization_ratio: float | None = None
    scale_down_window_s: float | None = None


class ModelSection(BaseModel):
    """One model of the models file, as the autoscaler reads it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    slot: str
    objective_p95_ms: int = Field(gt=0)
    autoscaling: AutoscalingSection = Field(default_factory=AutoscalingSection)


class File(BaseModel):
    """The models file, as the autoscaler reads it."""

    model_config = STRICT

    models: dict[str, ModelSection] = Field(min_length=1)
    policy: dict[str, float] = Field(default_factory=dict)
    guardrails: dict[str, float] = Field(default_factory=dict)


def pool_name(slot_label: str) -> str:
    """The worker pool of a slot type: v100-8q-8GB lives in workers-v100-8q-8gb."""
    return f"workers-{slot_label.lower()}"


def parse(document: object) -> FleetSpec:
    """Check a parsed models file. Raises `ConfigError` listing every problem."""
    try:
        file = File.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(entry) for entry in error.errors())) from None
    problems: list[str] = []
    pools: dict[str, PoolSpec] = {}
    models: list[ModelSpec] = []
    for name, section in file.models.items():
        try:
            pool = PoolSpec(name=pool_name(section.slot), profile=parse_profile(section.slot))
            pools[pool.name] = pool
            given = section.autoscaling.model_dump(exclude_none=True)
            models.append(ModelSpec(name=name, pool=pool.name, objective_p95_ms=section.objective_p95_ms, **given))
        except ProfileError as error:
            problems.append(f"models.{name}.slot: {error}")
        except SpecError as error:
            problems += [f"models.{name}.autoscaling: {problem}" for problem in error.problems]
    policy = _settings(PolicySettings, file.policy, "policy", problems)
    guardrails = _settings(GuardrailSettings, file.guardrails, "guardrails", problems)
    if problems or policy is None or guardrails is None:
        raise ConfigError("\n".join(problems))
    return FleetSpec(pools=tuple(pools.values()), models=tuple(models), policy=policy, guardrails=guardrails)


def load(path: Path) -> FleetSpec:
    """Read a models file. Raises `ConfigError` naming the file."""
    try:
        return parse(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a readable models file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _settings(kind: type[Settings], given: dict[str, float], where: str, problems: list[str]) -> Settings | None:
    """Settings of one kind from their section; a whole number stays whole where the field counts something."""
    known = {field.name: field.type for field in fields(kind)}
    unknown = sorted(set(given) - set(known))
    problems += [f"{where}.{name}: unknown key; remove it or correct its spelling" for name in unknown]
    counted = {name for name, annotation in known.items() if annotation in (int, "int")}
    fractions = sorted(name for name in counted & set(given) if given[name] != int(given[name]))
    problems += [f"{where}.{name}: {given[name]} is no whole number" for name in fractions]
    if unknown or fractions:
        return None
    try:
        return kind(**{name: int(value) if name in counted else value for name, value in given.items()})
    except SpecError as error:
        problems += [f"{where}: {problem}" for problem in error.problems]
        return None


def _problem(entry: Any) -> str:  # noqa: ANN401  # pydantic's own untyped record
    where = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or correct its spelling"
    return f"{where}: {entry['msg']}"
