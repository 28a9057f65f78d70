"""Whether roles allow a request, as the rules of Kubernetes say; pure functions over roles and bindings as objects.

The matching is that of RuleAllows in kubernetes pkg/registry/rbac/validation and apis/rbac/v1/evaluation_helpers.go:
rules only ever allow, each of a rule's lists must match, and `*` in a list matches everything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.identity import User, account_of
from autoscaler.embedded.apiserver.resources import Json

ALL = "*"
RBAC_GROUP = "rbac.authorization.k8s.io"
# A role's rules by kind, namespace and name; None where there is no such role.
FindRole = Callable[[str, str, str], Sequence["Rule"] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a role. No names mean all names; a rule is about resources or about URLs."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def allows(self, asked: Attributes) -> bool:
        """Tell whether this rule alone allows a request."""
        if not _has(self.verbs, asked.verb):
            return False
        if not asked.resource:
            return any(_url_matches(pattern, asked.path) for pattern in self.urls)
        return (
            _has(self.groups, asked.group)
            and any(_resource_matches(pattern, asked) for pattern in self.resources)
            and (not self.names or asked.name in self.names)
        )

    def as_json(self) -> Json:
        """Render as the API's PolicyRule."""
        lists = {
            "verbs": self.verbs,
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.urls,
        }
        return {name: list(words) for name, words in lists.items() if words}


def parse_rules(role: Json) -> tuple[Rule, ...]:
    """Read the rules of a Role or ClusterRole."""
    return tuple(
        Rule(
            verbs=tuple(rule.get("verbs") or ()),
            groups=tuple(rule.get("apiGroups") or ()),
            resources=tuple(rule.get("resources") or ()),
            names=tuple(rule.get("resourceNames") or ()),
            urls=tuple(rule.get("nonResourceURLs") or ()),
        )
        for rule in role.get("rules") or ()
    )


def _has(words: Sequence[str], word: str) -> bool:
    return ALL in words or word in words


def _url_matches(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


def _resource_matches(pattern: str, asked: Attributes) -> bool:
    if pattern in (ALL, asked.combined):
        return True
    return bool(asked.subresource) and pattern == f"{ALL}/{asked.subresource}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One rule as a user has it: by which binding; where a binding's role is missing, which."""

    rule: Rule | None
    why: str
    missing: str = ""


def grants(
    user: User,
    namespace: str,
    *,
    cluster_bindings: Iterable[Json],
    bindings: Iterable[Json],
    find_role: FindRole,
) -> Iterator[Grant]:
    """List what a user may do in a namespace, or cluster-wide where none is named. `bindings` are the namespace's."""
    for binding in cluster_bindings:
        yield from _granted(user, binding, "", find_role)
    for binding in bindings if namespace else ():
        yield from _granted(user, binding, namespace, find_role)


def _granted(user: User, binding: Json, namespace: str, find_role: FindRole) -> Iterator[Grant]:
    subject = next((known for known in binding.get("subjects") or () if _is_meant(user, known, namespace)), None)
    if subject is None:
        return
    kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
    rules = find_role(kind, namespace if kind == "Role" else "", name)
    if rules is None:
        yield Grant(rule=None, why="", missing=f'{kind.lower()}.{RBAC_GROUP} "{name}" not found')
        return
    place = f'"{binding["metadata"]["name"]}/{namespace}"' if namespace else f'"{binding["metadata"]["name"]}"'
    by = f"{'RoleBinding' if namespace else 'ClusterRoleBinding'} {place}"
    for rule in rules:
        yield Grant(rule=rule, why=f'RBAC: allowed by {by} of {kind} "{name}" to {_named(subject)}')


def _named(subject: Json) -> str:
    where = f"/{subject['namespace']}" if subject.get("namespace") else ""
    return f'{subject["kind"]} "{subject["name"]}{where}"'


def _is_meant(user: User, subject: Json, namespace: str) -> bool:
    name = subject.get("name")
    match subject.get("kind"):
        case "User":
            return user.name == name
        case "Group":
            return name in user.groups
        case "ServiceAccount":
            return account_of(user.name) == (subject.get("namespace") or namespace, name)
        case _:
            return False


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """List the single permissions among the wanted rules that no owned rule covers, each as a rule of one of each."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(mine, part) for mine in owned)]


def _parts(rule: Rule) -> Iterator[Rule]:
    for verb in rule.verbs:
        for url in rule.urls:
            yield Rule(verbs=(verb,), urls=(url,))
        for group in rule.groups:
            for resource in rule.resources:
                for name in rule.names or (None,):
                    names = () if name is None else (name,)
                    yield Rule(verbs=(verb,), groups=(group,), resources=(resource,), names=names)


def _covers(mine: Rule, part: Rule) -> bool:
    """Tell whether a rule holds one permission; a `*` that is wanted is covered by a `*` only."""
    if not _has(mine.verbs, part.verbs[0]):
        return False
    if part.urls:
        return any(_url_matches(pattern, part.urls[0]) for pattern in mine.urls)
    resource, _, subresource = part.resources[0].partition("/")
    asked = Attributes(verb=part.verbs[0], group=part.groups[0], resource=resource, subresource=subresource)
    return (
        _has(mine.groups, part.groups[0])
        and any(_resource_matches(pattern, asked) for pattern in mine.resources)
        and (not mine.names or (bool(part.names) and part.names[0] in mine.names))
    )
