"""What is remembered of each GPU, in a ConfigMap of its own: there are never two switches of one GPU, and a restart
goes on where the record says.

Every write names the version that was read, so that of two writers one is refused and reads again. People write only
`request` (and `layout`, where nobody could tell): whoever may change the ConfigMap may ask.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_verbs import CONFIG_MAPS, MERGE, Request, Verbs
from vgpu.core.switching.record import Asked, Result, Switch, SwitchError
from vgpu.core.switching.text import parse, parse_asked, render, render_asked

Json = dict[str, Any]

PREFIX = "vgpu-switch-"
LABELS = {"app.kubernetes.io/component": "switcher"}
SELECTOR = "app.kubernetes.io/component=switcher"
HISTORY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One GPU: the layout it is in (empty: nobody knows), its present or last switch, and what is asked of it.

    `scheduled_s` is the moment, Unix time, of the last change of the calendar that was acted on. `version` None: there
    is no ConfigMap yet. `problem` says what in it could not be read; nothing is done then. `unread` is a request that
    nobody can read, kept until the switch under way has ended.
    """

    gpu: str
    version: str | None = None
    layout: str = ""
    switch: Switch | None = None
    request: Asked | None = None
    unread: str = field(default="", repr=False)
    scheduled_s: float = 0.0
    history: tuple[Switch, ...] = field(default=(), repr=False)
    problem: str = ""

    @property
    def under_way(self) -> Switch | None:
        """The switch that has not ended."""
        return self.switch if self.switch is not None and self.switch.result is None else None


class Records:
    """The ConfigMaps of one namespace. Every call raises `Unavailable` where the API cannot be used."""

    def __init__(self, verbs: Verbs, namespace: str) -> None:
        self._verbs, self._namespace = verbs, namespace

    def read(self, gpu: str) -> Record:
        """What is remembered of one GPU."""
        try:
            return parse_record(gpu, self._verbs.read(CONFIG_MAPS, name_of(gpu), self._namespace))
        except NotFound:
            return Record(gpu=gpu)
        except Conflict as fault:
            raise Unavailable(fault.what, fault.why) from fault

    def read_all(self, gpus: Iterable[str]) -> dict[str, Record]:
        """What is remembered of these GPUs, and of any other whose switch is under way, in one call."""
        try:
            listed = self._verbs.list(CONFIG_MAPS, self._namespace, labels=SELECTOR)
        except (NotFound, Conflict) as fault:
            raise Unavailable(fault.what, fault.why) from fault
        found = {each["metadata"]["name"]: each for each in listed}
        named = {
            gpu: parse_record(gpu, found[name_of(gpu)]) if name_of(gpu) in found else Record(gpu=gpu) for gpu in gpus
        }
        others = {name.removeprefix(PREFIX) for name in found if name.startswith(PREFIX)} - named.keys()
        left = {gpu: parse_record(gpu, found[name_of(gpu)]) for gpu in sorted(others)}
        return named | {gpu: record for gpu, record in left.items() if record.under_way is not None}

    def write(self, record: Record) -> Record:
        """Keep a record. Raises `Conflict` where the ConfigMap has changed since it was read, or is there by now."""
        manifest = self._manifest(record.gpu, render_record(record))
        try:
            if record.version is None:
                return parse_record(record.gpu, self._verbs.create(CONFIG_MAPS, manifest, self._namespace))
            manifest["metadata"]["resourceVersion"] = record.version
            return parse_record(record.gpu, self._verbs.replace(CONFIG_MAPS, manifest, self._namespace))
        except NotFound as fault:
            raise Conflict(fault.what, fault.why) from fault

    def ask(self, gpu: str, asked: Asked, *, layout: str = "") -> None:
        """Leave a request for a GPU; with `layout`, say which one it is in. The newest of several requests counts."""
        data = {"request": render_asked(asked)} | ({"layout": layout} if layout else {})
        path = CONFIG_MAPS.path(self._namespace, name_of(gpu))
        try:
            patch = {"metadata": {"labels": LABELS}, "data": data}
            self._verbs.send(Request("PATCH", path, patch, content_type=MERGE))
        except NotFound:
            self._verbs.create(CONFIG_MAPS, self._manifest(gpu, data), self._namespace)

    def _manifest(self, gpu: str, data: Mapping[str, str]) -> Json:
        about = {"name": name_of(gpu), "namespace": self._namespace, "labels": LABELS}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}


def name_of(gpu: str) -> str:
    """The name of a GPU's ConfigMap."""
    return f"{PREFIX}{gpu}"


def ended(record: Record, switch: Switch) -> Record:
    """The record after a switch has ended: in the history, and the GPU in the layout that it has reached."""
    layout = record.layout if switch.result is Result.REFUSED else switch.goal
    return replace(record, layout=layout, switch=switch, history=(*record.history, switch)[-HISTORY:])


def parse_record(gpu: str, manifest: Json) -> Record:
    """Read a ConfigMap; what is wrong in it is the record's `problem`."""
    data: Mapping[str, str] = manifest.get("data") or {}
    version = manifest["metadata"]["resourceVersion"]
    try:
        switch = parse(data["record"]) if data.get("record") else None
        if switch is not None and switch.gpu != gpu:
            raise SwitchError(f"record: gpu is {switch.gpu!r}; this ConfigMap is that of {gpu}")
        request, unread = _request(data.get("request") or "", is_under_way=switch is not None and switch.result is None)
        return Record(
            gpu=gpu,
            version=version,
            layout=data.get("layout", ""),
            switch=switch,
            request=request,
            unread=unread,
            scheduled_s=float(data.get("scheduled") or 0),
            history=tuple(parse(line) for line in (data.get("history") or "").splitlines() if line.strip()),
        )
    except (SwitchError, ValueError) as fault:
        remedy = f"mend or delete ConfigMap {name_of(gpu)}; while it is there as it is, nothing is switched"
        return Record(gpu=gpu, version=version, problem=f"{fault}; {remedy}")


def _request(text: str, *, is_under_way: bool) -> tuple[Asked | None, str]:
    """A request, or its text where nobody can read it: that waits for the switch under way to end, which goes on."""
    try:
        return (parse_asked(text) if text else None), ""
    except SwitchError:
        if is_under_way:
            return None, text
        raise


def render_record(record: Record) -> dict[str, str]:
    """The data of a ConfigMap."""
    return {
        key: text
        for key, text in {
            "layout": record.layout,
            "record": "" if record.switch is None else render(record.switch),
            "request": record.unread if record.request is None else render_asked(record.request),
            "scheduled": f"{record.scheduled_s:.3f}" if record.scheduled_s else "",
            "history": "\n".join(render(each) for each in record.history),
        }.items()
        if text
    }


def as_json(switch: Switch) -> Json:
    """A switch as people read it."""
    return {
        "id": switch.id,
        "from": switch.origin,
        "to": switch.target,
        "goal": switch.goal,
        "cause": str(switch.cause),
        "began_at_s": switch.began_at_s,
        "ended_at_s": switch.ended_at_s,
        "step": str(switch.step),
        "step_seconds": round(switch.waited_s, 3),
        "waits_for": switch.waits_for,
        "stuck": switch.stuck,
        "result": None if switch.result is None else str(switch.result),
        "why": switch.why,
        "spent": [
            {"step": str(line.step), "goal": line.goal, "seconds": round(line.seconds, 3), "why": line.why}
            for line in switch.spent
        ],
    }
