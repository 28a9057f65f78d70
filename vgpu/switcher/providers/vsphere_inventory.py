"""Finding things in a vCenter's inventory, and reading many of their properties in one call.

A machine is named as an operator would: by its name within the datacenter, by its inventory path
(/DC/vm/folder/name), or by its BIOS or instance UUID. vCenter lets two machines in different folders have one name:
then the name alone is an error that gives both paths.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from pyVmomi import vim, vmodl

from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.vsphere_session import Login

# What a property collector finds: for each object its properties by path; what is unset or may not be read is left out.
Properties = dict[Any, dict[str, Any]]

_Filter = vmodl.query.PropertyCollector.FilterSpec
_Object = vmodl.query.PropertyCollector.ObjectSpec
_Paths = vmodl.query.PropertyCollector.PropertySpec
_Along = vmodl.query.PropertyCollector.TraversalSpec
_Options = vmodl.query.PropertyCollector.RetrieveOptions


def read(login: Login, objects: Iterable[Any], through: str = "", **paths: Sequence[str]) -> Properties:
    """Properties of these objects, by one call: `read(login, machines, VirtualMachine=["name"])`.

    `through` names a property of theirs whose objects are read as well. Objects that are not there any more are left
    out.
    """
    collector = login.content.propertyCollector
    wanted_objects = [_Object(obj=item, selectSet=_along(item, through)) for item in objects]
    if not wanted_objects:
        return {}
    wanted = _Filter(
        objectSet=wanted_objects,
        propSet=[_Paths(type=getattr(vim, kind), pathSet=list(names)) for kind, names in paths.items()],
        reportMissingObjectsInResults=True,
    )
    found: Properties = {}
    page = collector.RetrievePropertiesEx([wanted], _Options())
    while page is not None:
        for item in page.objects:
            found[item.obj] = {changed.name: changed.val for changed in item.propSet}
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return found


def read_one(login: Login, item: Any, **paths: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401 - as below
    """Properties of one object by their paths; none of one that is not there any more."""
    return read(login, [item], "", **paths).get(item, {})


def _along(item: Any, through: str) -> list[Any]:  # noqa: ANN401 - pyVmomi's types are made at run time
    """The way from an object to those that its property names; none where it has no such property."""
    named = through and any(info.name == through for info in item._GetPropertyList())
    return [_Along(type=type(item), path=through, skip=False)] if named else []


def all_within(login: Login, root: Any, kind: type, **paths: Sequence[str]) -> Properties:  # noqa: ANN401 - as above
    """Properties of all objects of this kind below `root`."""
    view = login.content.viewManager.CreateContainerView(root, [kind], True)
    try:
        return read(login, [view], through="view", **paths)
    finally:
        view.DestroyView()


def root(login: Login, datacenter: str) -> Any:  # noqa: ANN401 - as above
    """The datacenter, or the folder, of this inventory path; all there is for "". Raises `ProviderError`."""
    if not datacenter:
        return login.content.rootFolder
    found = login.content.searchIndex.FindByInventoryPath(datacenter)
    if found is None:
        why = "there is nothing at this path, or the user may not see it; name the datacenter, or DATACENTER/vm/FOLDER"
        raise ProviderError(f"find datacenter {datacenter!r}", why, permanent=True)
    return found


def machines(login: Login, datacenter: str, named: Sequence[str]) -> dict[str, vim.VirtualMachine]:
    """The machines of these names, without those that are not there. Raises `ProviderError` for a name of two."""
    known = login.machines
    if any(name not in known for name in named):
        _learn(login, datacenter, [name for name in named if name not in known])
    return {name: known[name] for name in named if name in known}


def _learn(login: Login, datacenter: str, named: Sequence[str]) -> None:
    below = root(login, datacenter)
    plain = [name for name in named if "/" not in name and not _is_uuid(name)]
    for name in set(named).difference(plain):
        if found := _by_path_or_uuid(login, name):
            login.machines[name] = found
    if not plain:
        return
    by_name: dict[str, list[vim.VirtualMachine]] = {}
    for machine, properties in all_within(login, below, vim.VirtualMachine, VirtualMachine=["name"]).items():
        by_name.setdefault(properties.get("name", ""), []).append(machine)
    for name in plain:
        found = by_name.get(name, [])
        if len(found) > 1:
            paths = " and ".join(sorted(inventory_path(login, machine) for machine in found))
            raise ProviderError(
                f"find machine {name!r}",
                f"there are {len(found)}: {paths}; name one by its path or UUID",
                permanent=True,
            )
        if found:
            login.machines[name] = found[0]


def _by_path_or_uuid(login: Login, name: str) -> Any:  # noqa: ANN401 - as above
    index = login.content.searchIndex
    if "/" in name:
        found = index.FindByInventoryPath(name)
        return found if isinstance(found, vim.VirtualMachine) else None
    return index.FindByUuid(None, name, True, False) or index.FindByUuid(None, name, True, True)


def is_called(name: str, own: str | None) -> bool:
    """Whether a machine that was found by this name, path or UUID may still be called so; `own` is its name now."""
    return own is None or _is_uuid(name) or name.rstrip("/").rpartition("/")[2].casefold() == own.casefold()


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name.lower()
    except ValueError:
        return False


def inventory_path(login: Login, item: Any) -> str:  # noqa: ANN401 - as above
    """Where something stands: /DC0/vm/folder/name."""
    names: list[str] = []
    while item is not None and item != login.content.rootFolder:
        properties = read_one(login, item, ManagedEntity=["name", "parent"])
        names.append(properties.get("name", "?"))
        item = properties.get("parent")
    return "/" + "/".join(reversed(names))
