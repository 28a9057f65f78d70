"""Reads what waits and what there is, and says which layouts of which GPUs demand asks for now."""

from collections.abc import Iterable, Sequence

from vgpu.adapters.kube_errors import Unavailable
from vgpu.core.layout import Difference
from vgpu.core.profile import ProfileError
from vgpu.core.seats import Demand
from vgpu.core.switching.seen import Missing
from vgpu.switcher import demand
from vgpu.switcher.config import Config
from vgpu.switcher.demand import Patience
from vgpu.switcher.observing import Observer, change_between
from vgpu.switcher.records import Record
from vgpu.switcher.room import Fleet, Wanted, parse_fleet


def layouts(
    config: Config, resting: Iterable[Record], observer: Observer, patience: Patience, now_s: float
) -> list[tuple[Record, str]]:
    """GPUs at rest and the layout that demand asks for; nothing while it cannot be read what waits.

    Of several layouts of one GPU the one that has been wanted longest; of several GPUs only the first, for once that
    is switched the next may not be needed.
    """
    wanted = observer.view.wanted()
    if isinstance(wanted, Missing):
        return []
    try:
        nodes, pods = observer.cluster.everything()
        fleet = parse_fleet(nodes, pods, wanted)
    except (Unavailable, ProfileError):
        return []
    waiting = (*_unplaced(wanted), *demand.waiting_pods(pods))
    for record in resting:
        helpful = [
            name
            for name in config.layouts_of(record.gpu)
            if (change := change_between(config, record.gpu, record.layout, name)) is not None
            and _helps(fleet, wanted, waiting, change)
        ]
        waited_s = patience.note(record.gpu, helpful, now_s=now_s)
        last_s = record.switch.ended_at_s if record.switch is not None else None
        rested = last_s is None or now_s - last_s >= config.on_demand.rest_s
        ripe = {name: since_s for name, since_s in waited_s.items() if since_s >= config.on_demand.after_s}
        if ripe and rested:
            return [(record, max(ripe, key=lambda name: ripe[name]))]
    return []


def _unplaced(wanted: Iterable[Wanted]) -> list[Demand]:
    return [
        Demand(name=each.model, count=each.unplaced, slot_types=each.slot_types) for each in wanted if each.unplaced
    ]


def _helps(fleet: Fleet, wanted: Iterable[Wanted], waiting: Sequence[Demand], change: Difference) -> bool:
    """Whether a change of one GPU seats more, with everybody's pods on the leaving nodes to be seated elsewhere."""
    leaving = {guest.node for guest in change.leaving}
    strangers = fleet.strangers(leaving)
    seated = [
        *(Demand(name=f"in place: {each.model}", count=each.seated, slot_types=each.slot_types) for each in wanted),
        *(Demand(name=f"pods on {label}", count=count, slot_types=(label,)) for label, count in strangers.items()),
    ]
    now = fleet.capacity()
    before = {label: now.get(label, 0) + strangers.get(label, 0) for label in {*now, *strangers}}
    elsewhere = fleet.capacity(without=leaving | {guest.node for guest in change.coming})
    return demand.helps(seated, waiting, before=before, later=demand.after(elsewhere, change))
