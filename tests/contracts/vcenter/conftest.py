"""The vSphere provider and the vCenter simulator, with somebody else at the vCenter."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.providers.rig_vsphere import settings
from tests.fakes.clock import VirtualClock
from tests.vcenter.operator import Operator, operator
from tests.vcenter.server import VCenter, certificates
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.providers.vsphere import VsphereProvider
from vgpu.switcher.providers.vsphere_session import Session

MakeProvider = Callable[..., VsphereProvider]


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[VCenter]:
    running = VCenter(certificates(tmp_path))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def reached(vcenter: VCenter, tmp_path: Path) -> Vsphere:
    """How the provider reaches it, in datacenter DC0."""
    return settings(vcenter, tmp_path)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def make(reached: Vsphere, clock: VirtualClock) -> Iterator[MakeProvider]:
    """Providers over the virtual clock, with some settings replaced; tasks are left to themselves at once."""
    made: list[VsphereProvider] = []

    def new(timeout_s: float = 5.0, **changed: Any) -> VsphereProvider:
        given = replace(reached, **changed)
        session = Session(given, timeout_s=timeout_s, now_s=clock.now_s)
        sleep: Callable[[float], None] = clock.pass_s
        provider = VsphereProvider(session, given.datacenter, settle_s=0.0, now_s=clock.now_s, sleep=sleep)
        made.append(provider)
        return provider

    yield new
    for provider in made:
        provider.close()


@pytest.fixture
def someone(vcenter: VCenter) -> Iterator[Operator]:
    with operator(vcenter) as present:
        yield present
