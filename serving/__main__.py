"""`python -m serving MODELS.yaml --ray-address …`: deploys the models file onto a running Ray cluster, then exits."""

import argparse
import sys
from pathlib import Path

from serving import app, check, config


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every application is up, 1 when one failed, 2 for a models file that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("models", type=Path, help="the models file")
    parser.add_argument("--ray-address", required=True, help="host:port of the Ray head")
    parser.add_argument("--http-host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        loaded = check.load(options.models)
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    ingress = app.Ingress(host=options.http_host, port=options.http_port)
    try:
        app.deploy(loaded, ray_address=options.ray_address, ingress=ingress)
    except RuntimeError as error:
        sys.stderr.write(f"not every application came up: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
