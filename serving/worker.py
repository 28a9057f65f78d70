"""`python -m serving.worker`: a container's worker, one slot of one type as one Ray node.

    python -m serving.worker --ray-address HOST:6379 --slot v100-8q-8GB   becomes `ray start --address … --block`
    python -m serving.worker drain --timeout-s 45                         preStop: gives up the slot, waits until free
    python -m serving.worker ready                                        probes: the Ray node has joined

Reads from its environment, by the downward API: VGPU_NODE, VGPU_NAMESPACE, VGPU_POD, VGPU_WORKER and POD_IP; a fraction
also what was decided for the pod (`vgpu.core.allocation.environment`). The rest of the slot follows from its type.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from serving import ray_environment, ray_start, worker_drain
from serving.ray_start import POD_IP, Start, StartRefused
from serving.worker_drain import DrainFailed
from vgpu.core import names
from vgpu.core.profile import ProfileError
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_environment import slot_environment
from vgpu.core.slot_type import Fraction, SlotType, parse_slot_type

METRICS_PORT = 9105
DEVICE_KIND = "real"  # unless the environment says that it is emulated
READY_TIMEOUT_S = 5.0


def start(options: argparse.Namespace, environment: Mapping[str, str]) -> Start:
    """Build the worker's command and environment. Raises `StartRefused`."""
    problems: list[str] = []
    own: dict[str, str] = {}
    label = ""
    try:
        shape = parse_slot_type(options.slot)
        label = shape.label
        own = _slot(shape, environment, problems)
    except ProfileError as error:
        problems.append(f"--slot: {error}")
    worker, ip = _given(environment, names.ENV_WORKER, problems), _given(environment, POD_IP, problems)
    token = ray_environment.token_file(environment, problems)
    if problems:
        raise StartRefused("\n".join(problems))
    node = ray_start.Node(ip=options.node_ip_address or ip, temp_dir=options.temp_dir, agent_port=options.agent_port)
    told = {
        names.ENV_DEVICE_KIND: environment.get(names.ENV_DEVICE_KIND) or DEVICE_KIND,
        names.ENV_METRICS_ADDRESS: f"{ip}:{options.metrics_port}",
    }
    shared = {**ray_environment.CONTAINER, **ray_environment.shared(token)}
    return Start(
        command=ray_start.worker_command(node, address=options.ray_address, slot_label=label, worker=worker),
        environment={**shared, **environment, **own, **told},
    )


def _slot(shape: SlotType, environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The variables of the worker's slot; what is missing or contradicts the slot type joins `problems`."""
    policy = environment.get(names.ENV_SLOT_POLICY) or str(SchedulerPolicy.BEST_EFFORT)
    if policy not in tuple(SchedulerPolicy):
        problems.append(f"{names.ENV_SLOT_POLICY} is {policy!r}; write one of {', '.join(SchedulerPolicy)}")
    if not isinstance(shape, Fraction):
        node = _given(environment, names.ENV_NODE, problems)
        # A guest has one vGPU; a node with several says which in the variable.
        slot_id = environment.get(names.ENV_SLOT_ID) or f"{node}/0"
        return slot_environment(shape, slot_id=slot_id, framebuffer_mib=shape.framebuffer_mib, policy=policy)
    units = environment.get(names.ENV_SLOT_UNITS, "")
    slot_id = _given(environment, names.ENV_SLOT_ID, problems)
    framebuffer_mib = environment.get(names.ENV_SLOT_FRAMEBUFFER_MIB, "")
    if units != str(shape.units) or not framebuffer_mib.isdecimal():
        problems.append(
            f"the pod was given {units or 'no'} units and {framebuffer_mib or 'no'} MiB, the slot is {shape.label}; "
            f"let the scheduler with the extender place it, and ask for {names.RESOURCE_VGPU}: {shape.units}"
        )
        return {}
    return slot_environment(shape, slot_id=slot_id, framebuffer_mib=int(framebuffer_mib), policy=policy)


def _given(environment: Mapping[str, str], name: str, problems: list[str]) -> str:
    value = environment.get(name, "")
    if not value:
        problems.append(f"{name} is not set; the pod's downward API sets it")
    return value


def parser() -> argparse.ArgumentParser:
    """The options; defaults are what the chart names."""
    parser = argparse.ArgumentParser(prog="python -m serving.worker", description=__doc__)
    parser.add_argument("--ray-address", required=True, help="host:port of the Ray head")
    parser.add_argument("--slot", required=True, help="the slot type, such as v100-8q-8GB or fraction:500")
    parser.add_argument("--metrics-port", type=int, default=METRICS_PORT, help="the worker's own /metrics and /drain")
    parser.add_argument("--agent-port", type=int, default=ray_start.AGENT_PORT, help="Ray's agent of this node")
    parser.add_argument("--node-ip-address", default="", help=f"this node's address in Ray; ${POD_IP} where left out")
    parser.add_argument("--temp-dir", type=Path, default=Path("/tmp/ray"), help="where Ray keeps sessions and logs")
    return parser


def run(arguments: list[str]) -> int:
    """Does not return where it starts; 2 with one line for each problem where it cannot."""
    options = parser().parse_args(arguments)
    try:
        becoming = start(options, os.environ)
    except StartRefused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.execve(becoming.command[0], becoming.command, becoming.environment)


def drain(arguments: list[str]) -> int:
    """0 once no replica is left here, 1 where one still runs: the kubelet then makes an Event of the reason."""
    parser = argparse.ArgumentParser(prog="python -m serving.worker drain", description=worker_drain.__doc__)
    parser.add_argument("--timeout-s", type=float, default=45.0, help="longest wait for the replica to go")
    parser.add_argument("--metrics-port", type=int, default=METRICS_PORT)
    options = parser.parse_args(arguments)
    problems: list[str] = []
    host, token = _given(os.environ, POD_IP, problems), ray_environment.token_file(os.environ, problems)
    if problems:
        sys.stderr.write("\n".join([*problems, ""]))
        return 2
    try:
        had_replica = worker_drain.drain(host, options.metrics_port, token_file=token, timeout_s=options.timeout_s)
    except DrainFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("the replica has gone\n" if had_replica else "no replica is here\n")
    return 0


def ready(arguments: list[str]) -> int:
    """0 once the Ray node of this pod has joined, 1 with the reason while it has not."""
    parser = argparse.ArgumentParser(prog="python -m serving.worker ready", description=ready.__doc__)
    parser.add_argument("--agent-port", type=int, default=ray_start.AGENT_PORT)
    options = parser.parse_args(arguments)
    host = os.environ.get(POD_IP) or "127.0.0.1"
    why = worker_drain.why_not_joined(host, options.agent_port, timeout_s=READY_TIMEOUT_S)
    if why is not None:
        sys.stderr.write(f"{why}\n")
    return 0 if why is None else 1


COMMANDS = {"run": run, "drain": drain, "ready": ready}


def main(arguments: list[str] | None = None) -> int:
    """Run the worker, or what its first word names."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in COMMANDS:
        return COMMANDS[given[0]](given[1:])
    return run(given)


if __name__ == "__main__":
    sys.exit(main())
