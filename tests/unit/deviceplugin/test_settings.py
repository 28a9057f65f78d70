"""The command line: what is refused, with which line."""

from pathlib import Path

import pytest

from vgpu.core.share import SchedulerPolicy
from vgpu.deviceplugin.service import Mode
from vgpu.deviceplugin.settings import Settings, make_parser, parse

PROGRAM = "python -m vgpu.deviceplugin"


def read(*flags: str) -> Settings:
    return parse(make_parser(), ["--node", "n", *flags])[0]


def test_the_defaults_of_the_command_line_are_those_of_the_settings() -> None:
    assert read() == Settings(node="n")


def test_everything_can_be_set() -> None:
    flags = (
        "--mode node-status --plugin-dir /p --resource example.com/units --units-per-device 50 --scheduler-policy "
        "fixed-share --sample-period-s 10 --xid-quiet-s 0 --ignored-xids 13,31 --listen [::]:9 --kubeconfig k "
        "--fake-nvml --cdi-kind nvidia.com/gpu"
    )
    assert read(*flags.split()) == Settings(
        node="n",
        mode=Mode.NODE_STATUS,
        plugin_dir="/p",
        resource="example.com/units",
        units_per_device=50,
        policy=SchedulerPolicy.FIXED_SHARE,
        device_kind="emulated",
        sample_period_s=10.0,
        xid_quiet_s=0.0,
        ignored_xids=frozenset({13, 31}),
        listen=("[::]", 9),
        kubeconfig=Path("k"),
        cdi_kind="nvidia.com/gpu",
    )
    assert read(*flags.split()).stale_s == 30.0
    assert read("--ignored-xids", "").ignored_xids == frozenset()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--mode", "node-status"], "--mode node-status writes to the node; give --in-cluster or --kubeconfig"),
        (["--resource", "cpu"], "--resource 'cpu' is no extended resource; write domain/name, not kubernetes.io"),
        (
            ["--resource", "kubernetes.io/gpu", "--units-per-device", "7"],
            "--resource 'kubernetes.io/gpu' is no extended resource; write domain/name, not kubernetes.io; "
            "--units-per-device 7 does not divide 1000; take 1, 10 or 50",
        ),
        (["--units-per-device", "0"], "--units-per-device 0 does not divide 1000; take 1, 10 or 50"),
        (
            ["--units-per-device", "50"],
            "a quantity of nvidia.com/vgpu is a number of units everywhere, and --units-per-device 50 makes it "
            "another; name the resource too: --resource nvidia.com/vgpu-50",
        ),
        (
            ["--cdi-kind", "gpu"],
            "--cdi-kind 'gpu' is no kind of device; write vendor/class, as in nvidia.com/gpu",
        ),
        (["--sample-period-s", "0"], "--sample-period-s is above 0 and --xid-quiet-s not below"),
        (["--ignored-xids", "13;31"], "argument --ignored-xids: '13;31' is no list of XIDs; write numbers with commas"),
        (["--listen", "nine"], "argument --listen: 'nine' is not HOST:PORT"),
        (
            ["--in-cluster", "--kubeconfig", "k"],
            "argument --kubeconfig: not allowed with argument --in-cluster",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*flags)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"{PROGRAM}: {line}\n")
