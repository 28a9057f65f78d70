"""`vgpu-serve up`."""

import time

import typer

from autoscaler.cli import running, system, terminal
from autoscaler.embedded import addresses, guard
from autoscaler.embedded.installation import AlreadyUp, Plan
from autoscaler.embedded.processes import ProcessFailed
from vgpu.adapters import kube

CHECK_S = 1.0


def up(
    models: system.Models = system.DEMO_MODELS,
    run_directory: running.RunDirectory = running.DEFAULT,
    fleet_file: system.FleetFile = None,
    slots: system.Slots = None,
    switches: system.Switches = None,
    http_port: int = addresses.DEFAULTS["http"],
    api_port: int = addresses.DEFAULTS["api"],
    dashboard_port: int = addresses.DEFAULTS["dashboard"],
    autoscaler_port: int = addresses.DEFAULTS["autoscaler"],
) -> None:
    """Run everything on this machine, on emulated GPUs, until ctrl-C."""
    wanted = {"http": http_port, "api": api_port, "dashboard": dashboard_port, "autoscaler": autoscaler_port}
    given = system.Given(models=models, fleet_file=fleet_file, slots=slots, switches=switches)
    plan = system.plan(given, wanted, run_directory)
    raise typer.Exit(guard.run(lambda: stay_up(plan)))


def stay_up(plan: Plan) -> int:
    """Start, say how to use it, and watch over it; the exit status."""
    out = terminal.console()
    try:
        with system.installation(plan, out) as installation:
            model = plan.spec.models[0].name
            out.print(f"\nclients     {installation.url}")
            out.print(f"Kubernetes  kubectl --kubeconfig {installation.kubeconfig} get nodes -L vgpu.type")
            out.print(f"Ray         {installation.dashboard_url}   autoscaler {installation.autoscaler_url}/v1/state")
            out.print(f"why         vgpu-serve explain {model}   vgpu-serve status")
            if installation.switcher_url is not None:
                out.print(f"switch      vgpu-serve switch   {installation.switcher_url}/v1/switches")
            out.print(f"try         {_curl(installation.url, model)}\n", soft_wrap=True, markup=False)
            out.print("GPUs are emulated: their time is modelled, the answers are real. ctrl-C stops everything.")
            while True:
                time.sleep(CHECK_S)
                installation.check()
    except KeyboardInterrupt:
        out.print("stopped")
        return 0
    except AlreadyUp as refusal:
        terminal.complain(str(refusal))
        return terminal.REFUSED
    except (ProcessFailed, kube.Unavailable) as failure:
        terminal.complain(str(failure))
        return terminal.FAILED


def _curl(url: str, model: str) -> str:
    body = '{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["Where is my parcel?"]}]}'
    return f"curl -s {url}/v2/models/{model}/infer -d '{body}'"
