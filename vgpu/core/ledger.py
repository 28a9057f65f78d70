"""Who holds which units of which GPU: what the API server says, and what was promised but is not yet written there.

A pod's entry is *assumed* once a node was chosen for it (until a deadline), *binding* while its Binding is under way,
*bound* once the API server has it. Rules:

- Never more than a GPU's units are given out: whatever does not fit is refused before anything changes.
- What the API server says wins. A bound pod whose annotations cannot be true here makes its node *doubted*: its CPU and
  memory count, its units lie nobody knows where, so the node takes no fractions until the pod is gone.
- A node whose offer changes has its holds judged anew: a card may have got its UUID, or have gone with pods on it. A
  promise that nobody is binding and that cannot be kept any more is dropped.
- An entry that was binding is never dropped by time alone, for the write may have happened: whoever asked has to say
  how it ended, or to read the pod.
- A pod seen unbound changes nothing: that picture may be older than our own Binding.

Time is an argument, in seconds of a monotonic clock. Not safe for several threads.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from vgpu.core.hold import Difference, Entry, Hold, State, do_agree
from vgpu.core.offer import Offer
from vgpu.core.share import UNITS_PER_GPU
from vgpu.core.taken import Taken

ASSUMED_FOR_S = 60.0  # a scheduler binds within milliseconds, or after Permit plugins that wait up to a minute
UNKNOWN = "the node is not known yet"
_REMEMBERED_CHANGES = 100_000  # uids of the latest changes; a reconciliation compares what did not change meanwhile


class Ledger:
    """Offers and holds of all nodes."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._entries: dict[str, Entry] = {}
        self._taken: dict[str, Taken] = {}
        self._stale: set[str] = set()
        self._touched: dict[str, int] = {}
        self._sequence = 0

    def copy(self) -> "Ledger":
        """Copy the books, to try things on."""
        other = Ledger()
        other._offers, other._entries = dict(self._offers), dict(self._entries)
        other._taken = {node: taken.copy() for node, taken in self._taken.items()}
        other._stale = set(self._offers)
        return other

    # Nodes.

    @property
    def offers(self) -> Mapping[str, Offer]:
        """Every known node's offer, by name."""
        return self._offers

    def offer(self, offer: Offer) -> None:
        """Add or replace a node's offer; who holds what of it stays, where it can be true."""
        if self._offers.get(offer.node) != offer:
            self._replace_offer(offer.node, offer)

    def withdraw(self, node: str) -> None:
        """Forget a node's offer; holds stay until their pods are gone."""
        if node in self._offers:
            self._replace_offer(node, None)

    @property
    def changed(self) -> tuple[str, ...]:
        """Nodes whose free amounts may have changed since they were settled."""
        return tuple(self._stale)

    def settle(self, node: str) -> None:
        """Note that a node's free amounts are known as they are now."""
        self._stale.discard(node)

    # Amounts.

    def free_units(self, node: str) -> tuple[int, ...]:
        """Free units by GPU index; a GPU that is lost has none, a GPU is never below none."""
        offer, taken = self._offers[node], self._taken.get(node)
        if taken is None:
            return tuple(gpu.units if gpu.healthy else 0 for gpu in offer.gpus)
        return tuple(max(0, gpu.units - taken.units.get(gpu.key, 0)) if gpu.healthy else 0 for gpu in offer.gpus)

    def taken_units(self, node: str) -> Mapping[str, int]:
        """Units given out, by GPU key; GPUs of which nothing is taken may be missing."""
        taken = self._taken.get(node)
        return taken.units if taken else {}

    def free_cpu_memory(self, node: str) -> tuple[int, int]:
        """Free CPU in thousandths and memory in MiB."""
        offer, taken = self._offers[node], self._taken.get(node)
        if taken is None:
            return offer.cpu_milli, offer.memory_mib
        return max(0, offer.cpu_milli - taken.cpu_milli), max(0, offer.memory_mib - taken.memory_mib)

    def refusal(self, node: str, *, without: Container[str] = ()) -> str:
        """Why a node takes no fractions whatever is free on it, some pods aside; empty where it does."""
        offer = self._offers.get(node)
        if offer is None:
            return UNKNOWN
        if offer.refusal:
            return offer.refusal
        taken = self._taken.get(node)
        return next((why for uid, why in taken.doubts.items() if uid not in without), "") if taken else ""

    def is_shared(self, node: str) -> bool:
        """Tell whether anybody holds units there, or may hold some."""
        taken = self._taken.get(node)
        return bool(taken and taken.sharing)

    # Entries.

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every entry, by pod uid."""
        return self._entries

    def holds(self, node: str) -> Iterable[Hold]:
        """Every hold on a node."""
        taken = self._taken.get(node)
        return [self._entries[uid].hold for uid in taken.uids] if taken else []

    def units_of(self, hold: Hold) -> Mapping[str, int]:
        """Units by the key that the node's GPU has now; raise ValueError where the node has no such GPU."""
        return hold.units_on(self._offers.get(hold.node))

    def obstacle(self, hold: Hold, *, instead_of: str = "") -> str:
        """Why a hold cannot be entered, its own former entry aside; empty where it can."""
        offer, taken = self._offers.get(hold.node), self._taken.get(hold.node)
        limits = {gpu.key: gpu.units for gpu in offer.gpus} if offer else {}
        former = self._entries.get(instead_of)
        had = self.units_of(former.hold) if former and former.hold.node == hold.node else {}
        try:
            kept = self.units_of(hold)
        except ValueError as missing:
            return str(missing)
        for key, units in kept.items():
            others = (taken.units.get(key, 0) if taken else 0) - had.get(key, 0)
            limit = limits.get(key, UNITS_PER_GPU)
            if others + units > limit:
                return (
                    f"GPU {key} of node {hold.node} has {limit} units, {others} are held by others, {units} are claimed"
                )
        return ""

    def assume(self, hold: Hold, now_s: float) -> None:
        """Promise; replaces the pod's former promise. Raise ValueError where it does not fit or the pod is past it."""
        entry = self._entries.get(hold.uid)
        if entry is not None and entry.state is not State.ASSUMED:
            raise ValueError(f"pod {hold.pod} is {entry.state} to node {entry.hold.node}")
        if why := self.obstacle(hold, instead_of=hold.uid):
            raise ValueError(why)
        self._remove(hold.uid)
        self._enter(Entry(hold=hold, state=State.ASSUMED, since_s=now_s, deadline_s=now_s + ASSUMED_FOR_S))

    def is_sound(self, hold: Hold) -> bool:
        """Tell whether every GPU of an entered hold is offered and healthy."""
        offer = self._offers.get(hold.node)
        healthy = {gpu.key for gpu in offer.gpus if gpu.healthy} if offer else set()
        return not (hold.doubt and hold.allocation) and healthy.issuperset(self.units_of(hold))

    def begin(self, uid: str, now_s: float) -> None:
        """A Binding is sent from now on."""
        self._restate(uid, State.BINDING, now_s, deadline_s=now_s + ASSUMED_FOR_S)

    def confirm(self, uid: str, now_s: float) -> None:
        """The Binding was written. A pod deleted since has no entry any more, and gets none."""
        if uid in self._entries:
            self._restate(uid, State.BOUND, now_s, deadline_s=None)

    def fail(self, uid: str) -> None:
        """The Binding was refused for good. A pod that somebody else bound meanwhile keeps what it holds."""
        entry = self._entries.get(uid)
        if entry is not None and entry.state is not State.BOUND:
            self._remove(uid)

    def gone(self, uid: str) -> None:
        """The pod has ended or is no more: nothing is held."""
        self._remove(uid)

    def drop_assumed(self) -> None:
        """Forget every promise that nobody is binding."""
        for uid in [uid for uid, entry in self._entries.items() if entry.state is State.ASSUMED]:
            self._remove(uid)

    def expire(self, now_s: float) -> tuple[Hold, ...]:
        """Drop promises past their deadline; return the Bindings past theirs, whose pods somebody has to read."""
        due = [entry for entry in self._entries.values() if entry.deadline_s is not None and entry.deadline_s <= now_s]
        for entry in due:
            if entry.state is State.ASSUMED:
                self._remove(entry.hold.uid)
        return tuple(entry.hold for entry in due if entry.state is State.BINDING)

    def observe(self, hold: Hold, now_s: float) -> str:
        """Enter what the API server says of a bound pod; return why its units are doubted, empty where they are not."""
        entry = self._entries.get(hold.uid)
        if entry is not None and entry.state is State.BOUND and hold.doubt and not entry.hold.doubt:
            return hold.doubt  # its annotations were spoilt after it was bound: what is known of it still holds
        if not hold.doubt and (why := self.obstacle(hold, instead_of=hold.uid)):
            hold = replace(hold, doubt=f"pod {hold.pod}: {why}")
        if entry is not None and entry.state is State.BOUND and entry.hold == hold:
            return hold.doubt
        self._remove(hold.uid)
        self._enter(Entry(hold=hold, state=State.BOUND, since_s=now_s))
        return hold.doubt

    # Comparison.

    @property
    def sequence(self) -> int:
        """Grows with each change of an entry."""
        return self._sequence

    def differences(self, listed: Iterable[Hold], *, since: int) -> tuple[Difference, ...]:
        """Compare with a list of all bound pods, entries that changed after `since`, its beginning, left out."""
        wanted = {hold.uid: hold for hold in listed}
        mine = {  # one that is binding may be written by now or not
            uid: entry.hold
            for uid, entry in self._entries.items()
            if entry.state is State.BOUND or (entry.state is State.BINDING and uid in wanted)
        }
        return tuple(
            Difference(
                uid=uid,
                pod=(wanted.get(uid) or mine[uid]).pod,
                in_ledger=mine.get(uid),
                in_annotations=wanted.get(uid),
            )
            for uid in sorted(wanted.keys() | mine.keys())
            if not do_agree(mine.get(uid), wanted.get(uid)) and self._touched.get(uid, 0) <= since
        )

    def unlisted(self, uids: Container[str], *, since: int) -> tuple[str, ...]:
        """Pods with an entry as old as `since` that a list begun then does not have: they are gone, whatever comes."""
        return tuple(uid for uid in self._entries if uid not in uids and self._touched.get(uid, 0) <= since)

    # Arithmetic of the books.

    def _replace_offer(self, node: str, offer: Offer | None) -> None:
        """Judge a node's holds by a new offer: what is bound before what is promised, the true before the doubted."""
        self._stale.add(node)
        entries = [self._entries[uid] for uid in self._taken.get(node, Taken()).uids]
        for entry in entries:  # under the keys that they were counted by
            self._taken[node].remove(entry.hold, self.units_of(entry.hold))
            del self._entries[entry.hold.uid]
        if offer is None:
            del self._offers[node]
        else:
            self._offers[node] = offer
        for entry in sorted(entries, key=lambda entry: (entry.state is State.ASSUMED, bool(entry.hold.doubt))):
            hold = entry.hold if entry.hold.allocation is None else replace(entry.hold, doubt="")
            if why := self.obstacle(hold):
                if entry.state is State.ASSUMED:
                    self._touch(hold.uid)
                    continue
                hold = replace(hold, doubt=f"pod {hold.pod}: {why}")
            self._entries[hold.uid] = replace(entry, hold=hold)
            self._taken[node].add(hold, self.units_of(hold))
            if hold != entry.hold:
                self._touch(hold.uid)

    def _restate(self, uid: str, state: State, now_s: float, deadline_s: float | None) -> None:
        self._touch(uid)
        self._entries[uid] = replace(self._entries[uid], state=state, since_s=now_s, deadline_s=deadline_s)

    def _enter(self, entry: Entry) -> None:
        self._entries[entry.hold.uid] = entry
        self._stale.add(entry.hold.node)
        self._taken.setdefault(entry.hold.node, Taken()).add(entry.hold, self.units_of(entry.hold))
        self._touch(entry.hold.uid)

    def _remove(self, uid: str) -> None:
        if (entry := self._entries.pop(uid, None)) is not None:
            self._stale.add(entry.hold.node)
            self._taken[entry.hold.node].remove(entry.hold, self.units_of(entry.hold))
            self._touch(uid)

    def _touch(self, uid: str) -> None:
        self._sequence += 1
        self._touched.pop(uid, None)
        self._touched[uid] = self._sequence
        if len(self._touched) > _REMEMBERED_CHANGES:
            del self._touched[next(iter(self._touched))]
