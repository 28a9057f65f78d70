"""The models file and the autoscaler's own settings -> the specification that `decide` follows.

From the models file the autoscaler takes each model's `slot`, `objective_p95_ms`, `tenant` and `autoscaling` section,
and passes over `source`, `parameters` and `serving`, which are the data plane's. Every default is the specification's
own. All problems are listed at once.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoscaler.about import ModelAbout
from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec, SpecError
from autoscaler.refusal import Refused
from models.parameters import not_json
from models.source import shown
from vgpu import yaml_document
from vgpu.core.profile import ProfileError
from vgpu.core.slot_type import parse_slot_types
from vgpu.yaml_document import NotYaml

Json = Any
ANY_CARD = "fraction"
Section = TypeVar("Section", bound=BaseModel)
Settings = TypeVar("Settings", PolicySettings, GuardrailSettings)

SERVING_MAX_BATCH_SIZE = 8
"""What `serving.config` takes where the file names no max_batch_size."""
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class ConfigError(Refused):
    """The file cannot be used; the message has one line for each problem."""


class AutoscalingSection(BaseModel):
    """How one model is scaled; what is left out takes the default of `autoscaler.core.spec.ModelSpec`."""

    model_config = STRICT

    min_replicas: int = 1
    max_replicas: int = 1
    idle_s: float | None = None
    priority: int | None = None
    target_in_flight: float | None = None
    target_utilization_ratio: float | None = None
    scale_down_window_s: float | None = None


class ModelSection(BaseModel):
    """One model of the models file, as the autoscaler reads it."""

    model_config = STRICT

    slot: Json
    """One slot type, or a list of those in which its replicas may live."""
    objective_p95_ms: int = Field(le=600_000)
    autoscaling: AutoscalingSection = Field(default_factory=AutoscalingSection)
    tenant: str | None = None
    """Whose it is: one of the file's `tenants`."""
    # The data plane's, known here so that a misspelt key is not mistaken for one of them.
    source: Json = None
    kind: Json = None
    """What `source` was called before; one of the two."""
    parameters: Json = None
    replicas: Json = None
    serving: Json = None

    @field_validator("parameters")
    @classmethod
    def _parameters_are_json(cls, given: Json) -> Json:
        if said := not_json(given):
            raise ValueError(said)
        return given


class TenantSection(BaseModel):
    """What one tenant may have: a static share, checked when the file is."""

    model_config = STRICT

    max_slots: int = Field(ge=1, strict=True)
    """The most slots its models may hold together, should all of them have their max_replicas."""


class File(BaseModel):
    """The models file, section by section: each is checked on its own, so that one fault hides no other."""

    model_config = STRICT

    models: dict[str, Json]
    tenants: dict[str, Json] = Field(default_factory=dict)
    policy: dict[str, Json] = Field(default_factory=dict)
    guardrails: dict[str, Json] = Field(default_factory=dict)
    card_costs: dict[str, Json] = Field(default_factory=dict)
    """What a whole card costs, by board, and under `fraction` whatever a fraction is cut from; 1 where left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsFile:
    """A checked models file."""

    spec: FleetSpec
    about: tuple[ModelAbout, ...]
    """In the order of the file, as `spec.models`."""
    work: Mapping[str, str] = field(repr=False)
    """By model: its source and parameters in one form. Where that changes, it is another model of the same name."""


def pool_name(slot_label: str) -> str:
    """The worker pool of a slot type: v100-8q-8GB lives in workers-v100-8q-8gb."""
    return f"workers-{slot_label.lower()}"


def parse(document: Json) -> FleetSpec:
    """Check a parsed models file. Raises `ConfigError` listing every problem."""
    return parse_file(document).spec


def parse_file(document: Json) -> ModelsFile:
    """As `parse`, with what the file says beside the specification."""
    problems: list[str] = []
    file = _section(File, document, (), problems)
    if file is None:
        raise ConfigError("\n".join(problems))
    if not file.models:
        problems.append("models: empty; name at least one model")
    pools: dict[str, PoolSpec] = {}
    models: list[ModelSpec] = []
    sections: dict[str, ModelSection] = {}
    for name, given in file.models.items():
        section = _section(ModelSection, given, ("models", name), problems)
        if section is not None:
            sections[name] = section
            _add_model(name, section, pools, models, problems)
    _check_tenants(file.tenants, sections, problems)
    _price(pools, file.card_costs, problems)
    policy = _settings(PolicySettings, file.policy, "policy", problems)
    guardrails = _settings(GuardrailSettings, file.guardrails, "guardrails", problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return ModelsFile(
        spec=FleetSpec(pools=tuple(pools.values()), models=tuple(models), policy=policy, guardrails=guardrails),
        about=tuple(_about(name, section) for name, section in sections.items()),
        work={name: _work(section) for name, section in sections.items()},
    )


def load(path: Path) -> FleetSpec:
    """Read a models file. Raises `ConfigError` naming the file."""
    return load_file(path).spec


def load_file(path: Path) -> ModelsFile:
    """As `load`, with what the file says beside the specification."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a readable models file") from error
    return read(path, content)


def read(path: Path, content: bytes) -> ModelsFile:
    """Check what was read from a models file. Raises `ConfigError`, each problem with the file's name."""
    try:
        document = yaml_document.load(content)
    except NotYaml as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse_file(document)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def lines_of(error: ValidationError, where: Iterable[str] = ()) -> list[str]:
    """One line for each fault pydantic found below `where`, in the words of `serving.config`."""
    return [_line(entry, ".".join([*where, *map(str, entry["loc"])]) or "the file") for entry in error.errors()]


def _line(entry: Json, key: str) -> str:
    match entry["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; remove it or correct its spelling"
        case "missing":
            return f"{key}: missing; it has no default"
        case "model_type" | "dict_type":
            return f"{key}: expected a mapping"
        case "value_error":
            return f"{key}: {entry['ctx']['error']}"
    return f"{key}: {entry['msg'].removeprefix('Input ')}"


def _section(kind: type[Section], given: Json, where: tuple[str, ...], problems: list[str]) -> Section | None:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems += lines_of(error, where)
        return None


def _add_model(
    name: str, section: ModelSection, pools: dict[str, PoolSpec], models: list[ModelSpec], problems: list[str]
) -> None:
    if section.source is not None and section.kind is not None:
        problems.append(f"models.{name}: `kind` is the old name of `source`; keep `source` and remove `kind`")
    try:
        profiles = parse_slot_types(section.slot)
    except ProfileError as error:
        problems.append(f"models.{name}.slot: {error}")
        return
    # By the profile and not by what was written: GRID V100-8Q and v100-8q-8GB are one pool.
    own = {pool_name(profile.label): profile for profile in profiles}
    first, *further = own
    given = section.autoscaling.model_dump(exclude_none=True)
    try:
        models.append(
            ModelSpec(
                name=name,
                pool=first,
                further_pools=tuple(further),
                objective_p95_ms=section.objective_p95_ms,
                max_batch_size=_max_batch_size(section.serving),
                **given,
            )
        )
        pools.update({pool: PoolSpec(name=pool, profile=profile) for pool, profile in own.items()})
    except SpecError as error:
        problems += [f"models.{name}: {problem.removeprefix(f'model {name!r}: ')}" for problem in error.problems]


def _check_tenants(given: dict[str, Json], models: dict[str, ModelSection], problems: list[str]) -> None:
    """Every model's tenant is one of the file's, and no tenant's models may grow beyond its share together."""
    for name, model in models.items():
        if model.tenant is not None and model.tenant not in given:
            there = f"the tenants here are {', '.join(given)}" if given else "the file has no tenants"
            problems.append(
                f"models.{name}.tenant: {model.tenant!r} is none of tenants; add it there, or correct the name: {there}"
            )
    for name, entry in given.items():
        tenant = _section(TenantSection, entry, ("tenants", name), problems)
        most = {model: section.autoscaling.max_replicas for model, section in models.items() if section.tenant == name}
        if tenant is None or sum(most.values()) <= tenant.max_slots:
            continue
        each = ", ".join(f"{model} {count}" for model, count in most.items())
        problems.append(
            f"tenants.{name}.max_slots: {tenant.max_slots}, and the max_replicas of its models are "
            f"{sum(most.values())} together ({each}); lower max_replicas, or give the tenant more slots"
        )


def _about(name: str, section: ModelSection) -> ModelAbout:
    # A URL may carry a secret, and this is what metrics say.
    return ModelAbout(name=name, source=shown(_source(section)), tenant=section.tenant or "")


def _source(section: ModelSection) -> str:
    given = section.kind if section.source is None else section.source
    return "" if given is None else str(given)


def _work(section: ModelSection) -> str:
    return json.dumps([_source(section), section.parameters or {}], sort_keys=True)


def _price(pools: dict[str, PoolSpec], given: dict[str, Json], problems: list[str]) -> None:
    """Give every pool the cost of its card; of a fraction, that of any card."""
    boards = {pool.profile.board or ANY_CARD for pool in pools.values()}
    for board, cost in given.items():
        where = f"card_costs.{board}"
        if board not in boards:
            problems.append(
                f"{where}: no slot type of this file has that board; those here: {', '.join(sorted(boards))}"
            )
        elif isinstance(cost, bool) or not isinstance(cost, int | float):
            problems.append(f"{where}: {cost!r} is no number")
        elif not 0 < cost <= sys.float_info.max:
            problems.append(f"{where}: {cost} is no cost; above 0, and finite")
        else:
            for name, pool in pools.items():
                if (pool.profile.board or ANY_CARD) == board:
                    pools[name] = replace(pool, card_cost=float(cost))


def _max_batch_size(serving: Json) -> int:
    """The one key of the data plane's section that capacity depends on; the data plane itself refuses a wrong one."""
    given = serving.get("max_batch_size") if isinstance(serving, dict) else None
    return given if isinstance(given, int) and given >= 1 else SERVING_MAX_BATCH_SIZE


def _settings(kind: type[Settings], given: dict[str, Json], where: str, problems: list[str]) -> Settings:
    """Settings of one kind; where there are problems, those that could be read are still checked together."""
    counts = {field.name: field.type in (int, "int") for field in fields(kind)}
    numbers: dict[str, Any] = {}
    for name, value in given.items():
        if name not in counts:
            problems.append(f"{where}.{name}: unknown key; remove it or correct its spelling")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            problems.append(f"{where}.{name}: {value!r} is no number")
        elif counts[name] and value != int(value):
            problems.append(f"{where}.{name}: {value} is no whole number")
        else:
            numbers[name] = int(value) if counts[name] else float(value)
    try:
        return kind(**numbers)
    except SpecError as error:
        problems += [f"{where}: {problem}" for problem in error.problems]
        return kind()
