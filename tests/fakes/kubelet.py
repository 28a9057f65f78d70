"""A stand-in for the kubelet's device manager that speaks the real gRPC protocol on a Unix socket.

It does what the kubelet does and no more: empties its directory when it starts, serves Registration, calls a plugin
back before it answers, follows its list, takes every device as unhealthy when that stream ends, chooses devices (those
of init containers first, then by the plugin's preference, then any), calls Allocate once a container, and keeps what
it gave in a checkpoint over restarts. What it leaves out: topology, and admission by anything else.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc

from vgpu.deviceplugin import v1beta1_pb2 as api

TIMEOUT_S = 10.0
HEALTHY = "Healthy"


class AdmissionError(Exception):
    """A pod that the kubelet would fail with UnexpectedAdmissionError."""

    def __init__(self, code: grpc.StatusCode | None, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass
class Plugin:
    """An endpoint that has registered."""

    resource: str
    socket: Path
    channel: Any
    options: Any = None
    devices: dict[str, str] = field(default_factory=dict)
    lists: int = 0
    stream: Any = None
    is_stopped: bool = False

    def call(self, method: str, request: Any, answer: Any) -> Any:
        stub = self.channel.unary_unary(
            f"/v1beta1.DevicePlugin/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=TIMEOUT_S)

    def follow(self) -> None:
        stub = self.channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=api.ListAndWatchResponse.FromString,
        )
        self.stream = stub(api.Empty())
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for answer in self.stream:
                self.devices = {device.ID: device.health for device in answer.devices}
                self.lists += 1
        except grpc.RpcError:
            pass
        self.is_stopped = True


class KubeletStandIn:
    """One node's kubelet; `checkpoint` is (pod, container) -> device IDs, and outlives a restart as its file does."""

    def __init__(self, directory: Path, *, seed: int = 0) -> None:
        self.directory = directory
        self.socket = directory / "kubelet.sock"
        self.registrations: list[Any] = []
        self.plugins: dict[str, Plugin] = {}
        self.checkpoint: dict[tuple[str, str], tuple[str, ...]] = {}
        self.cdi_devices: dict[tuple[str, str], tuple[str, ...]] = {}
        self.refuses = ""
        self._random = Random(seed)
        self._server: Any = None

    def start(self, *, empties: bool = True) -> None:
        """Serve; the kubelet empties its directory first, though it may fail to."""
        for left in self.directory.iterdir() if empties else (self.socket,):
            if left.is_socket():
                left.unlink()
        self._server = grpc.server(ThreadPoolExecutor(4))
        methods = {
            "Register": grpc.unary_unary_rpc_method_handler(
                self._register,
                request_deserializer=api.RegisterRequest.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.Registration", methods),))
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        """Go away; streams and connections break. Like the kubelet it leaves the plugins' sockets where they are."""
        if self._server is not None:
            self._server.stop(None).wait()
        self._server = None
        for plugin in self.plugins.values():
            plugin.channel.close()
        self.plugins.clear()

    def restart(self) -> None:
        self.stop()
        self.start()

    def drop_stream(self, resource: str) -> None:
        """End an endpoint as the kubelet does on an error of its own: the plugin is not told."""
        self.plugins[resource].stream.cancel()

    def _register(self, request: Any, context: Any) -> Any:
        self.registrations.append(request)
        if self.refuses:
            context.abort(grpc.StatusCode.UNKNOWN, self.refuses)
        if request.version != "v1beta1":
            context.abort(grpc.StatusCode.UNKNOWN, f"version {request.version!r} is not supported")
        domain, _, name = request.resource_name.partition("/")
        if not domain or not name or "kubernetes.io" in domain:
            context.abort(grpc.StatusCode.UNKNOWN, f"{request.resource_name!r} is no extended resource")
        socket = self.directory / request.endpoint
        plugin = Plugin(resource=request.resource_name, socket=socket, channel=grpc.insecure_channel(f"unix:{socket}"))
        plugin.options = plugin.call("GetDevicePluginOptions", api.Empty(), api.DevicePluginOptions)
        if (before := self.plugins.get(request.resource_name)) is not None:
            before.channel.close()
        self.plugins[request.resource_name] = plugin
        plugin.follow()
        return api.Empty()

    def devices(self, resource: str) -> dict[str, str]:
        """Health by ID, as the node's capacity is counted from it."""
        plugin = self.plugins.get(resource)
        if plugin is None:
            return {}
        return dict.fromkeys(plugin.devices, "Unhealthy") if plugin.is_stopped else dict(plugin.devices)

    def allocatable(self, resource: str) -> int:
        return sum(health == HEALTHY for health in self.devices(resource).values())

    def admit(
        self, pod: str, container: str, resource: str, count: int, *, reuse: Iterable[str] = ()
    ) -> dict[str, str]:
        """Give a container its devices and return the environment that the plugin adds.

        A container that has its devices already, from before a restart, gets the same again, by another Allocate.
        """
        plugin = self.plugins[resource]
        chosen = self.checkpoint.get((pod, container)) or self._choose(plugin, count, tuple(reuse))
        request = api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(devices_ids=chosen)])
        answer = self._called(plugin, "Allocate", request, api.AllocateResponse)
        if plugin.options.pre_start_required:
            start = api.PreStartContainerRequest(devices_ids=chosen)
            self._called(plugin, "PreStartContainer", start, api.PreStartContainerResponse)
        [given] = answer.container_responses
        self.checkpoint[(pod, container)] = tuple(chosen)
        self.cdi_devices[(pod, container)] = tuple(device.name for device in given.cdi_devices)
        return dict(given.envs)

    def remove(self, pod: str) -> None:
        for key in [key for key in self.checkpoint if key[0] == pod]:
            del self.checkpoint[key]

    def allocate(self, resource: str, *containers: Iterable[str]) -> list[dict[str, str]]:
        """One Allocate call with the IDs that a test chooses."""
        request = api.AllocateRequest(
            container_requests=[api.ContainerAllocateRequest(devices_ids=list(ids)) for ids in containers]
        )
        answer = self._called(self.plugins[resource], "Allocate", request, api.AllocateResponse)
        return [dict(response.envs) for response in answer.container_responses]

    def pre_start(self, resource: str, device_ids: Iterable[str]) -> None:
        request = api.PreStartContainerRequest(devices_ids=list(device_ids))
        self._called(self.plugins[resource], "PreStartContainer", request, api.PreStartContainerResponse)

    def _choose(self, plugin: Plugin, count: int, reuse: tuple[str, ...]) -> list[str]:
        allocated = list(reuse[:count])
        used = {device for ids in self.checkpoint.values() for device in ids} - set(reuse)
        healthy = [name for name, health in plugin.devices.items() if health == HEALTHY and not plugin.is_stopped]
        free = [name for name in healthy if name not in used and name not in allocated]
        needed = count - len(allocated)
        if needed > len(free):
            raise AdmissionError(None, f"requested {count}, {len(free)} of {plugin.resource} are free")
        self._random.shuffle(free)
        if needed and plugin.options.get_preferred_allocation_available:
            asked = api.ContainerPreferredAllocationRequest(
                available_deviceIDs=[*free, *allocated], must_include_deviceIDs=allocated, allocation_size=count
            )
            request = api.PreferredAllocationRequest(container_requests=[asked])
            answer = self._called(plugin, "GetPreferredAllocation", request, api.PreferredAllocationResponse)
            preferred = [name for name in answer.container_responses[0].deviceIDs if name in free]
            free = preferred + [name for name in free if name not in preferred]
        return allocated + free[:needed]

    @staticmethod
    def _called(plugin: Plugin, method: str, request: Any, answer: Any) -> Any:
        try:
            return plugin.call(method, request, answer)
        except grpc.RpcError as fault:
            raise AdmissionError(fault.code(), str(fault.details())) from fault
