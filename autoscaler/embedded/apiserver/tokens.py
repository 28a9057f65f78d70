"""The tokens of service accounts: who holds one, and until when. Opaque words; nothing can be read from them."""

import random
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors, resources
from autoscaler.embedded.apiserver.identity import User, service_account
from autoscaler.embedded.apiserver.store import Store

DEFAULT_LIFE_S = 3600
SHORTEST_LIFE_S = 600  # as upstream
LONGEST_LIFE_S = 2**32  # as upstream
_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One issued token. It is worth nothing once the account it was issued for is gone, whatever its name is worth."""

    text: str
    namespace: str
    name: str
    uid: str
    expires_s: float


class Tokens:
    """The tokens in force. The store's clock says when they expire."""

    def __init__(self, store: Store, randomness: random.Random) -> None:
        self._store = store
        self._randomness = randomness
        self._by_text: dict[str, Token] = {}

    def issue(self, namespace: str, name: str, life_s: int) -> Token:
        """Make a token for a service account; raise NotFound where there is no such account."""
        now_s = self._store.now_s()
        account = self._store.get(resources.SERVICE_ACCOUNTS, namespace, name)
        self._by_text = {text: token for text, token in self._by_text.items() if token.expires_s > now_s}
        token = Token(
            text=urlsafe_b64encode(self._randomness.randbytes(_BYTES)).decode().rstrip("="),
            namespace=namespace,
            name=name,
            uid=account["metadata"]["uid"],
            expires_s=now_s + life_s,
        )
        self._by_text[token.text] = token
        return token

    def user(self, text: str) -> User | None:
        """Name the user a token stands for; None where it stands for nobody, or no longer."""
        token = self._by_text.get(text)
        if token is None or token.expires_s <= self._store.now_s():
            return None
        try:
            account = self._store.get(resources.SERVICE_ACCOUNTS, token.namespace, token.name)
        except errors.ApiError:
            return None
        return (
            service_account(token.namespace, token.name, token.uid) if account["metadata"]["uid"] == token.uid else None
        )
