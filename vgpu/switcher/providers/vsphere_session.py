"""A login at a vCenter: made when it is first needed, and again when the server ended it or the connection was lost.

The certificate is verified, against the system's authorities or those of a file. User and password are read from
their files at each login, so a rotated Secret needs no restart, and are kept nowhere.

pyVmomi's own `SmartConnect` is not used: its look at the server's versions has no time limit.
"""

import hashlib
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError

from pyVmomi import SoapStubAdapter, vim, vmodl
from pyVmomi.SoapAdapter import StubAdapterBase
from pyVmomi.VmomiSupport import GetServiceVersions, versionIdMap

from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.providers.vsphere_faults import provider_error

LOG = logging.getLogger(__name__)
# A connection that rested longer is not used again: firewalls forget it silently.
REST_S = 60
# vCenter locks an account at five wrong passwords within three minutes, so a refused pair is shown again only now and
# then; another pair in the files is tried at once.
LOGIN_AGAIN_S = 60.0
# What a server that is away, or ill, does to pyVmomi.
LOST = (OSError, HTTPException)
ANSWER_S = 20.0

T = TypeVar("T")


class NotSoap(HTTPException):
    """An answer that is no vCenter's, such as the page of a proxy."""


class Stub(StubAdapterBase):  # type: ignore[misc]  # pyVmomi's types say too little to be used
    """pyVmomi's connection. Its parser lets all kinds of errors out on such an answer; here it is one."""

    def __init__(self, soap: SoapStubAdapter) -> None:
        super().__init__(soap.version)
        self.soap = soap

    def speak(self, version: str) -> None:
        """Use this version of the API in requests and for what is answered."""
        for speaker in (self, self.soap):
            speaker.ComputeVersionInfo(version)

    def InvokeMethod(self, mo: Any, info: Any, args: Any) -> Any:  # noqa: ANN401, N802 - pyVmomi's signature
        """What every call of the API goes through."""
        try:
            status, answer = self.soap.InvokeMethod(mo, info, args, self)
        except (ExpatError, LookupError, TypeError, AttributeError):
            raise NotSoap("what no vCenter does") from None
        if status == HTTPStatus.OK:
            return answer
        if isinstance(answer, Exception):
            raise answer
        raise NotSoap("what no vCenter does")


@dataclass(frozen=True)
class Login:
    """What one login gave: the root of the API, and the machines found since, which are bound to it."""

    soap: SoapStubAdapter
    content: Any  # pyVmomi's types are made at run time
    session_key: str
    machines: dict[str, vim.VirtualMachine] = field(default_factory=dict)


class Session:
    """Runs operations within a login. Every failure is a `ProviderError` without secrets."""

    def __init__(
        self, vcenter: Vsphere, *, timeout_s: float = ANSWER_S, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._vcenter = vcenter
        self._address = f"{vcenter.host}:{vcenter.port}"
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._login: Login | None = None
        self._refused: tuple[bytes, float] | None = None
        if not vcenter.verify:
            LOG.warning("the certificate of vCenter %s is not verified: verify is false", self._address)

    def run(self, what: str, operation: Callable[[Login], T]) -> T:
        """The operation's result. It is run a second time if the login was an old one and turned out to be lost."""
        used = self._login is not None
        try:
            return operation(self._opened())
        except vim.fault.NotAuthenticated as fault:
            self._drop()
            if not used:
                raise provider_error(what, fault) from None
        except vmodl.MethodFault as fault:
            raise provider_error(what, fault) from None
        except LOST as error:
            self._drop()
            # Asking a server that does not answer once more would only take twice as long.
            if not used or isinstance(error, TimeoutError):
                raise self._unreachable(what, error) from None
        return self.run(what, operation)

    def close(self) -> None:
        """Log out, where that still goes; never raises."""
        login, self._login = self._login, None
        if login is None:
            return
        try:
            login.content.sessionManager.Logout()
        except (vmodl.MethodFault, *LOST):
            LOG.debug("vCenter %s took no logout", self._address)
        login.soap.DropConnections()

    def _drop(self) -> None:
        if self._login is not None:
            self._login.soap.DropConnections()
            self._login = None

    def _opened(self) -> Login:
        if self._login is None:
            self._login = self._log_in()
        return self._login

    def _log_in(self) -> Login:
        vcenter = self._vcenter
        user, password = (self._read(file) for file in (vcenter.user_file, vcenter.password_file))
        # Only a digest of what was refused is kept: enough to know it again.
        shown = hashlib.sha256(f"{user}\0{password}".encode()).digest()
        self._mind_refusal(shown)
        soap = SoapStubAdapter(
            host=vcenter.host,
            port=vcenter.port,
            sslContext=self._tls(),
            httpConnectionTimeout=self._timeout_s,
            connectionPoolTimeout=REST_S,
        )
        with ExitStack() as unless_logged_in:
            unless_logged_in.callback(soap.DropConnections)
            stub = Stub(soap)
            content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
            if getattr(content, "about", None) is None:
                raise NotSoap("what no vCenter does")
            stub.speak(newest_version(content.about.apiVersion))
            try:
                begun = content.sessionManager.Login(user, password, None)
            except vim.fault.InvalidLogin:
                self._refused = shown, self._now_s()
                raise self._wrong_login() from None
            unless_logged_in.pop_all()
        self._refused = None
        LOG.info("logged in at vCenter %s, API %s", self._address, content.about.apiVersion)
        return Login(soap, content, begun.key)

    def _mind_refusal(self, shown: bytes) -> None:
        if self._refused is not None:
            pair, at_s = self._refused
            if pair == shown and self._now_s() - at_s < LOGIN_AGAIN_S:
                raise self._wrong_login()

    def _wrong_login(self) -> ProviderError:
        vcenter = self._vcenter
        return ProviderError(
            f"log in at vCenter {self._address}",
            f"user or password is wrong, or the account is locked; they are read from {vcenter.user_file} and "
            f"{vcenter.password_file} at each login",
            permanent=True,
        )

    def _read(self, file: Path) -> str:
        what = f"log in at vCenter {self._address}"
        try:
            text = file.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise ProviderError(what, f"{file} cannot be read: {why}", permanent=True) from None
        if not text:
            raise ProviderError(what, f"{file} is empty", permanent=True)
        return text

    def _tls(self) -> ssl.SSLContext:
        file = self._vcenter.ca_file
        try:
            context = ssl.create_default_context(cafile=str(file) if file else None)
        except OSError as error:
            what = f"verify the certificate of vCenter {self._address}"
            raise ProviderError(what, f"{file} holds no certificates in PEM: {error}", permanent=True) from None
        if not self._vcenter.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _unreachable(self, what: str, error: Exception) -> ProviderError:
        address = self._address
        if isinstance(error, ssl.SSLCertVerificationError):
            why = (
                f"the certificate of vCenter {address} is not accepted: {error.verify_message}; "
                "put its authority's certificate in a file and name that as ca_file"
            )
            return ProviderError(what, why, permanent=True)
        if isinstance(error, TimeoutError):
            why = f"vCenter {address} gave no answer within {self._timeout_s:g} s"
        elif isinstance(error, OSError):
            why = f"vCenter {address} cannot be reached: {error.strerror or error}"
        else:
            why = f"vCenter {address} answers {error or type(error).__name__}"
        return ProviderError(what, why, permanent=False)


def newest_version(api_version: str) -> str:
    """pyVmomi's name of its newest version of the API that is not newer than the server's, such as 8.0.3.0."""
    served = _numbers(api_version)
    known = [name for name in GetServiceVersions("vim25") if name.startswith("vim.version.")]
    fitting = [(_numbers(versionIdMap[name]), name) for name in known]
    usable = [(numbers, name) for numbers, name in fitting if () < numbers <= served]
    if not usable:
        raise NotSoap(f"as API {api_version!r}, of which nothing is known")
    return str(max(usable)[1])


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
