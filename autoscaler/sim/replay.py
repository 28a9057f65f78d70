"""A journal decided again under other settings: which ticks would have come to another count, or to another reason.

Every tick is decided as if the recorded decisions had been made up to then, for the recorded world did what those made
it do. So each difference says what these settings would have done at that moment; what the fleet would have become is a
question for a simulation, which can answer back.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from autoscaler.core.decide import decide
from autoscaler.core.decision import Decision, Plan
from autoscaler.core.respec import respecified
from autoscaler.core.spec import FleetSpec, SpecError
from autoscaler.core.state import ModelState, State
from autoscaler.refusal import Refused
from autoscaler.sim.journal_reader import RecordedDecision, RecordedTick


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One model in one tick: what was decided, and what the other settings decide from the same."""

    tick: int
    at_s: float
    wall: str
    model: str
    current: int
    count_before: int
    count_after: int
    reason_before: str
    reason_after: str
    sentence_before: str
    sentence_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of deciding a journal again."""

    ticks: int
    decisions: int
    differences: tuple[Difference, ...]
    """Those that the settings made."""
    unexplained: int
    """Decisions that come out differently from the record and would so with unchanged settings: what was remembered
    before the journal begins is not in it, and another version may decide otherwise."""
    is_spec_recorded: bool
    """The journal says by which settings it was decided."""

    @property
    def counts_changed(self) -> int:
        """Differences in the count, not only in its reason."""
        return sum(difference.count_before != difference.count_after for difference in self.differences)


def replay(ticks: Iterable[RecordedTick], *, given: FleetSpec | None, changes: Mapping[str, str]) -> Replay:
    """Decide each tick again: by `given`, or else by what the journal names, with `changes` (KEY -> number) made to it.

    Keys are policy.FIELD, guardrails.FIELD and models.NAME.FIELD; a model need not have been served all the time.
    Raises `Refused` where there is nothing to decide by, where a key or a number does not fit, and where the journal is
    damaged.
    """
    changed, unchanged = _Memory(), _Memory()
    differences: list[Difference] = []
    tick_count = decisions = unexplained = 0
    is_recorded = False
    specs: dict[FleetSpec | None, FleetSpec] = {}
    settled: list[FleetSpec] = []
    for tick in ticks:
        if tick.spec not in specs:
            settled.append(_settled(given, tick.spec))
            specs[tick.spec] = with_changes(settled[-1], _concerning(settled[-1], changes))
        is_recorded = is_recorded or tick.spec is not None
        tick_count += 1
        decisions += len(tick.decisions)
        now = _by_model(changed.decide(specs[tick.spec], tick))
        # Without the settings of the time there is nothing to hold the record against but the record itself.
        then = _by_model(unchanged.decide(tick.spec, tick)) if tick.spec is not None else {}
        for recorded in tick.decisions:
            again = now.get(recorded.model)
            if again is None or _same(recorded, again):
                continue
            if recorded.model in then and _key(then[recorded.model]) == _key(again):
                unexplained += 1
                continue
            differences.append(_difference(tick, recorded, again))
    if not tick_count:
        raise Refused("the journal holds no tick that came to a decision; let the autoscaler run a while first")
    _refuse_unheard(changes, settled)
    return Replay(
        ticks=tick_count,
        decisions=decisions,
        differences=tuple(differences),
        unexplained=unexplained,
        is_spec_recorded=is_recorded,
    )


def with_changes(spec: FleetSpec, changes: Mapping[str, str]) -> FleetSpec:
    """The specification with some of its numbers changed. Raises `Refused` listing every key or number that does not
    fit."""
    problems: list[str] = []
    for key, text in changes.items():
        try:
            spec = _changed(spec, key, text)
        except SpecError as error:
            problems += [f"--set {key}={text}: {problem}" for problem in error.problems]
    if problems:
        raise Refused("\n".join(problems))
    return spec


def _concerning(spec: FleetSpec, changes: Mapping[str, str]) -> dict[str, str]:
    """The changes without those of models that this specification does not have."""
    names = {model.name for model in spec.models}
    return {key: text for key, text in changes.items() if (name := _model_of(key)) is None or name in names}


def _model_of(key: str) -> str | None:
    """The model that a key is about; None where it is about none, or is no key."""
    section, _, rest = key.partition(".")
    return rest.rpartition(".")[0] or None if section == "models" else None


def _refuse_unheard(changes: Mapping[str, str], specs: Sequence[FleetSpec]) -> None:
    """Refuse changes of models that were never served."""
    names = dict.fromkeys(model.name for spec in specs for model in spec.models)
    unheard = [
        (key, text) for key, text in changes.items() if (name := _model_of(key)) is not None and name not in names
    ]
    if unheard:
        there = ", ".join(names)
        raise Refused(
            "\n".join(f"--set {key}={text}: no model {_model_of(key)!r}; there are {there}" for key, text in unheard)
        )


def parse_changes(given: Sequence[str]) -> dict[str, str]:
    """KEY=NUMBER texts -> mapping. Raises `Refused` listing every text that is none."""
    problems = [f"--set {text}: not KEY=NUMBER such as policy.window_s=20" for text in given if "=" not in text]
    if problems:
        raise Refused("\n".join(problems))
    return {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in given)}


class _Memory:
    """The state that one replay carries from tick to tick, kept on the path that was recorded."""

    def __init__(self) -> None:
        self._state = State()
        self._last = 0
        self._spec: FleetSpec | None = None

    def decide(self, spec: FleetSpec, tick: RecordedTick) -> Plan:
        if tick.number <= self._last:  # another run of the autoscaler: it began with nothing
            self._state, self._spec = State(), None
        self._last = tick.number
        if self._spec is not None and (spec != self._spec or tick.reworked):
            self._state = respecified(self._state, self._spec, spec, reworked=tick.reworked, now_s=tick.at_s)
        self._spec = spec
        before = self._state
        after, plan = decide(spec, before, tick.seen, tick.inventory, tick.at_s)
        models = dict(after.models)
        for recorded in tick.decisions:
            if recorded.model in models:
                known, decided = before.models.get(recorded.model), models[recorded.model]
                models[recorded.model] = _on_the_record(known, decided, recorded, tick)
        self._state = replace(after, models=models)
        if not tick.was_carried_out:
            self._state = self._state.unposted()
        return plan


def _on_the_record(
    before: ModelState | None, after: ModelState, recorded: RecordedDecision, tick: RecordedTick
) -> ModelState:
    """The memory this tick leaves, had the recorded count been decided and posted."""
    target = next((seen.target for seen in tick.seen.deployments if seen.model == recorded.model), after.posted)
    after = replace(after, posted=tick.posted.get(recorded.model, target))
    if after.desired == recorded.count:
        return after
    at_rest = replace(
        after,
        desired=recorded.current,
        changed_s=before.changed_s if before else None,
        pending_since_s=before.pending_since_s if before else None,
    )
    return at_rest.with_desired(recorded.count, tick.at_s)


def _settled(given: FleetSpec | None, recorded: FleetSpec | None) -> FleetSpec:
    chosen = given or recorded
    if chosen is None:
        raise Refused("the journal does not say by which settings it was decided; give its models file with --models")
    return chosen


def _changed(spec: FleetSpec, key: str, text: str) -> FleetSpec:
    """One number changed. Raises `SpecError`."""
    section, _, rest = key.partition(".")
    if section in ("policy", "guardrails"):
        return replace(spec, **{section: _with_field(getattr(spec, section), rest, text)})
    name, _, field = rest.rpartition(".")
    if section != "models" or not name:
        raise SpecError(("unknown key; write policy.FIELD, guardrails.FIELD or models.NAME.FIELD",))
    models = {model.name: model for model in spec.models}
    if name not in models:
        raise SpecError((f"no model {name!r}; there are {', '.join(models)}",))
    models[name] = _with_field(models[name], field, text)
    return replace(spec, models=tuple(models.values()))


def _with_field(record: Any, name: str, text: str) -> Any:  # noqa: ANN401  # one of three records, the same one back
    if not is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"{record!r} is no record")
    numbers = {part.name: part.type in (int, "int") for part in fields(record) if part.type not in (str, "str")}
    if name not in numbers:
        raise SpecError((f"unknown key; there are {', '.join(numbers)}",))
    try:
        value = int(text) if numbers[name] else float(text)
    except ValueError:
        raise SpecError((f"{text!r} is no {'whole ' if numbers[name] else ''}number",)) from None
    if not math.isfinite(value):
        raise SpecError((f"{text!r} is not finite",))
    return replace(record, **{name: value})


def _by_model(plan: Plan) -> dict[str, Decision]:
    return {decision.model: decision for decision in plan.decisions}


def _key(decision: Decision) -> tuple[int, str]:
    return decision.count, str(decision.reason)


def _same(recorded: RecordedDecision, again: Decision) -> bool:
    return (recorded.count, recorded.reason) == _key(again)


def _difference(tick: RecordedTick, recorded: RecordedDecision, again: Decision) -> Difference:
    return Difference(
        tick=tick.number,
        at_s=tick.at_s,
        wall=tick.wall,
        model=recorded.model,
        current=recorded.current,
        count_before=recorded.count,
        count_after=again.count,
        reason_before=recorded.reason,
        reason_after=str(again.reason),
        sentence_before=recorded.sentence,
        sentence_after=again.sentence(),
    )
