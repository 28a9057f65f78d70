"""The plugin's side of the kubelet's API: five calls over gRPC, as `v1beta1.proto` has them.

Rule: what cannot be given is a gRPC status with a sentence, never a success that carries a value to fail on later.
"""

import logging
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

import grpc

from vgpu.deviceplugin import v1beta1_pb2 as api
from vgpu.deviceplugin.allocation import (
    AllocationRefused,
    RefusalReason,
    SlotFacts,
    allocate,
    cdi_devices,
    check_known,
    environment,
    prefer,
)
from vgpu.deviceplugin.devices import Catalogue, shorten
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.roster import Roster

HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"  # as the kubelet spells them
OK = "ok"
LOOK_UP_S = 5.0  # a stream whose kubelet vanished without a word is noticed this late
# NOT_FOUND and UNAVAILABLE may be otherwise on the next try, INVALID_ARGUMENT may not.
_CODES = {
    RefusalReason.NO_DEVICES: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalReason.REPEATED_DEVICE: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalReason.SEVERAL_GPUS: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalReason.UNKNOWN_DEVICE: grpc.StatusCode.NOT_FOUND,
    RefusalReason.UNHEALTHY_GPU: grpc.StatusCode.UNAVAILABLE,
    RefusalReason.NO_ROOM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_log = logging.getLogger(__name__)

Context = Any  # grpc.ServicerContext; grpc has no types
Answer = TypeVar("Answer")


class Mode(StrEnum):
    """What the units decide."""

    ALLOCATE = "allocate"  # Allocate gives the container its GPU and its slot
    BOOKKEEPING = "bookkeeping"  # units are counted; who scheduled the pod has said elsewhere which GPU it gets
    NODE_STATUS = "node-status"  # units stand in the node's status; the kubelet never calls


class DevicePluginService:
    """Answers the kubelet from the roster."""

    def __init__(self, *, roster: Roster, mode: Mode, facts: SlotFacts, metrics: PluginMetrics) -> None:
        self._roster = roster
        self._mode = mode
        self._facts = facts
        self._metrics = metrics

    def options(self) -> api.DevicePluginOptions:
        """What the kubelet should call; which IDs it takes matters only where they decide something."""
        return api.DevicePluginOptions(
            pre_start_required=False, get_preferred_allocation_available=self._mode is Mode.ALLOCATE
        )

    def handler(self) -> object:
        """The service as a gRPC server takes it."""
        unary = {
            "GetDevicePluginOptions": (self._get_options, api.Empty),
            "GetPreferredAllocation": (self._prefer, api.PreferredAllocationRequest),
            "Allocate": (self._allocate, api.AllocateRequest),
            "PreStartContainer": (self._pre_start, api.PreStartContainerRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=request.FromString, response_serializer=_serialize
            )
            for name, (call, request) in unary.items()
        }
        methods["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(
            self._list_and_watch, request_deserializer=api.Empty.FromString, response_serializer=_serialize
        )
        return grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)

    def _get_options(self, _request: api.Empty, _context: Context) -> api.DevicePluginOptions:
        return self.options()

    def _list_and_watch(self, _request: api.Empty, context: Context) -> Iterator[api.ListAndWatchResponse]:
        context.add_callback(self._roster.wake)
        number = 0
        with self._roster.following():
            _log.info("the kubelet follows the devices")
            while context.is_active() and not self._roster.is_closed:
                edition = self._roster.wait_beyond(number, timeout_s=LOOK_UP_S)
                if edition is not None and context.is_active():
                    number = edition.number
                    yield _devices(edition.catalogue)
        _log.info("the kubelet no longer follows the devices")

    def _prefer(self, request: api.PreferredAllocationRequest, context: Context) -> api.PreferredAllocationResponse:
        catalogue = self._roster.catalogue

        def answer() -> api.PreferredAllocationResponse:
            return api.PreferredAllocationResponse(
                container_responses=[
                    api.ContainerPreferredAllocationResponse(
                        deviceIDs=prefer(
                            catalogue, asked.available_deviceIDs, asked.must_include_deviceIDs, asked.allocation_size
                        )
                    )
                    for asked in request.container_requests
                ]
            )

        return self._answered("GetPreferredAllocation", context, answer)

    def _allocate(self, request: api.AllocateRequest, context: Context) -> api.AllocateResponse:
        catalogue = self._roster.catalogue

        def answer() -> api.AllocateResponse:
            return api.AllocateResponse(
                container_responses=[
                    self._slot(catalogue, list(asked.devices_ids)) for asked in request.container_requests
                ]
            )

        return self._answered("Allocate", context, answer)

    def _slot(self, catalogue: Catalogue, device_ids: list[str]) -> api.ContainerAllocateResponse:
        """What one container gets. Where units are bookkeeping the IDs say only how many."""
        if self._mode is not Mode.ALLOCATE:
            check_known(catalogue, device_ids)
            return api.ContainerAllocateResponse()
        allocation = allocate(catalogue, device_ids)
        variables = environment(allocation, self._facts)
        _log.info("%s: %s", shorten(device_ids), variables)
        return api.ContainerAllocateResponse(
            envs=variables,
            cdi_devices=[api.CDIDevice(name=name) for name in cdi_devices(allocation, self._facts)],
        )

    def _pre_start(self, request: api.PreStartContainerRequest, context: Context) -> api.PreStartContainerResponse:
        catalogue = self._roster.catalogue

        def answer() -> api.PreStartContainerResponse:
            self._slot(catalogue, list(request.devices_ids))
            return api.PreStartContainerResponse()

        return self._answered("PreStartContainer", context, answer)

    def _answered(self, call: str, context: Context, answer: Callable[[], Answer]) -> Answer:
        """Answer, or refuse with the status of the reason; both are counted."""
        try:
            made = answer()
        except AllocationRefused as refusal:
            self._metrics.count_call(call, refusal.reason)
            _log.warning("%s refused: %s", call, refusal)
            context.abort(_CODES[refusal.reason], str(refusal))
            raise  # not reached: abort raises
        self._metrics.count_call(call, OK)
        return made


def _devices(catalogue: Catalogue) -> api.ListAndWatchResponse:
    return api.ListAndWatchResponse(
        devices=[
            api.Device(ID=name, health=HEALTHY if card.healthy else UNHEALTHY)
            for card in catalogue.cards
            for name in catalogue.ids(card)
        ]
    )


def _serialize(message: Any) -> bytes:  # noqa: ANN401  # protobuf has no types
    wire: bytes = message.SerializeToString()
    return wire
