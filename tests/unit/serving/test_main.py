"""`python -m serving`: the deployment that ends, and what it says of wrong options."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from serving import __main__ as deployment
from serving import config
from serving.config import GATEWAY
from serving.deployed import Deployed, State
from tests.unit.serving.ray_applications import FakeRay

MODEL = {"kind": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}
FILE = config.parse({"models": {"one": MODEL, "dozy": {**MODEL, "autoscaling": {"min_replicas": 0}}}})


@dataclass(slots=True)
class SlowRay(FakeRay):
    """Its applications run from the third reading on."""

    def read(self) -> dict[str, Deployed]:
        if self.reads == 2:
            self.waits = set()
            FakeRay.apply(self, self.handed[:2])
        return dict(FakeRay.read(self))


def test_it_waits_for_every_application_but_those_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "POLL_S", 0)
    ray = SlowRay(waits={"one", "dozy"})
    deployment.deploy(FILE, ray)
    assert ray.reads == 3
    assert ray.applications["dozy"].target == 0


def test_one_that_fails_ends_it_with_rays_reason() -> None:
    with pytest.raises(RuntimeError, match="one: its constructor failed"):
        deployment.deploy(FILE, FakeRay(fails={"one"}))


def test_applications_that_the_file_does_not_name_stay() -> None:
    ray = FakeRay(applications={"other": Deployed(state=State.RUNNING, settings={"name": "other"}, target=1)})
    deployment.deploy(FILE, ray)
    assert set(ray.applications) == {"other", "one", "dozy", GATEWAY}


@pytest.mark.parametrize("listen", ["9107", "127.0.0.1:", ":9107", "127.0.0.1:http"])
def test_a_wrong_address_to_listen_on_is_refused_with_an_example(
    tmp_path: Path, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = deployment.main([str(tmp_path / "m"), "--ray-address", "127.0.0.1:1", "--watch", "--listen", listen])
    assert (status, capsys.readouterr().err) == (2, f"--listen is {listen!r}; give host:port\n")
