"""What a fault of vCenter means: mend something, or ask again later.

Each class of fault is decided here or by the nearest of its bases that is; what nobody decided is permanent, since
asking again and again for what needs a person helps nobody.
"""

from pyVmomi import vim, vmodl

from vgpu.switcher.providers.port import ProviderError

PASSES: tuple[type[Exception], ...] = (
    # Somebody else is at it, or at the same machine.
    vim.fault.TaskInProgress,
    vim.fault.VAppOperationInProgress,
    vim.fault.ConcurrentAccess,
    vim.fault.ResourceInUse,
    vim.fault.FileLocked,
    vim.fault.ReplicationVmInProgressFault,
    # The state read a moment ago is not that any more: read it again.
    vim.fault.InvalidPowerState,
    # The card, or the host, is still being left by another machine. A vGPU that finds no room on its card comes as the
    # general fault of a machine's devices.
    vim.fault.InsufficientResourcesFault,
    vim.fault.GenericVmConfigFault,
    # What a cluster says instead while no host of it has the card free.
    vim.fault.NoCompatibleHost,
    vim.fault.GenericDrsFault,
    # A backup forbids it while it runs.
    vim.fault.MethodDisabled,
    # What was read a moment ago is another object now: it is found anew.
    vmodl.fault.ManagedObjectNotFound,
    # A server, a host or the way there is ill.
    vim.fault.Timedout,
    vim.fault.InvalidHostConnectionState,
    vim.fault.NoActiveHostInCluster,
    vim.fault.InaccessibleDatastore,
    vmodl.fault.HostCommunication,
    vmodl.fault.SystemError,
    vmodl.fault.RequestCanceled,
    # The session ended; the next call logs in again.
    vim.fault.NotAuthenticated,
)


def is_permanent(fault: type[Exception]) -> bool:
    """Whether asking again could not help before somebody mends something."""
    return not issubclass(fault, PASSES)


def said(fault: Exception) -> str:
    """A fault in words: its name, what vCenter writes of it, and what of its parts tells the reader something."""
    words = [type(fault).__name__.rpartition(".")[2]]
    words += [str(text) for text in (getattr(fault, "msg", None), *_parts(fault)) if text]
    return ": ".join(dict.fromkeys(words))


def _parts(fault: Exception) -> list[str]:
    # The real cause, such as a plugin that could not start, comes as messages within the fault.
    parts = [message.message or message.key for message in getattr(fault, "faultMessage", None) or ()]
    if isinstance(fault, vim.fault.NoPermission) and fault.privilegeId:
        parts.append(f"the user lacks the privilege {fault.privilegeId}")
    if isinstance(fault, vim.fault.InvalidPowerState) and fault.existingState:
        parts.append(f"it is {fault.existingState}")
    return parts


def provider_error(what: str, fault: Exception) -> ProviderError:
    """The error for `what`, which this fault ended."""
    return ProviderError(what, f"vCenter: {said(fault)}", permanent=is_permanent(type(fault)))
