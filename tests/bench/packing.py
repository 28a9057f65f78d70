"""Packing policies on the OpenB lists, against the published figures and the bound; FGD and ours on lists made of them.

`python -m tests.bench.packing FOLDER [--seeds 42,43] [--jobs 2] [--only fixed|random|variants]` prints markdown.
FOLDER holds nodes_gpu_node.csv and pods/NAME.csv.gz. Variants are resampled from pods/default.csv.gz: more or fewer
fractions, pods without GPU, pods on several GPUs, and pods that name GPU models.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import MappingProxyType

import numpy as np

from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES
from vgpu.core.fractions.shape import Shape
from vgpu.study import experiment, published, report
from vgpu.study.experiment import Lists, TieBreak
from vgpu.study.lists import read_nodes, read_pods
from vgpu.study.report import Line
from vgpu.study.sweep import sweep

FGD = "fgd"
Pods = Sequence[Shape]


def with_fractions(pods: Pods, part: float, draws: np.random.Generator) -> Pods:
    """As many GPU pods; fractions ask for this part of all units."""
    fractions, whole = (
        [pod for pod in pods if pod.is_fraction],
        [pod for pod in pods if pod.gpus and not pod.is_fraction],
    )
    mean, mean_whole = fmean(pod.total_units for pod in fractions), fmean(pod.total_units for pod in whole)
    count = len(fractions) + len(whole)
    drawn = round(part * count * mean_whole / (mean * (1 - part) + part * mean_whole))
    return [
        *_drawn(fractions, drawn, draws),
        *_drawn(whole, count - drawn, draws),
        *(pod for pod in pods if not pod.gpus),
    ]


def with_no_gpu(pods: Pods, part: float, draws: np.random.Generator) -> Pods:
    """All GPU pods; this part of all pods has no GPU."""
    asking, others = [pod for pod in pods if pod.gpus], [pod for pod in pods if not pod.gpus]
    return [*asking, *_drawn(others, round(len(asking) * part / (1 - part)), draws)]


def with_several(pods: Pods, part: float, draws: np.random.Generator) -> Pods:
    """Pods on several GPUs ask for this part of all units."""
    several, others = [pod for pod in pods if pod.gpus > 1], [pod for pod in pods if pod.gpus <= 1]
    units = part / (1 - part) * sum(pod.total_units for pod in others)
    return [*others, *_drawn(several, round(units / fmean(pod.total_units for pod in several)), draws)]


def with_models(groups: Sequence[tuple[str, float]], part: float) -> Callable[[Pods, np.random.Generator], Pods]:
    """This part of the GPU pods names one of these groups of models, drawn by weight."""

    def change(pods: Pods, draws: np.random.Generator) -> Pods:
        weights = np.array([weight for _, weight in groups])
        changed = []
        for pod in pods:
            if pod.gpus and draws.random() < part:
                group = groups[int(draws.choice(len(groups), p=weights / weights.sum()))][0]
                changed.append(replace(pod, models=frozenset(group.split("|"))))
            else:
                changed.append(pod)
        return changed

    return change


def _drawn(pods: Pods, count: int, draws: np.random.Generator) -> list[Shape]:
    return [pods[place] for place in draws.integers(len(pods), size=count).tolist()]


BY_SUPPLY = (("G2", 4392), ("T4", 842), ("G3", 312), ("P100", 265), ("V100M32", 204), ("V100M16", 195))
SCARCE = (("V100M16|V100M32", 25), ("T4", 25), ("P100", 10), ("G3", 10), ("G2", 30))
LARGE = (("G2", 50), ("G3", 10), ("G2|G3", 20), ("V100M16|V100M32", 15), ("V100M32", 5))
VARIANTS: Mapping[str, Callable[[Pods, np.random.Generator], Pods]] = MappingProxyType(
    {
        "fractions 80 %": lambda pods, draws: with_fractions(pods, 0.8, draws),
        "fractions 100 %": lambda pods, draws: with_fractions(pods, 1.0, draws),
        "no GPU 20 %": lambda pods, draws: with_no_gpu(pods, 0.2, draws),
        "no GPU 25 %": lambda pods, draws: with_no_gpu(pods, 0.25, draws),
        "several GPUs 20 %": lambda pods, draws: with_several(pods, 0.2, draws),
        "several GPUs 50 %": lambda pods, draws: with_several(pods, 0.5, draws),
        "models 10 %, by supply": with_models(BY_SUPPLY, 0.1),
        "models 33 %, by supply": with_models(BY_SUPPLY, 0.33),
        "models 20 %, scarce ones": with_models(SCARCE, 0.2),
        "models 33 %, scarce ones": with_models(SCARCE, 0.33),
        "models 33 %, large nodes": with_models(LARGE, 0.33),
    }
)


def measure(
    name: str, lists: Lists, policies: Sequence[str], ties: TieBreak, options: argparse.Namespace
) -> tuple[str, list[str]]:
    """The list's line of the table, and how far the default list is from its published curves."""

    def say(done: int, total: int) -> None:
        print(f"\r{name}, ties {ties.value}: {done} of {total} ", end="", file=sys.stderr, flush=True)

    runs = sweep(lists, policies, (ties,), options.seeds, jobs=options.jobs, say=say)
    bound = experiment.bound_ratio(lists)
    lines = report.summarise(runs, list_name=name, gpus=lists.gpus, bound_ratio=bound)
    return row(name, lines, bound), deviations(runs) if ties is TieBreak.FIXED and name == "default" else []


def deviations(runs: Sequence[experiment.Run]) -> list[str]:
    """Over the whole published curve of the default list: where each policy is farthest from it."""
    said = []
    for column, policy in enumerate(published.POLICIES):
        curve = report.curve(runs, policy, TieBreak.FIXED)
        for what, place, table in (
            ("allocated", 0, published.DEFAULT_ALLOCATED_PERCENT),
            ("fragmentation", 1, published.DEFAULT_FRAGMENTATION_PERCENT),
        ):
            off = {demand: 100 * curve[demand][place] - row[column] for demand, row in table.items() if demand in curve}
            if off:
                worst = max(off, key=lambda demand: abs(off[demand]))
                said.append(f"- {policy}, {what}: at most {off[worst]:+.2f} points off, at {worst} %")
    return said


def row(name: str, lines: Sequence[Line], bound_ratio: float) -> str:
    """One line of the markdown table: measured, and in brackets published."""
    cells = []
    for line in lines:
        told = f"{100 * line.allocated_ratio_at_100:.2f}"
        cells.append(told if line.published_ratio is None else f"{told} ({100 * line.published_ratio:.2f})")
    gap = lines[-1].gap_closed_ratio
    seconds = max(line.seconds for line in lines)
    closed = "–" if gap is None else f"{gap:.0%}"
    return f"| {name} | {' | '.join(cells)} | {100 * bound_ratio:.1f} | {closed} | {seconds:.1f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default=",".join(map(str, range(42, 52))))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=("fixed", "random", "variants"))
    options = parser.parse_args()
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    nodes = read_nodes(options.folder / "nodes_gpu_node.csv")
    named = {path.name.split(".")[0]: path for path in sorted((options.folder / "pods").glob("*.csv*"))}
    for ties in TieBreak:
        if options.only not in (None, ties.value):
            continue
        policies = [*(name for name in POLICIES if name != DEFAULT_POLICY), DEFAULT_POLICY]
        print(f"\nTies {ties.value}\n\n| list | {' | '.join(policies)} | bound | gap closed | s |")
        print("|---" * (len(policies) + 4) + "|")
        remarks: list[str] = []
        for name, path in named.items():
            lists = Lists(nodes=nodes, pods=read_pods(path))
            line, told = measure(name, lists, policies, ties, options)
            remarks += told
            print(line, flush=True)
        print("", *remarks, sep="\n")
    if options.only in (None, "variants"):
        print(f"\nVariants\n\n| list | fgd | {DEFAULT_POLICY} | bound | gap closed | s |\n|---|---|---|---|---|---|")
        pods = read_pods(named["default"])
        for name, change in VARIANTS.items():
            lists = Lists(nodes=nodes, pods=tuple(change(pods, np.random.default_rng(7))))
            print(measure(name, lists, (FGD, DEFAULT_POLICY), TieBreak.FIXED, options)[0], flush=True)


if __name__ == "__main__":
    main()
