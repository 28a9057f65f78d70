"""A small Kubernetes API server for one machine: a stand-in with the real one's semantics. README.md says which."""

from autoscaler.embedded.apiserver.server import ApiServer, Options, PortInUse, start

__all__ = ["ApiServer", "Options", "PortInUse", "start"]
