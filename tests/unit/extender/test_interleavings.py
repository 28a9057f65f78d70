"""Seeded interleavings of everything that can happen at once; each seed is another order of other events.

`python -m tests.unit.extender.test_interleavings 20000` walks through more of them than a test run has time for.
"""

import random
import sys
from collections import Counter

import pytest

from tests.unit.extender import build
from tests.unit.extender.world import Member, Work, World
from vgpu.adapters.kube_errors import Unavailable
from vgpu.core import request
from vgpu.extender import binding
from vgpu.extender.binding import WriteBinding
from vgpu.extender.desk import Busy
from vgpu.extender.readiness import CALL_S, LEASE_S, RENEW_EVERY_S

SEEDS = 2000
STEPS = 60
NAMES = tuple(f"pod-{number}" for number in range(8))  # few, so that names come again with another uid
UNITS = (100, 300, 400, 500, 500, 600, 700, 1000)


class Walk:
    """One seed: a cluster of three nodes with GPUs of different size, a leader, and a dice."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(build.node("n0", 16384), build.node("n1", 16384, 32768), build.node("n2", 8192, units=500))
        self.world.elect(Member(self.world))
        self.seen: list[dict[str, object]] = []  # pods as the scheduler last saw them, gone ones included
        self.happened: Counter[str] = Counter()
        self.comparisons: list[tuple[Work, Member, int]] = []
        self.former: list[Member] = []  # leaders that are none any more and do not know it yet

    def run(self) -> None:
        moves = (
            (self.create, 8), (self.schedule, 10), (self.bind_unasked, 1), (self.serve, 14), (self.hear_answer, 14),
            (self.lose_answer, 3), (self.delay, 2), (self.land, 2), (self.watch, 8), (self.gap, 1), (self.end, 3),
            (self.delete, 3), (self.compare, 2), (self.expire, 2), (self.wait, 3), (self.restart, 1), (self.spoil, 1),
            (self.depose, 1), (self.work_on, 4), (self.rename, 1),
        )  # fmt: skip
        for _ in range(STEPS):
            (move,) = self.dice.choices([move for move, _ in moves], [weight for _, weight in moves])
            self.renew()
            move()
            self.world.check()
            self.no_drift()
        self.renew()
        self.world.settle()

    @property
    def leader(self) -> Member:
        assert self.world.leader is not None
        return self.world.leader

    def renew(self) -> None:
        """A leader renews; one that could not is followed by another, which waits until the lease is over."""
        if self.dice.random() < 0.9:
            self.leader.leads_until_s = max(self.leader.leads_until_s, self.world.now_s + LEASE_S - RENEW_EVERY_S)

    def create(self) -> None:
        key = self.dice.choice(NAMES)
        if f"default/{key}" in self.world.api.pods:
            return
        pick = self.dice.random()
        units = [self.dice.choice(UNITS) for _ in range(3)]
        if pick < 0.5:
            made = build.share(key, units[0])
        elif pick < 0.65:
            made = build.pod(key, build.container("a", units[0]), build.container("b", units[1]))
        elif pick < 0.8:
            made = build.pod(key, build.container("a", units[0]), init=(build.container("i", units[1]),))
        elif pick < 0.9:
            init = (build.sidecar("s", units[0]), build.container("i", units[1]))
            made = build.pod(key, build.container("a", units[2]), init=init)
        elif pick < 0.95:
            made = build.share(key, 2000)
        else:
            made = build.pod(key, build.container("plain"))
        self.seen.append(self.world.api.create(made))

    def schedule(self) -> None:
        """The scheduler asks, for a pod as it last saw it, and mostly binds."""
        if not self.seen:
            return
        pod = self.dice.choice(self.seen[-6:])
        if not request.parse_request(pod).asks:
            return
        try:
            node = self.leader.filter(pod)
        except Busy:
            self.happened["busy"] += 1
            return
        if node is not None and self.dice.random() < 0.9:
            self.happened["bind"] += 1
            self.leader.start_bind(pod, node)

    def bind_unasked(self) -> None:
        if self.seen:
            self.leader.start_bind(self.dice.choice(self.seen[-6:]), self.dice.choice(("n0", "n1", "n2")))

    def work(self, *, done: bool) -> Work | None:
        works = [work for work in self.leader.works if work.is_done is done]
        return self.dice.choice(works) if works else None

    def serve(self) -> None:
        if (work := self.work(done=False)) is not None:
            self.leader.serve(work)

    def hear_answer(self) -> None:
        if (work := self.work(done=True)) is not None:
            self.happened["fault" if work.fault else "answer"] += 1
            self.leader.go_on(work)

    def lose_answer(self) -> None:
        """The server has done it, or not, and the caller hears of neither."""
        if (work := self.work(done=self.dice.random() < 0.7)) is not None:
            work.answer, work.fault, work.is_done = None, Unavailable("call", "timed out"), True

    def delay(self) -> None:
        """A write is on its way while its caller gives up; it may be done until the lease it was sent under ends."""
        work = self.work(done=False)
        if work is not None and isinstance(work.call, WriteBinding) and self.leader.may_write:
            self.happened["late"] += 1
            self.world.late.append((self.world.now_s + CALL_S, work.call))
            work.fault, work.is_done = Unavailable("call", "timed out"), True

    def land(self) -> None:
        if self.world.late:
            self.world.land(self.dice.choice(self.world.late))

    def watch(self) -> None:
        self.leader.hear(self.dice.randint(1, 4))

    def gap(self) -> None:
        self.leader.relist()
        self.leader.start(binding.rebuild(self.leader.desk, self.world.clock))

    def end(self) -> None:
        bound = [key for key, pod in self.world.api.pods.items() if pod["spec"].get("nodeName")]
        if bound:
            self.world.api.change(self.dice.choice(bound), status={"phase": self.dice.choice(("Succeeded", "Failed"))})

    def delete(self) -> None:
        if self.world.api.pods:
            self.world.api.delete(self.dice.choice(list(self.world.api.pods)))

    def compare(self) -> None:
        """Drift must be nothing, whatever happens between its two lists; but for a gap, which is made up for first."""
        self.leader.catch_up()
        work = self.leader.start(binding.reconcile(self.leader.desk, self.world.clock))
        self.comparisons.append((work, self.leader, self.leader.gaps))

    def no_drift(self) -> None:
        for work, member, gaps in self.comparisons:
            if work.is_over and member.gaps == gaps:
                self.happened["compared"] += work.result is not None
                assert not work.result, work.result
        self.comparisons = [entry for entry in self.comparisons if not entry[0].is_over]

    def expire(self) -> None:
        self.leader.start(binding.expire(self.leader.desk, self.world.clock))

    def wait(self) -> None:
        self.world.pass_time(self.dice.choice((0.1, 2.0, 30.0, 61.0)))

    def depose(self) -> None:
        """The leader was away too long: another leads, and it goes on with what it had begun."""
        self.former.append(self.leader)
        self.restart()

    def work_on(self) -> None:
        works = [(member, work) for member in self.former for work in member.works]
        if works:
            member, work = self.dice.choice(works)
            self.happened["former leader"] += 1
            if not work.is_done:
                member.serve(work)
            member.go_on(work)

    def restart(self) -> None:
        """The leader dies with all it knew; the next leads once the lease and all sent under it are over."""
        self.happened["leader change"] += 1
        while self.world.now_s < self.leader.leads_until_s:
            self.world.pass_time(1.0)
        self.world.leader = None
        self.world.elect(Member(self.world))

    def rename(self) -> None:
        """The device plugin annotates a node that was labelled only, or the annotation is lost."""
        self.happened["rename"] += 1
        self.world.rename(self.dice.choice(("n0", "n1", "n2")), is_named=self.dice.random() < 0.5)

    def spoil(self) -> None:
        """Somebody puts nonsense where the extender will write; a pod without a node holds nothing by it."""
        if unbound := self.world.api.unbound():
            key = request.pod_key(self.dice.choice(unbound))
            about = {"annotations": {"vgpu-serve.io/allocation": "v1 n0 main=9@"}}
            self.world.api.change(key, metadata=about)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("hundred", range(SEEDS // 100))
def test_no_unit_is_given_twice_and_none_is_lost(hundred: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(100 * hundred, 100 * hundred + 100):
        walk = Walk(seed)
        try:
            walk.run()
        except AssertionError as failure:
            raise AssertionError(f"seed {seed}: {failure}") from failure
        happened += walk.happened
    assert set(happened) == {
        "bind",
        "answer",
        "fault",
        "late",
        "busy",
        "leader change",
        "former leader",
        "compared",
        "rename",
    }


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        Walk(number).run()
