"""Writes the Grafana dashboards: overview, model, nodes and slots, decisions, burn rates."""

from helm.generate.grafana import Board, render
from helm.generate.panels import actions, burn, cards, decisions, model, overview, slots, switching


def boards() -> dict[str, Board]:
    """Every dashboard by the name of its file."""
    marks = decisions.marks()
    return {
        "overview": Board(
            uid="vgpu-serve-overview",
            title="vgpu-serve / Overview",
            about="Are clients served, is there room, does the autoscaler do its work.",
            rows=overview.rows(),
            marks=marks,
        ),
        "model": Board(
            uid="vgpu-serve-model",
            title="vgpu-serve / Model",
            about="Rate, errors, duration and saturation of each model, against its objective.",
            rows=model.rows(),
            marks=marks,
        ),
        "slots": Board(
            uid="vgpu-serve-slots",
            title="vgpu-serve / Nodes and slots",
            about="Use, saturation and errors of cards and slots; units of shared cards; devices.",
            rows=(*slots.rows(), *cards.rows(), switching.switcher()),
        ),
        "decisions": Board(
            uid="vgpu-serve-decisions",
            title="vgpu-serve / Autoscaler decisions",
            about="What was decided, from what, what held it back, and how fast it came true.",
            rows=(*decisions.rows(), *actions.rows()),
            marks=marks,
        ),
        "burn": Board(
            uid="vgpu-serve-burn",
            title="vgpu-serve / Error budgets",
            about="Burn rates over the windows that alerts look at, and what is left of 30 days' budget.",
            rows=burn.rows(),
            since="now-7d",
        ),
    }


def files() -> dict[str, str]:
    """Path below helm/ -> text."""
    return {f"dashboards/{name}.json": render(board) for name, board in boards().items()}
