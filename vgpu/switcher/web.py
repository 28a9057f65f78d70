"""What people and probes are told over HTTP. Nothing is changed here."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry

from vgpu.adapters.probes import Page, make_server
from vgpu.core.switching.record import Asked, Cause
from vgpu.core.switching.refusal import doubts
from vgpu.core.switching.seen import Missing
from vgpu.core.switching.state_machine import begin
from vgpu.switcher import asking
from vgpu.switcher.config import Config
from vgpu.switcher.observing import Aftermath, Observer, change_between
from vgpu.switcher.records import Record, as_json
from vgpu.switcher.running import Standing

Json = dict[str, Any]

FORMAT = 1
LEAST_STALL_S, STALLED_PASSES = 60.0, 5
WAIT_S = 10.0  # for a plan before, which waits for a provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Answers questions. `standing` and `now_s` are asked anew for each."""

    standing: Callable[[], Standing]
    now_s: Callable[[], float]
    observer: Observer
    namespace: str
    _lock: threading.Lock

    def unhealthy(self) -> str:
        """Whether passes have stopped: then only a new process helps."""
        standing = self.standing()
        late_s = self.now_s() - standing.at_s
        most_s = max(LEAST_STALL_S, STALLED_PASSES * standing.config.settings.interval_s)
        return f"no pass has ended for {late_s:.0f} s, more than {most_s:.0f} s" if late_s > most_s else ""

    def unready(self) -> str:
        """Whether it has read what there is, at least once, and can now."""
        standing = self.standing()
        if not standing.passes:
            return "the first pass has not ended"
        return standing.problems.get("", "") or self.unhealthy()

    def switches(self, query: Mapping[str, str]) -> tuple[HTTPStatus, Json]:
        """`GET /v1/switches`: every GPU, its layout, the switch under way, the last ones, and what comes."""
        standing = self.standing()
        following = standing.config.calendar.following(asking.moment(self.now_s()))
        gpus = [_gpu(standing, gpu, record) for gpu, record in standing.records.items()]
        for each in gpus:
            known = following is not None and standing.config.guests(following.layout, each["gpu"]) is not None
            each["next"] = {"layout": following.layout, "at": following.at.isoformat()} if following and known else None
        return HTTPStatus.OK, {
            "format": FORMAT,
            "namespace": self.namespace,
            "leader": standing.leads,
            "layouts": list(standing.config.layouts),
            "gpus": gpus,
            "file": {"refused": bool(standing.file_problems), "problems": list(standing.file_problems)},
            "problems": [standing.problems[""]] if "" in standing.problems else [],
        }

    def plan(self, query: Mapping[str, str]) -> tuple[HTTPStatus, Json]:
        """`GET /v1/plan?layout=NAME[&gpu=NAME]`: what a switch would do now, and what speaks against it."""
        standing, layout, gpu = self.standing(), query.get("layout", ""), query.get("gpu")
        config = standing.config
        if layout not in config.layouts:
            return _wrong(f"layout {layout!r} is not there; the file has {', '.join(config.layouts)}")
        if gpu is not None and gpu not in config.gpus:
            return _wrong(f"GPU {gpu!r} is not there; the file has {', '.join(config.gpus)}")
        wanted = [gpu] if gpu is not None else [each for each in config.gpus if each in config.layouts[layout].guests]
        origin = query.get("from", "")
        if origin and origin not in config.layouts:
            return _wrong(f"layout {origin!r} is not there; the file has {', '.join(config.layouts)}")
        if not self._lock.acquire(timeout=WAIT_S):  # each reads the whole fleet, and a provider may hang
            busy = f"another plan has not been worked out for {WAIT_S:g} s; ask again later"
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": busy}
        try:
            plans = [self._planned(standing, each, layout, origin) for each in wanted]
        finally:
            self._lock.release()
        return HTTPStatus.OK, {"format": FORMAT, "namespace": self.namespace, "layout": layout, "plans": plans}

    def _planned(self, standing: Standing, gpu: str, layout: str, origin: str) -> Json:
        config = standing.config
        record = standing.records.get(gpu, Record(gpu=gpu))
        if origin and config.guests(record.layout, gpu) is None:
            record = replace(record, layout=origin)
        answer: Json = {"gpu": gpu, "origin": record.layout, "target": layout, "steps": [], "would_refuse": []}
        answer["under_way"] = record.under_way is not None
        if why := record.problem or asking.why_not(config, record, layout):
            return answer | {"would_refuse": [why]}
        plan = self.observer.plan(config, gpu, record.layout, layout)
        if isinstance(plan, Missing):
            return answer | {"would_refuse": [f"the fleet cannot be read: {plan.why}"]}
        against = self._against(config, record, layout, self.now_s())
        return answer | {**asdict(plan), "would_refuse": against}

    def _against(self, config: Config, record: Record, layout: str, now_s: float) -> list[str]:
        """What the check of such a switch would say now."""
        change = change_between(config, record.gpu, record.layout, layout)
        if change is None:
            return []
        asked = Asked(id="plan", layout=layout, cause=Cause.HAND, at_s=now_s)
        switch = begin(asked, record.gpu, record.layout, layout, now_s)
        seen = self.observer.look(config, switch, change, Aftermath())
        origin, target = (config.layouts[name].of(record.gpu) for name in (record.layout, layout))
        found = doubts(config.gpus[record.gpu], origin, target, seen, config.settings)
        return [*found.reasons, *found.unclear]


def desk(standing: Callable[[], Standing], now_s: Callable[[], float], observer: Observer, namespace: str) -> Desk:
    """A desk of its own lock."""
    return Desk(standing=standing, now_s=now_s, observer=observer, namespace=namespace, _lock=threading.Lock())


def serve(listen: tuple[str, int], registry: CollectorRegistry, asked: Desk) -> ThreadingHTTPServer:
    """Bind, or raise OSError."""
    pages: dict[str, Page] = {"/v1/switches": asked.switches, "/v1/plan": asked.plan}
    checks = {"/healthz": asked.unhealthy, "/readyz": asked.unready}
    return make_server(*listen, registry, checks, pages)


def _wrong(why: str) -> tuple[HTTPStatus, Json]:
    return HTTPStatus.NOT_FOUND, {"error": why}


def _gpu(standing: Standing, gpu: str, record: Record) -> Json:
    request = record.request
    return {
        "gpu": gpu,
        "layout": record.layout or None,
        "layouts": list(standing.config.layouts_of(gpu)),
        "switch": None if record.under_way is None else as_json(record.under_way),
        "lowest_units": standing.lowest_units.get(gpu),
        "request": None if request is None else {"id": request.id, "layout": request.layout, "cause": request.cause},
        "last": [as_json(each) for each in reversed(record.history)],
        "problem": standing.problems.get(gpu),
    }
