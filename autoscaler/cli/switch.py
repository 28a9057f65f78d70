"""`vgpu-serve switch [LAYOUT]`."""

import getpass
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from autoscaler.cli import running, terminal
from autoscaler.refusal import Refused
from vgpu.adapters import kube
from vgpu.core.switching.record import Asked, Cause, Result, Switch
from vgpu.switcher.records import Record, Records, as_json

POLL_S = 0.5
QUIET_S = 30.0
"""After so long without anybody taking up the request, something is to be said."""

Layout = Annotated[str | None, typer.Argument(help="The layout to switch to; without it, how everything stands.")]
Gpu = Annotated[str | None, typer.Option("--gpu", help="This physical GPU alone; all that differ by default.")]
From = Annotated[str | None, typer.Option("--from", help="The layout a GPU is in, where nobody could tell.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and what speaks against it; change nothing.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Ask, and do not wait for the end.")]
Url = Annotated[str | None, typer.Option("--switcher-url", help="The switcher's; that of the running `up` by default.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="Of the cluster; that of the running `up`, or kubectl's.")]
Namespace = Annotated[str | None, typer.Option(help="Where the switcher keeps its records; as it says by default.")]


def switch(
    layout: Layout = None,
    gpu: Gpu = None,
    origin: From = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    run_directory: running.RunDirectory = running.DEFAULT,
    switcher_url: Url = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Switch physical GPUs to a layout, safely; without one, how they stand."""
    url = switcher_url or _of_up(run_directory, "switcher_url", "--switcher-url")
    if layout is None:
        state = running.ask("/v1/switches", url=url, run_directory=run_directory)
        terminal.show(state, output, [_gpus(state)], [*state["problems"], *state["file"]["problems"]])
        return
    parts = {"layout": layout, "gpu": gpu, "from": origin}
    query = urlencode({key: value for key, value in parts.items() if value})
    answer = running.ask(f"/v1/plan?{query}", url=url, run_directory=run_directory)
    if dry_run:
        against = [f"{plan['gpu']}: would refuse: {why}" for plan in answer["plans"] for why in plan["would_refuse"]]
        terminal.show(answer, output, map(_plan, answer["plans"]), against)
        raise typer.Exit(terminal.FAILED if against else 0)
    gpus = _to_switch(answer["plans"], layout, origin or "")
    if not gpus:
        terminal.show({"switches": []}, output, [], [f"{gpu or 'every GPU'} is in {layout} already"])
        return
    client = _client(kubeconfig, run_directory, is_up=switcher_url is None)
    try:
        records = Records(client, namespace or answer["namespace"])
        asked = _ask(records, gpus, layout, origin or "")
        if no_wait:
            return
        ended = Waiting(records, asked, terminal.console()).wait()
    finally:
        client.close()
    terminal.show({"switches": [{"gpu": name} | as_json(each) for name, each in ended.items()]}, output, [_ends(ended)])
    if any(each.result is not Result.DONE for each in ended.values()):
        raise typer.Exit(terminal.FAILED)


def _to_switch(plans: Sequence[Mapping[str, Any]], layout: str, origin: str) -> list[str]:
    """The GPUs that are not in a layout, or are about to leave it."""
    if not plans:
        raise Refused(f"layout {layout} names no GPU; name one that does")
    for plan in plans if origin else ():
        if plan["origin"] != origin:
            raise Refused(f"{plan['gpu']} is in {plan['origin']}, which is known; leave --from {origin} out for it")
    return [plan["gpu"] for plan in plans if plan["origin"] != layout or plan["under_way"]]


def _of_up(run_directory: Path, key: str, option: str) -> str:
    found = running.addresses(run_directory).get(key)
    if found is None:
        raise Refused(f"what is up in {run_directory} has no switcher; start it with --switches, or name {option}")
    return str(found)


def _client(kubeconfig: Path | None, run_directory: Path, *, is_up: bool) -> kube.Kube:
    if kubeconfig is None:
        standard = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        kubeconfig = Path(_of_up(run_directory, "kubeconfig", "--kubeconfig") if is_up else standard)
    try:
        return kube.connect(kubeconfig)
    except kube.Unavailable as fault:
        raise Refused(f"{fault}; give one with --kubeconfig") from fault


def _ask(records: Records, gpus: Sequence[str], layout: str, origin: str) -> dict[str, Asked]:
    """Leave a request for each GPU."""
    now_s, asked = time.time(), {}
    for gpu in gpus:
        stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%S")
        one = f"hand-{layout}-{stamp}-{uuid4().hex[:6]}"
        asked[gpu] = Asked(id=one, layout=layout, cause=Cause.HAND, at_s=now_s, by=_user())
        try:
            records.ask(gpu, asked[gpu], layout=origin)
        except (kube.Unavailable, kube.Conflict) as fault:
            raise terminal.Failed(
                f"cannot ask for {gpu}: {fault}; see who may write the ConfigMap named there"
            ) from fault
    return asked


def _user() -> str:
    """Who asks; in a container the number may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


class Waiting:
    """Follows requests until each has ended, and says how far they are."""

    def __init__(self, records: Records, asked: Mapping[str, Asked], out: Console) -> None:
        self._records, self._asked, self._out = records, asked, out
        self._began_s = time.monotonic()
        self._said: dict[str, str] = {}

    def wait(self) -> dict[str, Switch]:
        """Every GPU's switch once it has ended. Raises `Failed` where a request was overtaken by another."""
        ended: dict[str, Switch] = {}
        while len(ended) < len(self._asked):
            for gpu in self._asked.keys() - ended.keys():
                try:
                    record = self._records.read(gpu)
                except kube.Unavailable as fault:
                    self._say(gpu, f"cannot see how far it is: {fault}")
                    continue
                found = self._of(gpu, record)
                if found is not None and found.result is not None:
                    ended[gpu] = found
                self._say(gpu, self._sentence(record, found))
            if len(ended) < len(self._asked):
                time.sleep(POLL_S)
        return {gpu: ended[gpu] for gpu in self._asked}

    def _of(self, gpu: str, record: Record) -> Switch | None:
        """The switch of our request; None while it waits."""
        mine = self._asked[gpu].id
        known = [*record.history, *filter(None, [record.switch])]
        found = next((each for each in reversed(known) if each.id == mine), None)
        if found is None and (record.request is None or record.request.id != mine):
            by = "somebody" if record.request is None else record.request.id
            raise terminal.Failed(
                f"{gpu}: the request was overtaken by {by}; `vgpu-serve switch` shows what is under way"
            )
        return found

    def _sentence(self, record: Record, found: Switch | None) -> str:
        if found is None and record.under_way is not None:
            return f"waits for the switch to {record.under_way.target} that is under way"
        if found is None:
            is_long = time.monotonic() - self._began_s > QUIET_S
            return "nobody has taken the request up; is the switcher running?" if is_long else "asked"
        if found.result is not None:
            return str(found.result)
        back = "" if found.goal == found.target else f" (back to {found.goal}: {found.why})"
        return f"{found.step}{back}" + (f": {found.waits_for}" if found.waits_for else "")

    def _say(self, gpu: str, sentence: str) -> None:
        if self._said.get(gpu) != sentence:
            self._said[gpu] = sentence
            self._out.print(
                f"{time.monotonic() - self._began_s:4.0f} s  {gpu}: {sentence}", markup=False, soft_wrap=True
            )


def _gpus(state: Mapping[str, Any]) -> Table:
    table = Table("GPU", "LAYOUT", "SWITCH", "NEXT", "LAST", "PROBLEM", box=None)
    for each in state["gpus"]:
        under_way, last, comes = each["switch"], next(iter(each["last"]), None), each["next"]
        table.add_row(
            each["gpu"],
            each["layout"] or "?",
            f"to {under_way['to']}: {under_way['step']}, {under_way['waits_for']}" if under_way else "",
            f"{comes['layout']} {comes['at']}" if comes else "",
            f"{last['to']}: {last['result']}" if last else "",
            each["problem"] or "",
        )
    return table


def _plan(plan: Mapping[str, Any]) -> Table:
    way = f"{plan['gpu']}: {plan['origin'] or '?'} to {plan['target']}"
    least = f", at least {plan['lowest_units']} units of the fleet on the way" if plan["steps"] else ""
    table = Table("STEP", "NODES", "SLOTS AFTER IT", title=way + least, title_justify="left", box=None)
    for step in plan["steps"]:
        slots = ", ".join(f"{count} x {label}" for label, count in step["capacity"].items() if count)
        table.add_row(step["step"], ", ".join(step["guests"]), slots)
    return table


def _ends(ended: Mapping[str, Switch]) -> Table:
    table = Table("GPU", "FROM", "TO", "RESULT", "SECONDS", "WHY", box=None)
    for gpu, each in ended.items():
        seconds = "" if each.ended_at_s is None else f"{each.ended_at_s - each.began_at_s:.0f}"
        table.add_row(gpu, each.origin, each.target, str(each.result), seconds, each.why)
    return table
