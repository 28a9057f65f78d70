"""Problems of the loop in the log: once when they come, and once when they are over."""

import logging

from autoscaler.ports import Tick

log = logging.getLogger(__name__)

PAUSE = "; next try in "
"""What follows differs from tick to tick."""


class ProblemLog:
    """Writes a line for each problem and failed action that the tick before did not have.

    What is wrong with the models file is left to its reader, and a defect to the loop: they say so themselves.
    """

    def __init__(self) -> None:
        self._known: dict[str, None] = {}

    def record(self, tick: Tick) -> None:
        """Compare with the last tick."""
        said = [problem.partition(PAUSE)[0] for problem in (*tick.problems, *tick.failed_actions)]
        elsewhere = (*tick.models_file.problems, tick.defect)
        present = dict.fromkeys(problem for problem in said if problem not in elsewhere)
        for problem in present:
            if problem not in self._known:
                log.warning("%s", problem)
        for problem in self._known:
            if problem not in present:
                log.info("over: %s", problem)
        self._known = present
