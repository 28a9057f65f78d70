"""All objects, and the only place that changes them: one write, one version, one event.

No I/O happens here: the clock and the source of names are given. Objects handed out are shared and must not be changed;
a write always puts a new object in the place of the old. Not for use from several threads at once.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

from autoscaler.embedded.apiserver import declared, errors, kinds, metadata, ownership, resources, shapes
from autoscaler.embedded.apiserver.history import History
from autoscaler.embedded.apiserver.resources import Json, Resource

Operation = Literal["Apply", "Update"]
Owners = list[Json]
Track = Callable[[Json, Json], Owners]  # from an object's old and new state to who owns which fields
Key = tuple[str, str]  # namespace ("" for cluster-wide kinds), name

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
HISTORY_LIMIT = 5000  # events: at 20 writes a second a watch may lag four minutes
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # as upstream: no vowels, so no words by accident
_LONGEST_BASE = 58  # a generated name is a base of at most this plus five letters: 63, the longest label


class Store:
    """Objects by kind, namespace and name, with the versions and history that clients build on."""

    def __init__(
        self, *, clock: Callable[[], float], randomness: random.Random, history_limit: int = HISTORY_LIMIT
    ) -> None:
        self._clock = clock
        self._randomness = randomness
        self._objects: dict[Resource, dict[Key, Json]] = {resource: {} for resource in resources.RESOURCES}
        self.history = History(history_limit)
        self.listeners: list[Callable[[], None]] = []  # called after every write
        self._is_rehearsal = False
        for name in FIRST_NAMESPACES:
            self.create(resources.NAMESPACES, "", {"metadata": {"name": name}})

    @property
    def version(self) -> int:
        return self.history.version

    def now_s(self) -> float:
        """Read the clock the store was given."""
        return self._clock()

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Refuse and answer as ever inside, and change nothing: a dry run."""
        self._is_rehearsal = True
        try:
            yield
        finally:
            self._is_rehearsal = False

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Read one object; raise NotFound."""
        found = self._objects[resource].get((namespace, name))
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def has(self, resource: Resource, namespace: str, name: str) -> bool:
        """Tell whether there is an object of a name."""
        return (namespace, name) in self._objects[resource]

    def list(self, resource: Resource, namespace: str = "", *, version: int | None = None) -> list[Json]:
        """List a kind by namespace and name, in all namespaces if none is named, as it was at a version."""
        held = self._objects[resource]
        if version is not None and version != self.version:
            held = self._as_of(resource, version)
        return [held[key] for key in sorted(held) if not namespace or key[0] == namespace]

    def _as_of(self, resource: Resource, version: int) -> dict[Key, Json]:
        """Undo the events since a version, newest first."""
        held = dict(self._objects[resource])
        for event in reversed(self.history.after(version)):
            if event.resource is not resource:
                continue
            key = _key(event.either)
            if event.before is None:
                held.pop(key, None)
            else:
                held[key] = event.before
        return held

    def everything(self) -> Iterator[tuple[Resource, Json]]:
        """Walk all objects of all kinds; what is replaced or removed on the way is not shown in its old state."""
        for resource, held in self._objects.items():
            for key, item in list(held.items()):
                if held.get(key) is item:
                    yield resource, item

    def create(self, resource: Resource, namespace: str, body: Json, *, owners: Sequence[Json] = ()) -> Json:
        """Add an object; raise AlreadyExists, Invalid, or what its namespace forbids."""
        body = shapes.decode(resource, namespace, "", body)
        name: str = body["metadata"].get("name") or self._generated_name(resource, namespace, body)
        born = metadata.with_birth(resource, body, name=name, namespace=namespace, uid=self._uid(), now_s=self._clock())
        born = declared.at_birth(resource, kinds.with_defaults(resource, born))
        self._check_namespace(resource, namespace, name)
        if (namespace, name) in self._objects[resource]:
            raise errors.already_exists(resource, name)
        kinds.check(resource, born)
        if owners:
            born = born | {"metadata": born["metadata"] | {"managedFields": list(owners)}}
        return self.commit(resource, None, born)

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if resource.namespaced and metadata.is_deleting(self.get(resources.NAMESPACES, "", namespace)):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(resource, name, why)

    def _generated_name(self, resource: Resource, namespace: str, body: Json) -> str:
        start: str = body["metadata"].get("generateName", "")
        while start:
            name = start[:_LONGEST_BASE] + "".join(self._randomness.choices(_SUFFIX_LETTERS, k=5))
            if (namespace, name) not in self._objects[resource]:
                return name
        return ""

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._randomness.getrandbits(128), version=4))

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        *,
        part: metadata.Part = "spec",
        track: Track | None = None,
    ) -> Json:
        """Replace an object by what `change` makes of it; raise Conflict where that names an old version.

        A change that changes nothing leaves no event. One that lifts the last finalizer of a deleted object removes it.
        """
        old = self.get(resource, namespace, name)
        sent = kinds.with_defaults(resource, shapes.decode(resource, namespace, name, change(old)))
        new = declared.carried(resource, old, metadata.with_change(resource, old, sent, part))
        kinds.check(resource, new, old)
        new = self._tracked(resource, old, new, part, track)
        if new == old:
            return old
        if metadata.is_deleting(old):
            self._check_no_new_finalizers(resource, old, new)
            if not new["metadata"].get("finalizers") and not new["metadata"].get("deletionGracePeriodSeconds"):
                return self.discard(resource, new)
        return self.commit(resource, old, new)

    def _tracked(self, resource: Resource, old: Json, new: Json, part: metadata.Part, track: Track | None) -> Json:
        """Note who owns which fields, if that is kept for this object."""
        if track is None:
            if not old["metadata"].get("managedFields"):
                return new
            track = partial(self.plain_track, resource, "embedded", "status" if part == "status" else "")
        owners = track(old, new)
        return new | {"metadata": new["metadata"] | {"managedFields": owners}} if owners else new

    def owner(self, resource: Resource, manager: str, operation: Operation, subresource: str = "") -> ownership.Owner:
        """Name a client that writes now, as one who owns nothing yet."""
        return ownership.Owner(
            manager=manager,
            operation=operation,
            api_version=resource.api_version,
            time=metadata.timestamp(self._clock()),
            paths=frozenset(),
            subresource=subresource,
        )

    def plain_track(self, resource: Resource, manager: str, subresource: str, old: Json, new: Json) -> Owners:
        """Say who owns what after a plain write; nobody does in an object that was never applied."""
        if not old["metadata"].get("managedFields"):
            return []
        writer = self.owner(resource, manager, "Update", subresource)
        return ownership.written(old, new, ownership.keys_of(resource), writer)

    def _check_no_new_finalizers(self, resource: Resource, old: Json, new: Json) -> None:
        had = old["metadata"].get("finalizers") or []
        if added := [word for word in new["metadata"].get("finalizers") or [] if word not in had]:
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            raise errors.invalid(
                resource, old["metadata"]["name"], [errors.forbidden_field("metadata.finalizers", why)]
            )

    def commit(self, resource: Resource, old: Json | None, new: Json) -> Json:
        """Put a finished object in its place under the next version."""
        if self._is_rehearsal:
            return new
        new = new | {"metadata": new["metadata"] | {"resourceVersion": str(self.version + 1)}}
        self._objects[resource][_key(new)] = new
        self._record(resource, old, new)
        return new

    def discard(self, resource: Resource, item: Json) -> Json:
        """Remove an object and return its last state."""
        if self._is_rehearsal:
            return item
        del self._objects[resource][_key(item)]
        self._record(resource, item, None)
        return item

    def _record(self, resource: Resource, before: Json | None, after: Json | None) -> None:
        self.history.append(resource, before, after)
        for listener in self.listeners:
            listener()


def _key(item: Json) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
