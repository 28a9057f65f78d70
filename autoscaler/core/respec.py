"""Another specification for a fleet that runs: what was learned stays, and what it makes void is forgotten.

Objectives, bounds, priorities and hold times are read from the specification at each tick and need nothing here. What a
batch costs holds for one model on one board: another source or other parameters, or a slot type on another board, make
it void, and with it every judgement that rests on it. A model that is gone is forgotten by `decide` itself.
"""

from collections.abc import Collection
from dataclasses import replace

from autoscaler.core.learning import Trust
from autoscaler.core.rehearsal import Rehearsal
from autoscaler.core.service import Service
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import UNLEARNED_WINDOW_S, ModelState, Moving, State
from autoscaler.core.window import SlidingMax, Window


def respecified(
    state: State, before: FleetSpec, after: FleetSpec, *, reworked: Collection[str] = (), now_s: float
) -> State:
    """The memory of a fleet that was decided by `before` and shall be by `after` from now on.

    `reworked` are the models that do other work than before under the same name.
    """
    known = {model.name: model for model in before.models}
    models = dict(state.models)
    for model in after.models:
        if model.name not in models or model.name not in known:
            continue
        mine = _settled(models[model.name], known[model.name], model, after.policy.window_s, now_s)
        if model.name in reworked:
            mine = _unlearned(mine)
        elif set(known[model.name].pools) != set(model.pools):
            mine = _moved(mine, known[model.name], model, before, after)
        models[model.name] = mine
    return replace(state, models=models)


def _settled(state: ModelState, before: ModelSpec, after: ModelSpec, window_s: float, now_s: float) -> ModelState:
    """Windows of the new lengths, and no evidence that was gathered under other promises.

    A deployment that is changed may have its target reset: that is no other writer.
    """
    needs = _hold(state.needs, after, state.desired, now_s)
    windows = {key: _spanning(window, window_s) for key, window in state.windows.items()}
    state = replace(state, needs=needs, windows=windows, foreign=None, yields_until_s=None)
    # A count that missed a stricter objective may keep this one; larger batches bear more, and smaller ones less.
    if after.objective_p95_ms > before.objective_p95_ms or after.max_batch_size != before.max_batch_size:
        state = replace(state, overloads=())
    return state


def _spanning(window: Window, span_s: float) -> Window:
    """The window with another length: none of its samples is older than that."""
    since_s = window[-1].at_s - span_s if window else 0.0
    return tuple(sample for sample in window if sample.at_s >= since_s)


def _hold(needs: SlidingMax, spec: ModelSpec, desired: int, now_s: float) -> SlidingMax:
    """The needs of the scale-down window of now; a longer one first has to be watched as a new one has."""
    span_s = UNLEARNED_WINDOW_S if spec.scale_down_window_s is None else spec.scale_down_window_s
    longer = replace(needs, span_s=span_s)
    return longer.with_value(now_s, desired) if span_s > needs.span_s else longer


def _moved(state: ModelState, before: ModelSpec, after: ModelSpec, old: FleetSpec, new: FleetSpec) -> ModelState:
    """Other slot types: costs stay with the boards they were learned on, and nothing is meant for a pool it left."""
    boards = {new.pool(pool).profile.board for pool in after.pools}
    if boards.isdisjoint(old.pool(pool).profile.board for pool in before.pools):
        state = _unlearned(state)
    elif len(boards) == 1 and before.further_pools:
        # What was learned without regard to the board is of several; this one's own is what holds here.
        (board,) = boards
        state = replace(state, learned=replace(state.learned, service=state.boards.get(board, Service())))
    stays = after.pools if after.further_pools else ()
    return replace(
        state,
        boards={board: service for board, service in state.boards.items() if stays and board in boards},
        spread={pool: count for pool, count in state.spread.items() if pool in stays},
        shunned={pool: until_s for pool, until_s in state.shunned.items() if pool in stays},
        overloads=(),
        moving=Moving(),
        # What did not start did not start elsewhere.
        backoff_until_s=None,
        pending_since_s=None,
    )


def _unlearned(state: ModelState) -> ModelState:
    """Nothing of what a batch costs, nor of what rests on it; how the load varies and how long a start takes stay."""
    learned = replace(state.learned, service=Service(), rehearsal=Rehearsal(), trust=Trust())
    return replace(state, learned=learned, boards={}, overloads=())
