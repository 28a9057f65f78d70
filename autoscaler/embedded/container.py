"""`python -m autoscaler.embedded.container COMMAND …`: runs a worker so that it ends as a whole, as in a container.

Ray puts its processes into sessions of their own, and a replica outlives its raylet for a while, still holding the slot
and the metrics port. This process adopts whatever the command starts: when the command ends, however it ends, the rest
is ended too. SIGTERM is passed on, for a worker that drains first; SIGQUIT ends everything at once.
"""

import os
import sys

from autoscaler.embedded import guard


def main(command: list[str]) -> int:
    """Exit status of the command, once nothing of it is left."""

    def become() -> int:
        os.execv(command[0], command)

    return guard.run(become)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
