"""The switcher's file: what it comes to, and every problem of a bad one at once."""

import datetime
import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from vgpu.core.layout import Guest, Layout, PhysicalGpu
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy
from vgpu.core.switching.actions import Batch, Settings, Way
from vgpu.core.switching.record import Step
from vgpu.switcher import config
from vgpu.switcher.calendar import Calendar, Entry
from vgpu.switcher.config import Config, ConfigError, OnDemand
from vgpu.switcher.providers.settings import Emulated, Libvirt, Mig, VgpuByLabel, Vsphere

SMALL, LARGE = parse_profile("v100-4q"), parse_profile("v100-16q")
WHOLE = b"""
time_zone: Europe/Berlin
gpus:
  gpu-a: {board: V100, provider: lab, policy: equal-share, allowed: [v100-4q-4GB, v100-16q-16GB]}
  gpu-b: {board: a100, provider: mig, cards: 2}
layouts:
  day:   {gpu-a: [{node: node-1, profile: v100-4q-4GB}, {node: node-2, profile: v100-4q-4GB, machine: vm-2}]}
  night:
    gpu-a: [{node: node-5, profile: v100-16q-16GB}]
    gpu-b: [{node: node-7, profile: a100-1-5c, slots: 14, config: all-1g.5gb}]
schedule:
  - {layout: night, at: "22:00", days: [mon, fri]}
  - {layout: day, at: "07:00:30"}
  - {layout: day, at: "09:00", dates: [2026-12-24, "2026-12-31"]}
on_demand: {enabled: true, after_s: 60}
policy: {way: power_off, batch: wait, announce_s: 60, parallel: 2, timeouts_s: {make_room: 30}}
providers:
  lab: {kind: vsphere, host: vcenter.example.com, user_file: /u, password_file: /p, ca_file: /c}
  kvm: {kind: libvirt, uri: "qemu+tls://host/system"}
  dm: {kind: vgpu_device_manager}
  mig: {kind: mig}
  emu: {kind: emulated, url: "http://127.0.0.1:1", token_file: /t}
"""


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "switcher.yaml"
    path.write_bytes(WHOLE)
    assert config.load(path, interval_s=3.0) == Config(
        gpus={
            "gpu-a": PhysicalGpu(
                name="gpu-a", board="v100", policy=SchedulerPolicy.EQUAL_SHARE, allowed=(SMALL, LARGE)
            ),
            "gpu-b": PhysicalGpu(name="gpu-b", board="a100", cards=2, recuts_in_place=True),
        },
        provider_of={"gpu-a": "lab", "gpu-b": "mig"},
        layouts={
            "day": Layout(
                name="day",
                guests={
                    "gpu-a": (
                        Guest(node="node-1", profile=SMALL),
                        Guest(node="node-2", profile=SMALL, machine="vm-2"),
                    )
                },
            ),
            "night": Layout(
                name="night",
                guests={
                    "gpu-a": (Guest(node="node-5", profile=LARGE),),
                    "gpu-b": (Guest(node="node-7", profile=parse_profile("a100-1-5c"), slots=14, config="all-1g.5gb"),),
                },
            ),
        },
        calendar=Calendar(
            zone=ZoneInfo("Europe/Berlin"),
            entries=(
                Entry(layout="night", at=datetime.time(22), days=frozenset({0, 4})),
                Entry(layout="day", at=datetime.time(7, 0, 30)),
                Entry(
                    layout="day",
                    at=datetime.time(9),
                    dates=frozenset({datetime.date(2026, 12, 24), datetime.date(2026, 12, 31)}),
                ),
            ),
        ),
        on_demand=OnDemand(enabled=True, after_s=60.0, rest_s=1800.0),
        settings=Settings(way=Way.POWER_OFF, batch=Batch.WAIT, timeouts_s={Step.MAKE_ROOM: 30.0}, interval_s=3.0),
        announce_s=60.0,
        late_s=3600.0,
        parallel=2,
        providers={
            "lab": Vsphere(
                host="vcenter.example.com", user_file=Path("/u"), password_file=Path("/p"), ca_file=Path("/c")
            ),
            "kvm": Libvirt(uri="qemu+tls://host/system"),
            "dm": VgpuByLabel(),
            "mig": Mig(),
            "emu": Emulated(url="http://127.0.0.1:1", token_file=Path("/t")),
        },
    )


BAD = b"""
time_zone: Europe/Berli
gpus:
  gpu-a: {board: v10, provider: la, policy: best}
  Gpu_b: {board: v100, provider: mig, cards: 0}
  gpu-c: {board: v100, provider: lab}
  gpu-d: {board: v100, provider: mig}
layouts:
  day:
    gpu-c: [{node: node-1, profile: v100-9q-4GB}, {profile: v100-4q, nod: x}]
    gpu-d: [{node: node-5, profile: v100-4q}]
    gpu-x: []
  night:
    gpu-c: [{node: node-5, profile: v100-16q}, {node: node-6, profile: v100-16q, config: all}]
    gpu-d: [{node: node-7, profile: v100-4q, machine: node-5, config: one}]
schedule:
  - {layout: nigh, at: 22:00, days: [mon, tues]}
  - {layout: nigh, at: 22:00, days: [mon, tue]}
  - {layout: day, at: "27:00"}
  - {layout: day, at: "07:00", days: [mon], dates: [2026-12-24]}
  - {layout: day, at: "07:00"}
  - {layout: night, at: "08:00", dates: ["2026-13-24"]}
  - {layout: night, at: "07:00", days: [sun]}
on_demand: {enabled: 1}
policy: {way: suspend, timeouts_s: {make_room: 0, uncordon: 3}}
providers:
  lab: {kind: vsphere, host: vcenter.example.com, pasword: s3cret, password_file: 53}
  kvm: {kind: libvrt, uri: "qemu+tls://host/system"}
  mig: {kind: mig}
"""
GOLDEN = Path(__file__).parents[2] / "goldens" / "switcher" / "refused_file.txt"


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config.read(Path("bad.yaml"), BAD, interval_s=2.0)
    said = str(refused.value)
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        GOLDEN.write_text(f"{said}\n")
    assert said.splitlines() == GOLDEN.read_text().splitlines()
    assert "s3cret" not in said
    assert "53" not in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"gpus: [", "not YAML"),
        (b"{gpus: {a: {}, a: {}}}", "not YAML: the key 'a' is given twice; remove one of them"),
        (b"gpus: {a: 2026-13-01}", "not YAML: month must be in 1..12"),
        (b"[]", "the file: expected a mapping"),
        (b"{}", "gpus: missing; it has no default"),
        (b"{gpus: {}, layouts: {}, providers: {}}", "gpus: empty; name at least one physical GPU"),
        (b"\xff", "not YAML"),
    ],
)
def test_what_is_no_such_file(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.read(Path("f"), content, interval_s=2.0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; give a readable file"):
        config.load(tmp_path / "none", interval_s=2.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("policy: {announce_s: .inf}", "policy.announce_s: should be a finite number, and it is inf"),
        ("policy: {late_s: .nan}", "policy.late_s: should be a finite number, and it is nan"),
        ("on_demand: {after_s: .inf}", "on_demand.after_s: should be a finite number"),
        ("layouts: {day: {gpu-a: [{node: ../n, profile: v100-4q}]}}", "layouts.day.gpu-a.0.node: String should match"),
        ("providers: {lab: {kind: libvirt, uri: 'qemu+tls://u:s3cret@h/system'}}", "lab.uri: has a password"),
    ],
)
def test_what_could_not_be_carried_out_is_refused(more: str, said: str) -> None:
    whole = """
gpus: {gpu-a: {board: v100, provider: lab}}
layouts: {day: {gpu-a: [{node: node-1, profile: v100-4q}]}}
providers: {lab: {kind: libvirt, uri: "test:///default"}}
"""
    with pytest.raises(ConfigError) as refused:
        config.parse(yaml.safe_load(whole) | yaml.safe_load(more), interval_s=2.0)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)
