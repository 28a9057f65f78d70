"""Those who run the machines: one module each behind one port, imported where the switcher's file names its kind."""

import importlib

from vgpu.adapters.kube_verbs import Verbs
from vgpu.switcher.providers.port import Provider
from vgpu.switcher.providers.settings import Emulated, Libvirt, Mig, ProviderSettings, VgpuDeviceManager, Vsphere


def open_provider(settings: ProviderSettings, kube: Verbs) -> Provider:
    """Connect. Raises `ProviderError` where it cannot be used, `ImportError` where its library is not installed."""
    given: tuple[object, ...] = (settings,)
    match settings:
        case Vsphere():
            module = "vsphere"
        case Libvirt():
            module = "libvirt"
        case Emulated():
            module = "emulated"
        case VgpuDeviceManager() | Mig():
            module, given = "node_config", (settings, kube)
    provider: Provider = importlib.import_module(f"{__name__}.{module}").open(*given)
    return provider
