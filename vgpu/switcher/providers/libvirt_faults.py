"""Every error code of libvirt -> whether asking again could help.

The codes are those of `virErrorNumber` (libvirt's virterror.h); a test demands that each of the installed libvirt is
judged here. A code that a newer libvirt adds is tried again: a step's timeout ends that.
"""

import re

import libvirt

from vgpu.switcher.providers.port import ProviderError

# Something is away, busy or full now, and may be otherwise in a while.
_TRANSIENT = """
NONE INTERNAL_ERROR NO_MEMORY NO_CONNECT INVALID_CONN OPERATION_FAILED GET_FAILED POST_FAILED HTTP_ERROR
XEN_CALL CALL_FAILED OPEN_FAILED READ_FAILED WRITE_FAILED SYSTEM_ERROR RPC GNUTLS_ERROR
OPERATION_INVALID OPERATION_TIMEOUT MIGRATE_PERSIST_FAILED HOOK_SCRIPT_FAILED INVALID_STREAM OPERATION_ABORTED
BLOCK_COPY_ACTIVE SSH AGENT_UNRESPONSIVE RESOURCE_BUSY DBUS_SERVICE MIGRATE_FINISH_OK
NO_SERVER NO_CLIENT AGENT_UNSYNCED LIBSSH UNKNOWN_HOST DRIVER_FULL NO_HOSTNAME BUILD_FIREWALL STORAGE_PROBE_FAILED
"""
# Notes on those that could be read both ways: INTERNAL_ERROR is what QEMU said when it would not start, which a vGPU
# not yet given back by another guest is too; OPERATION_INVALID is a state that has just changed; UNKNOWN_HOST and
# NO_HOSTNAME a name server that is away; HOOK_SCRIPT_FAILED a host's own script, which may wait for something.

# It will be so until somebody changes a machine, a host, a permission or our settings.
_PERMANENT = """
NO_SUPPORT INVALID_DOMAIN INVALID_ARG SEXPR_SERIAL NO_XEN OS_TYPE NO_KERNEL NO_ROOT NO_SOURCE NO_TARGET NO_NAME
NO_OS NO_DEVICE NO_XENSTORE XML_ERROR DOM_EXIST OPERATION_DENIED PARSE_FAILED CONF_SYNTAX XML_DETAIL
INVALID_NETWORK NETWORK_EXIST NO_DOMAIN NO_NETWORK INVALID_MAC AUTH_FAILED INVALID_STORAGE_POOL
INVALID_STORAGE_VOL NO_STORAGE_POOL NO_STORAGE_VOL INVALID_NODE_DEVICE NO_NODE_DEVICE NO_SECURITY_MODEL
NO_INTERFACE INVALID_INTERFACE MULTIPLE_INTERFACES INVALID_NWFILTER NO_NWFILTER INVALID_SECRET NO_SECRET
CONFIG_UNSUPPORTED INVALID_DOMAIN_SNAPSHOT NO_DOMAIN_SNAPSHOT ARGUMENT_UNSUPPORTED STORAGE_POOL_BUILT
SNAPSHOT_REVERT_RISKY AUTH_CANCELLED NO_DOMAIN_METADATA MIGRATE_UNSAFE OVERFLOW OPERATION_UNSUPPORTED
ACCESS_DENIED STORAGE_VOL_EXIST CPU_INCOMPATIBLE XML_INVALID_SCHEMA AUTH_UNAVAILABLE DEVICE_MISSING
INVALID_NWFILTER_BINDING NO_NWFILTER_BINDING INVALID_DOMAIN_CHECKPOINT NO_DOMAIN_CHECKPOINT NO_DOMAIN_BACKUP
INVALID_NETWORK_PORT NETWORK_PORT_EXIST NO_NETWORK_PORT CHECKPOINT_INCONSISTENT MULTIPLE_DOMAINS
"""
TRANSIENT, PERMANENT = frozenset(_TRANSIENT.split()), frozenset(_PERMANENT.split())
_PREFIX = "VIR_ERR_"
_NO_SUPPORT = (libvirt.VIR_ERR_NO_SUPPORT,)

_PERMANENT_CODES = frozenset(
    code for name, code in vars(libvirt).items() if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in PERMANENT
)
# What stands before the host in a URI is a user, and after a colon a password; libvirt repeats URIs in its messages.
_USER = re.compile(r"(?<=://)[^/\s'\"]*@")


def is_permanent(code: int | None) -> bool:
    """Whether an error of this code stays until somebody mends something. None: libvirt gave no error at all."""
    return code in _PERMANENT_CODES


def is_unsupported(error: libvirt.libvirtError) -> bool:
    """Whether the driver does not know this call at all."""
    return error.get_error_code() in _NO_SUPPORT


def without_user(text: str) -> str:
    """The text without user and password of the URIs in it."""
    return _USER.sub("", text)


def fault(what: str, error: libvirt.libvirtError) -> ProviderError:
    """What libvirt said, as the port says it."""
    code = error.get_error_code()
    return ProviderError(what, without_user(f"libvirt says: {error} (code {code})"), permanent=is_permanent(code))
