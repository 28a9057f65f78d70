"""Pods, cards, kubelet and plugin in seeded random order: no card over its units, no container on two cards."""

from dataclasses import replace
from random import Random

import grpc
import pynvml
import pytest

from tests.contracts.deviceplugin.conftest import GUEST, RESOURCE, V100, Node
from tests.fakes.kubelet import AdmissionError
from vgpu.emulator.nvml_state import Fault

STEPS = 25
TWIN = replace(V100, uuid="GPU-b")
UNITS = {V100.uuid: 1000, TWIN.uuid: 1000, GUEST.uuid: 500}


class Story:
    """One order of events on one node."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.random = Random(seed)
        self.given: dict[str, dict[str, str]] = {}
        self.lost: int | None = None
        self.pods = 0

    def begin(self) -> None:
        self.node.start()
        self.settle()

    def settle(self) -> None:
        """Until the kubelet counts what is healthy; registration and lists take other threads."""
        self.node.tick()
        whole = sum(UNITS.values())
        ill = 0 if self.lost is None else list(UNITS.values())[self.lost]
        self.node.allocatable(whole - ill)

    def step(self) -> None:
        weighted = [self.admit] * 6 + [self.remove] * 3 + [self.again] * 2
        weighted += [self.flip_health, self.restart_kubelet, self.restart_plugin]
        self.random.choice(weighted)()
        self.check()

    def admit(self) -> None:
        self.pods += 1
        pod, size = f"pod-{self.pods}", self.random.choice([50, 125, 300, 500, 1000, 2000])
        used = self.used()
        try:
            slot = self.node.kubelet.admit(pod, "main", RESOURCE, size)
        except AdmissionError as refused:
            self.check_refusal(refused, size, [UNITS[uuid] - used[uuid] for uuid in self.healthy()])
            return
        self.given[pod] = slot

    @staticmethod
    def check_refusal(refused: AdmissionError, size: int, rooms: list[int]) -> None:
        """Nothing had room: None is the kubelet's own count over all cards."""
        assert refused.code in (None, grpc.StatusCode.RESOURCE_EXHAUSTED), refused
        fitting = rooms.count(1000) == 2 if size == 2000 else max(rooms) >= size
        assert not fitting, (size, rooms)

    def remove(self) -> None:
        if self.given:
            pod = self.random.choice(sorted(self.given))
            self.node.kubelet.remove(pod)
            del self.given[pod]

    def again(self) -> None:
        """Kubelet asks again for a container that it has given devices, in an order of its own."""
        healthy = set(self.healthy())
        asked = [pod for pod, slot in self.given.items() if set(slot["CUDA_VISIBLE_DEVICES"].split(",")) <= healthy]
        self.random.shuffle(asked)
        held = [list(self.node.kubelet.checkpoint[(pod, "main")]) for pod in asked]
        for ids in held:
            self.random.shuffle(ids)
        if asked:
            assert self.node.kubelet.allocate(RESOURCE, *held) == [self.given[pod] for pod in asked]

    def flip_health(self) -> None:
        assert self.node.state is not None
        self.lost = None if self.lost is not None else self.random.randrange(len(UNITS))
        faults = (
            [] if self.lost is None else [Fault(function="*", code=pynvml.NVML_ERROR_GPU_IS_LOST, device=self.lost)]
        )
        self.node.state.set_faults(faults)
        self.settle()

    def restart_kubelet(self) -> None:
        self.node.kubelet.restart()
        self.settle()

    def restart_plugin(self) -> None:
        """A new process remembers nothing: a card that is lost now is not advertised until it reads again."""
        if self.lost is None:
            self.node.stop()
            self.begin()

    def healthy(self) -> list[str]:
        return [uuid for index, uuid in enumerate(UNITS) if index != self.lost]

    def used(self) -> dict[str, int]:
        held = [name for ids in self.node.kubelet.checkpoint.values() for name in ids]
        assert len(set(held)) == len(held), "a device was given twice"
        return {uuid: sum(name.rpartition("-")[0] == uuid for name in held) for uuid in UNITS}

    def check(self) -> None:
        used = self.used()
        assert all(used[uuid] <= UNITS[uuid] for uuid in UNITS)
        told = dict.fromkeys(UNITS, 0)
        for pod, slot in self.given.items():
            uuids = slot["CUDA_VISIBLE_DEVICES"].split(",")
            for uuid in uuids:
                told[uuid] += int(slot["VGPU_SLOT_UNITS"])
            held = {name.rpartition("-")[0] for name in self.node.kubelet.checkpoint[(pod, "main")]}
            assert held == set(uuids), pod
        assert told == used, "what containers were told is what the kubelet counts"


@pytest.mark.parametrize("seed", range(12))
def test_in_any_order_the_books_agree(node: Node, seed: int) -> None:
    node.show(V100, TWIN, GUEST)
    story = Story(node, seed)
    story.begin()
    for _ in range(STEPS):
        story.step()
    assert story.pods > 0
