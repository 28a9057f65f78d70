"""Writes the Prometheus rule files. PromQL of Prometheus 2.42 at most; the chart puts both into one PrometheusRule."""

from collections.abc import Sequence

import yaml

from helm.generate import alerts, causes, machines, recording, switches
from helm.generate.alerts import Alert

HEADER = "# Written by python -m helm.generate; change helm/generate and run it again.\n"


def groups() -> dict[str, list[Alert]]:
    """The alerts by the name of their group."""
    return {
        "vgpu-serve.promises": alerts.promises(),
        "vgpu-serve.control": [*causes.leadership(), *causes.loop(), *causes.readings()],
        "vgpu-serve.files": causes.files(),
        "vgpu-serve.capacity": causes.capacity(),
        "vgpu-serve.cards": [*machines.cards(), *machines.device_plugins()],
        "vgpu-serve.shared-cards": machines.shared_cards(),
        "vgpu-serve.switching": [*switches.not_begun(), *switches.under_way(), *switches.switcher()],
    }


def files() -> dict[str, str]:
    """Path below helm/ -> text."""
    # One group: its rules are evaluated in order, each from what those before it have just recorded.
    recorded: list[dict[str, object]] = [{"name": "vgpu-serve.objectives", "rules": recording.rules()}]
    alerting: list[dict[str, object]] = [
        {"name": name, "rules": [alert.rule() for alert in held]} for name, held in groups().items()
    ]
    return {"rules/recording.yaml": _text(recorded), "rules/alerts.yaml": _text(alerting)}


class _Dumper(yaml.SafeDumper):
    """Several lines of PromQL stay several lines."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _text(rule_groups: Sequence[dict[str, object]]) -> str:
    return HEADER + yaml.dump({"groups": list(rule_groups)}, Dumper=_Dumper, sort_keys=False, width=200)
