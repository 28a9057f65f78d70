"""Every label, annotation, resource and environment name that leaves the process, written once."""

# Node labels.
LABEL_PROFILE = "vgpu.type"  # v100-8q-8GB: the slot type of every slot on the node
LABEL_PROFILE_LEGACY = "virtual.gpu.type"  # the key of the talk's own sample pod; read, never written
LABEL_PHYSICAL_GPU = (
    "vgpu.physical-gpu"  # UUID of the card below; a guest cannot see it, whoever runs the host writes it
)
LABEL_SCHEDULER_POLICY = "vgpu.scheduler-policy"  # best-effort | equal-share | fixed-share
LABEL_DEVICE_KIND = "vgpu.device-kind"  # real | emulated

LABEL_GPU_MEMORY_MIB = "nvidia.com/gpu.memory"  # NVIDIA's feature discovery: framebuffer of each GPU of the node
LABEL_GPU_PRODUCT = "nvidia.com/gpu.product"  # the same: the model

# Node annotations.
ANNOTATION_GPUS = "vgpu-serve.io/gpus"  # v1 and a word per GPU, UUID:MIB[:UNITS][:unhealthy]; see vgpu.core.offer
ANNOTATION_LABEL_CONFLICT = "vgpu-serve.io/label-conflict"  # why the profile label and the node's devices disagree
ANNOTATION_LEAVING = "vgpu-serve.io/leaving"  # the node will be taken away, for this layout: what is on it moves first
ANNOTATION_ASLEEP = "vgpu-serve.io/asleep"  # the node was taken away, for this layout: its machine is suspended or off

# Pod labels and annotations.
LABEL_WORKER = "vgpu-serve.io/worker"  # on a Ray node: the worker pod it runs in
LABEL_POOL = "vgpu-serve.io/pool"  # the worker pool (one per slot type) a worker belongs to
ANNOTATION_PREFERRED_NODES = "vgpu-serve.io/preferred-nodes"  # on a pool's Deployment: comma-separated, best first
ANNOTATION_PREFIX_PREFERRED_NODES = "preferred-nodes.vgpu-serve.io/"  # on a RayCluster, one per group: the same
ANNOTATION_SLOT = "vgpu-serve.io/slot"  # on a pod: the slot it holds, node/index; several with commas
# Fractions: the extender writes these on the Binding, hence on the pod in the write that gives it its node.
ANNOTATION_ALLOCATION = "vgpu-serve.io/allocation"  # the truth of who holds what; see vgpu.core.allocation
# One value per container, the annotation's name is the container's: devices.vgpu-serve.io/main. Read by downward API.
ANNOTATION_PREFIX_DEVICES = "devices.vgpu-serve.io/"  # UUIDs with commas; indices where UUIDs are not known
ANNOTATION_PREFIX_UNITS = "units.vgpu-serve.io/"  # of each of these GPUs: 1 to 1000
ANNOTATION_PREFIX_FRAMEBUFFER_MIB = "framebuffer-mib.vgpu-serve.io/"  # of each of these GPUs
ANNOTATION_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Pod labels that KubeRay's operator writes, and counts by.
LABEL_RAY_CLUSTER = "ray.io/cluster"  # the RayCluster's name
LABEL_RAY_GROUP = "ray.io/group"  # the worker group's name
LABEL_RAY_NODE_TYPE = "ray.io/node-type"  # head | worker

# Extended resources.
RAY_RESOURCE_HEAD = "vgpu_head"  # on the Ray head node: what holds no slot runs there
RAY_RESOURCE_SLOT = "vgpu_slot"  # on a Ray node: one per slot; a replica asks for one
RAY_DRAINED = "vgpu-serve: this worker gives up its slot"  # why a drained Ray node has left, as Ray keeps it
RESOURCE_VGPU = "nvidia.com/vgpu"  # units of 1/1000 GPU: up to 999 of one GPU, or a multiple of 1000
RESOURCE_GPU = "nvidia.com/gpu"  # one whole vGPU of a guest node

# Environment of a worker: its slot.
ENV_NODE = "VGPU_NODE"
ENV_NAMESPACE = "VGPU_NAMESPACE"
ENV_POD = "VGPU_POD"
ENV_SLOT_ID = "VGPU_SLOT_ID"  # node/index; of a fraction node/namespace.pod
ENV_SLOT_PROFILE = "VGPU_SLOT_PROFILE"  # v100-8q-8GB
ENV_SLOT_UNITS = "VGPU_SLOT_UNITS"
ENV_SLOT_FRAMEBUFFER_MIB = "VGPU_SLOT_FRAMEBUFFER_MIB"
ENV_SLOT_MOST_PER_GPU = "VGPU_SLOT_MOST_PER_GPU"
ENV_SLOT_POLICY = "VGPU_SLOT_SCHEDULER_POLICY"
ENV_DEVICE_KIND = "VGPU_DEVICE_KIND"  # real | emulated
ENV_WORKER = "VGPU_WORKER"  # the worker pod's name
ENV_EMULATED_COST_RATIO = "VGPU_EMULATED_COST_RATIO"  # emulated GPU's time over the reference engine's
ENV_EMULATOR_SLOT = "VGPU_EMULATOR_SLOT"  # the part of an emulated card that plays a fraction; else the slot's own name
ENV_EMULATOR_SOCKET = "VGPU_EMULATOR_SOCKET"  # the arbiter of the emulated GPU this slot is cut from
ENV_NVIDIA_VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"  # read by NVIDIA's container runtime: UUIDs or indices
ENV_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
ENV_METRICS_ADDRESS = "VGPU_METRICS_ADDRESS"  # host:port of the worker's own /metrics
ENV_FAKE_NVML_STATE = "VGPU_FAKE_NVML_STATE"  # the state file that the fake libnvidia-ml reads
