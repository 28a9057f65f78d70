"""The node object, against the embedded API server: written where it must be, left alone where it is right."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.embedded.apiserver import ApiServer, Options, start
from tests.fakes.waiting import eventually
from tests.unit.deviceplugin.build import card, catalogue
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube
from vgpu.core import names
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.node_writer import NodeWriter
from vgpu.deviceplugin.roster import Roster

GUEST = catalogue(card(profile="v100-8q"))
CONFLICT = "label vgpu.type=v100-4q-4GB and device 'V100-8Q' disagree; the device is v100-8q-8GB"
WALL = datetime(2027, 1, 15, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    made = start(Options(with_controllers=False))
    yield made
    made.stop()


class World:
    """One node of the server, and a writer for it."""

    def __init__(self, api: Kube, name: str) -> None:
        self.api, self.name = api, name
        self.roster = Roster(1)
        self.api.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})

    def writer(self, *, api: Any = None, resource: str = "") -> NodeWriter:
        self.registry = CollectorRegistry()
        metrics = PluginMetrics(self.registry, self.name)
        return NodeWriter(
            api=api or self.api,
            node=self.name,
            roster=self.roster,
            metrics=metrics,
            resource=resource,
            wall=lambda: WALL,
        )

    def read(self) -> dict[str, Any]:
        return self.api.read(kube.NODES, self.name)

    def about(self) -> tuple[dict[str, str], dict[str, str]]:
        about = self.read()["metadata"]
        return about.get("labels", {}), about.get("annotations", {})

    def events(self) -> list[tuple[str, str, str]]:
        return [
            (event["type"], event["reason"], event["message"])
            for event in self.api.list(kube.EVENTS)
            if event["involvedObject"]["name"] == self.name
        ]

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"node": self.name})


@pytest.fixture
def world(server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    server.write_kubeconfig(tmp_path / "kubeconfig")
    api = kube.connect(tmp_path / "kubeconfig")
    yield World(api, f"node-{abs(hash(request.node.name)) % 10**9}")
    api.close()


def test_an_absent_label_is_written_once_and_the_cards_are_told(world: World) -> None:
    writer = world.writer()
    writer.write(GUEST)
    assert world.about() == ({"vgpu.type": "v100-8q-8GB"}, {names.ANNOTATION_GPUS: "v1 GPU-a:16384:500"})
    before = world.read()["metadata"]["resourceVersion"]
    writer.write(GUEST)
    assert world.read()["metadata"]["resourceVersion"] == before, "a quiet node is only read"
    assert world.events() == []
    assert writer.has_written


def test_a_wrong_label_is_flagged_once_and_kept_until_it_is_mended(world: World) -> None:
    world.api.label_node(world.name, {"vgpu.type": "v100-4q-4GB"})
    world.writer().write(GUEST)
    world.writer().write(GUEST)  # a restarted plugin finds its own flag
    flagged = {names.ANNOTATION_LABEL_CONFLICT: CONFLICT, names.ANNOTATION_GPUS: "v1 GPU-a:16384:500"}
    assert world.about() == ({"vgpu.type": "v100-4q-4GB"}, flagged)
    assert world.events() == [("Warning", "ProfileLabelConflict", CONFLICT)]


def test_the_flag_goes_when_they_agree_again(world: World) -> None:
    writer = world.writer()
    world.api.label_node(world.name, {"vgpu.type": "v100-4q-4GB"})
    writer.write(GUEST)
    assert world.metric("vgpu_plugin_label_conflict") == 1
    writer.write(catalogue())  # no card seen: nothing is known, so nothing is taken back
    assert names.ANNOTATION_LABEL_CONFLICT in world.about()[1]
    world.api.label_node(world.name, {"vgpu.type": None})
    writer.write(GUEST)
    assert world.about() == ({"vgpu.type": "v100-8q-8GB"}, {names.ANNOTATION_GPUS: "v1 GPU-a:16384:500"})
    agrees = ("Normal", "ProfileLabelAgrees", "the node's profile label and its devices agree again")
    assert sorted(world.events()) == [agrees, ("Warning", "ProfileLabelConflict", CONFLICT)]
    assert world.metric("vgpu_plugin_label_conflict") == 0


class LabelledMeanwhile:
    """The API, where somebody labels the node between our reading it and our writing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self, *arguments: Any) -> dict[str, Any]:
        found = self._world.api.read(*arguments)
        self._world.api.label_node(self._world.name, {"vgpu.type": "v100-4q-4GB"})
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.api, name)


def test_a_label_that_appears_meanwhile_is_not_replaced(world: World) -> None:
    world.writer(api=LabelledMeanwhile(world)).write(GUEST)
    assert world.about()[0] == {"vgpu.type": "v100-4q-4GB"}
    world.writer().write(GUEST)
    assert world.about()[1][names.ANNOTATION_LABEL_CONFLICT] == CONFLICT


def test_units_stand_in_the_nodes_status_where_asked(world: World) -> None:
    world.api.set_node_status(world.name, {"capacity": {"cpu": "8"}, "allocatable": {"cpu": "8"}})
    writer = world.writer(resource=names.RESOURCE_VGPU)
    writer.write(catalogue(card(), card("GPU-b", index=1, profile="v100-8q"), card("GPU-c", index=2, ill="lost")))
    status = world.read()["status"]
    assert (status["capacity"], status["allocatable"]) == ({"cpu": "8", "nvidia.com/vgpu": "1500"},) * 2
    world.api.set_node_status(world.name, {"capacity": {"nvidia.com/vgpu": "0"}})  # as a restarted kubelet may
    writer.write(catalogue(card()))
    assert world.read()["status"]["capacity"]["nvidia.com/vgpu"] == "1000"


def test_without_being_asked_the_status_is_the_kubelets(world: World) -> None:
    world.writer().write(GUEST)
    assert "nvidia.com/vgpu" not in world.read().get("status", {}).get("capacity", {})


def test_a_node_that_is_not_there_is_counted_and_tried_again(world: World) -> None:
    world.api.delete(kube.NODES, world.name)
    writer = world.writer()
    writer.write(GUEST)
    assert world.metric("vgpu_plugin_api_failures_total") == 1
    assert not writer.has_written


def test_each_edition_is_written_as_it_comes(world: World) -> None:
    writer = world.writer()
    writer.start()
    world.roster.publish(GUEST)
    eventually(lambda: world.about()[1].get(names.ANNOTATION_GPUS), lambda text: text == "v1 GPU-a:16384:500")
    world.roster.publish(catalogue(card(profile="v100-8q", ill="lost")))
    eventually(lambda: world.about()[1].get(names.ANNOTATION_GPUS), lambda text: text == "v1 GPU-a:16384:500:unhealthy")
    writer.stop()
    world.roster.close()
