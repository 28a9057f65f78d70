"""Who a request comes from: the installation's token, a service account's, or nobody's where the server asks for none.

One who may impersonate acts as another user by the headers kubectl's `--as` and `--as-group` send.
"""

import secrets

from starlette.datastructures import Headers

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.authorization import Authorizer
from autoscaler.embedded.apiserver.identity import ADMIN, User, account_of, impersonated
from autoscaler.embedded.apiserver.tokens import Tokens

_SCHEME = "bearer"
_AS_USER, _AS_GROUP = "impersonate-user", "impersonate-group"


class Authenticator:
    """Tells users by their tokens. Its own token stands for the administrator; an empty one is never asked for."""

    def __init__(self, token: str, tokens: Tokens, authorizer: Authorizer) -> None:
        self._token = token
        self._tokens = tokens
        self._authorizer = authorizer

    def user(self, headers: Headers) -> User:
        """Name the user a request comes from, or acts as; raise Unauthorized or Forbidden."""
        sender = self._sender(headers.get("authorization", ""))
        if not any(name.startswith("impersonate-") for name in headers):
            return sender
        return self._impersonated(sender, headers)

    def _sender(self, authorization: str) -> User:
        if not authorization and not self._token:
            return ADMIN
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != _SCHEME or not text:
            raise errors.unauthorized()
        if self._token and secrets.compare_digest(text.encode(), self._token.encode()):
            return ADMIN
        user = self._tokens.user(text)
        if user is None:
            raise errors.unauthorized()
        return user

    def _impersonated(self, sender: User, headers: Headers) -> User:
        unknown = [name for name in headers if name.startswith("impersonate-") and name not in (_AS_USER, _AS_GROUP)]
        name, groups = headers.get(_AS_USER, ""), tuple(headers.getlist(_AS_GROUP))
        if unknown or not name:
            raise errors.bad_request(f"requested {unknown or list(groups)} without impersonating a user by its name")
        if (account := account_of(name)) is not None:
            about = {"resource": "serviceaccounts", "namespace": account[0], "name": account[1]}
        else:
            about = {"resource": "users", "name": name}
        self._authorizer.check(sender, Attributes(verb="impersonate", **about))
        for group in groups:
            self._authorizer.check(sender, Attributes(verb="impersonate", resource="groups", name=group))
        return impersonated(name, groups)
