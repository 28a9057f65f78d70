"""The protocol's definition: what is generated is what the file says, and the bytes are the kubelet's.

To generate again, in the repository's root:
python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. vgpu/deviceplugin/v1beta1.proto
"""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from vgpu.deviceplugin import v1beta1_pb2 as api

ROOT = Path(__file__).parents[3]
PROTO = "vgpu/deviceplugin/v1beta1.proto"


def test_the_generated_module_is_that_of_the_file(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools generates the module")
    made = tmp_path / "set"
    assert protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={made}", str(ROOT / PROTO)]) == 0
    [file] = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
    held = descriptor_pb2.FileDescriptorProto()
    api.DESCRIPTOR.CopyToProto(held)
    for message in file.message_type:
        for part in (message, *message.nested_type):
            for field in part.field:
                field.ClearField("json_name")  # derived, and left out of the generated module
    assert held == file


# Field by field by hand, from the protocol's numbers: a tag is the number times 8, plus 2 for text or a message.
GOLDENS = [
    (
        api.RegisterRequest(
            version="v1beta1",
            endpoint="x.sock",
            resource_name="a/b",
            options=api.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True),
        ),
        b"\x0a\x07v1beta1\x12\x06x.sock\x1a\x03a/b\x22\x04\x08\x01\x10\x01",
    ),
    (
        api.ListAndWatchResponse(
            devices=[api.Device(ID="d", health="Healthy", topology=api.TopologyInfo(nodes=[api.NUMANode(ID=1)]))]
        ),
        b"\x0a\x12\x0a\x01d\x12\x07Healthy\x1a\x04\x0a\x02\x08\x01",
    ),
    (
        api.PreferredAllocationRequest(
            container_requests=[
                api.ContainerPreferredAllocationRequest(
                    available_deviceIDs=["a", "b"], must_include_deviceIDs=["a"], allocation_size=2
                )
            ]
        ),
        b"\x0a\x0b\x0a\x01a\x0a\x01b\x12\x01a\x18\x02",
    ),
    (
        api.PreferredAllocationResponse(
            container_responses=[api.ContainerPreferredAllocationResponse(deviceIDs=["a"])]
        ),
        b"\x0a\x03\x0a\x01a",
    ),
    (
        api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(devices_ids=["a", "b"])]),
        b"\x0a\x06\x0a\x01a\x0a\x01b",
    ),
    (
        api.AllocateResponse(
            container_responses=[
                api.ContainerAllocateResponse(
                    envs={"K": "v"},
                    mounts=[api.Mount(container_path="c", host_path="h", read_only=True)],
                    devices=[api.DeviceSpec(container_path="c", host_path="h", permissions="rw")],
                    annotations={"n": "t"},
                    cdi_devices=[api.CDIDevice(name="i")],
                )
            ]
        ),
        b"\x0a\x2b\x0a\x06\x0a\x01K\x12\x01v\x12\x08\x0a\x01c\x12\x01h\x18\x01"
        b"\x1a\x0a\x0a\x01c\x12\x01h\x1a\x02rw\x22\x06\x0a\x01n\x12\x01t\x2a\x03\x0a\x01i",
    ),
    (api.PreStartContainerRequest(devices_ids=["a"]), b"\x0a\x01a"),
    (api.PreStartContainerResponse(), b""),
    (api.Empty(), b""),
]


@pytest.mark.parametrize(("message", "wire"), GOLDENS, ids=lambda value: type(value).__name__)
def test_the_bytes_are_those_of_the_protocol(message: api.Empty, wire: bytes) -> None:
    assert message.SerializeToString(deterministic=True) == wire
    assert type(message).FromString(wire) == message


def test_the_services_have_the_kubelets_names() -> None:
    services = {
        service.full_name: {
            method.name: (method.input_type.name, method.output_type.name, method.server_streaming)
            for method in service.methods
        }
        for service in api.DESCRIPTOR.services_by_name.values()
    }
    assert services == {
        "v1beta1.Registration": {"Register": ("RegisterRequest", "Empty", False)},
        "v1beta1.DevicePlugin": {
            "GetDevicePluginOptions": ("Empty", "DevicePluginOptions", False),
            "ListAndWatch": ("Empty", "ListAndWatchResponse", True),
            "GetPreferredAllocation": ("PreferredAllocationRequest", "PreferredAllocationResponse", False),
            "Allocate": ("AllocateRequest", "AllocateResponse", False),
            "PreStartContainer": ("PreStartContainerRequest", "PreStartContainerResponse", False),
        },
    }
