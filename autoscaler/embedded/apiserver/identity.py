"""Who sends a request: users, the groups they are in, and the names of service accounts as users."""

from dataclasses import dataclass

from autoscaler.embedded.apiserver.resources import Json

MASTERS = "system:masters"  # its members may do everything, whatever the roles say
AUTHENTICATED = "system:authenticated"
_ACCOUNT = "system:serviceaccount:"
_ACCOUNT_GROUP = "system:serviceaccounts"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user; `uid` is empty for those that are no objects."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""

    def as_json(self) -> Json:
        """Render as the API's UserInfo."""
        info: Json = {"username": self.name, "groups": list(self.groups)}
        return info | ({"uid": self.uid} if self.uid else {})


ADMIN = User(name="vgpu-serve-embedded", groups=(MASTERS, AUTHENTICATED))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """Name a service account as the user its tokens stand for."""
    groups = (_ACCOUNT_GROUP, f"{_ACCOUNT_GROUP}:{namespace}", AUTHENTICATED)
    return User(name=f"{_ACCOUNT}{namespace}:{name}", groups=groups, uid=uid)


def account_of(user_name: str) -> tuple[str, str] | None:
    """Read namespace and name of the service account behind a user's name; None for other users."""
    namespace, colon, name = user_name.removeprefix(_ACCOUNT).partition(":")
    is_account = user_name.startswith(_ACCOUNT) and colon and namespace and name and ":" not in name
    return (namespace, name) if is_account else None


def impersonated(name: str, groups: tuple[str, ...]) -> User:
    """Make the user another one asks to act as. A service account is in its own groups if none are asked for."""
    account = account_of(name)
    if account is not None and not groups:
        return service_account(*account)
    return User(name=name, groups=tuple(dict.fromkeys((*groups, AUTHENTICATED))))
