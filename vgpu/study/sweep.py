"""Many runs, some at a time; the result does not depend on how many."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product

from vgpu.study import experiment
from vgpu.study.experiment import Lists, Run, TieBreak

Say = Callable[[int, int], None]
"""Runs done, runs in all."""
Task = tuple[str, TieBreak, int]

_carried: list[Lists] = []
"""In a worker process: the lists, sent once and not with each run."""


def sweep(
    lists: Lists,
    policies: Sequence[str],
    tie_breaks: Sequence[TieBreak],
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    say: Say = lambda _done, _total: None,
) -> tuple[Run, ...]:
    """Every policy under every rule for ties and every seed, in this order."""
    tasks: list[Task] = list(product(policies, tie_breaks, seeds))
    if jobs == 1 or len(tasks) == 1:
        runs = []
        for task in tasks:
            runs.append(experiment.run(lists, *task))
            say(len(runs), len(tasks))
        return tuple(runs)
    done: dict[Task, Run] = {}
    with ProcessPoolExecutor(min(jobs, len(tasks)), initializer=_carry, initargs=(lists,)) as pool:
        awaited = {pool.submit(_run, task): task for task in tasks}
        for ended in as_completed(awaited):
            done[awaited[ended]] = ended.result()
            say(len(done), len(tasks))
    return tuple(done[task] for task in tasks)


def _carry(lists: Lists) -> None:
    _carried.append(lists)


def _run(task: Task) -> Run:
    return experiment.run(_carried[0], *task)
