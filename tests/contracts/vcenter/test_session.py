"""Certificates, credentials, sessions that end, and servers that are away or are no vCenter."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contracts.vcenter.conftest import MakeProvider
from tests.fakes.clock import VirtualClock
from tests.vcenter.operator import Operator
from tests.vcenter.server import PASSWORD, Certificates, VCenter, certificates
from vgpu.core.switching.seen import MachineState
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.providers.vsphere import VsphereProvider, open
from vgpu.switcher.providers.vsphere_session import LOGIN_AGAIN_S

MACHINE = "DC0_C0_RP0_VM0"


def state(provider: VsphereProvider) -> MachineState:
    return provider.look([MACHINE])[MACHINE].state


def refusal(provider: VsphereProvider) -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        provider.look([MACHINE])
    assert PASSWORD not in str(refused.value)
    return refused.value


def test_the_provider_of_the_switchers_file_reaches_it(reached: Vsphere) -> None:
    provider = open(reached)
    assert provider.look([MACHINE])[MACHINE].state is MachineState.RUNNING
    provider.close()


def test_a_certificate_of_another_authority_is_refused(make: MakeProvider, tmp_path: Path) -> None:
    stranger = certificates(tmp_path / "stranger")
    for authority in (stranger.authority, None):
        error = refusal(make(ca_file=authority))
        assert error.permanent
        assert "is not accepted: " in error.why
        assert "ca_file" in error.why


def test_a_certificate_for_another_address_is_refused(make: MakeProvider, vcenter: VCenter, tmp_path: Path) -> None:
    vcenter.stop()
    vcenter.certificates = certificates(tmp_path / "elsewhere", address="127.0.0.2")
    vcenter.start()
    error = refusal(make(ca_file=vcenter.certificates.authority))
    assert error.permanent
    assert "127.0.0.1" in error.why


def test_a_certificate_is_not_looked_at_where_that_is_asked_for_and_warned_of(
    make: MakeProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = make(ca_file=certificates(tmp_path / "stranger").authority, verify=False)
    assert [record.levelno for record in caplog.records if "not verified" in record.message] == [logging.WARNING]
    assert state(provider) is MachineState.RUNNING


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_file_without_certificates_is_named(make: MakeProvider, tmp_path: Path, content: str) -> None:
    for file in (tmp_path / "missing.pem", tmp_path / "other.pem"):
        (tmp_path / "other.pem").write_text(content)
        error = refusal(make(ca_file=file))
        assert error.permanent
        assert str(file) in error.why


def test_credentials_are_read_at_each_login(make: MakeProvider, reached: Vsphere, someone: Operator) -> None:
    provider = make()
    assert state(provider) is MachineState.RUNNING
    reached.password_file.write_text("yesterday's")
    someone.end_other_sessions()
    provider.close()
    error = refusal(provider)
    assert error.permanent
    assert str(reached.password_file) in error.why
    reached.password_file.write_text(PASSWORD)
    assert state(provider) is MachineState.RUNNING


def test_what_was_refused_is_not_shown_again_at_once(
    make: MakeProvider, reached: Vsphere, vcenter: VCenter, clock: VirtualClock
) -> None:
    """vCenter would lock the account. A server that is off tells whether anybody asked it."""
    reached.password_file.write_text("wrong")
    provider = make()
    assert refusal(provider).permanent
    vcenter.stop()
    assert refusal(provider).permanent
    clock.pass_s(LOGIN_AGAIN_S)
    assert not refusal(provider).permanent


@pytest.mark.parametrize(("content", "why"), [(None, "cannot be read"), ("\n", "is empty"), (b"\xff", "no UTF-8")])
def test_a_file_of_credentials_that_says_nothing_is_named(
    make: MakeProvider, reached: Vsphere, content: str | bytes | None, why: str
) -> None:
    reached.user_file.unlink()
    if content is not None:
        reached.user_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refusal(make())
    assert error.permanent
    assert str(reached.user_file) in error.why
    assert why in error.why


def test_a_session_that_the_server_ended_is_begun_anew(make: MakeProvider, someone: Operator) -> None:
    provider = make()
    for operation, after in (
        (provider.suspend, MachineState.SUSPENDED),
        (provider.resume, MachineState.RUNNING),
        (provider.power_off, MachineState.OFF),
    ):
        state(provider)
        assert someone.end_other_sessions() == 1
        operation(MACHINE)
        assert state(provider) is after


def test_a_server_that_was_stopped_and_started_is_found_again(make: MakeProvider, vcenter: VCenter) -> None:
    provider = make()
    assert state(provider) is MachineState.RUNNING
    vcenter.stop()
    error = refusal(provider)
    assert (error.permanent, error.what) == (False, "look at the machines")
    assert error.why == f"vCenter 127.0.0.1:{vcenter.port} cannot be reached: Connection refused"
    vcenter.start()
    provider.suspend(MACHINE)
    assert state(provider) is MachineState.SUSPENDED


def test_a_server_that_was_started_anew_unnoticed_is_no_error(make: MakeProvider, vcenter: VCenter) -> None:
    provider = make()
    assert state(provider) is MachineState.RUNNING
    vcenter.stop()
    vcenter.start()
    assert state(provider) is MachineState.RUNNING


ANSWERS = {
    "a web page": b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<html>a router</html>     ",
    "a document": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n<a><b/></a> ",
    "JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "half of it": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n<?xml version='1.0'?><soapenv:Envelope>",
    "that it starts up": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "an error page": b"HTTP/1.1 500 Oops\r\nContent-Length: 13\r\n\r\n<html></html>",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "by hanging up": b"",
}


@contextmanager
def impostor(shown: Certificates, answer: bytes | None) -> Iterator[int]:
    """Something with the vCenter's certificate that answers each request with this, or None: never. Gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            secured = context.wrap_socket(connection, server_side=True)
            taken.append(secured)
            secured.recv(65536)
            if answer is not None:
                secured.sendall(answer)
                secured.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_that_is_no_vcenter_is_worth_asking_again(make: MakeProvider, vcenter: VCenter, answer: str) -> None:
    with impostor(vcenter.certificates, ANSWERS[answer]) as port:
        error = refusal(make(port=port))
    assert not error.permanent
    assert f"127.0.0.1:{port}" in error.why


def test_a_server_that_does_not_answer_is_waited_for_within_the_limit(make: MakeProvider, vcenter: VCenter) -> None:
    with impostor(vcenter.certificates, None) as port:
        error = refusal(make(timeout_s=0.3, port=port))
    assert error.why == f"vCenter 127.0.0.1:{port} gave no answer within 0.3 s"
    assert not error.permanent


def test_an_address_that_nobody_knows_is_worth_asking_again(make: MakeProvider) -> None:
    error = refusal(make(host="vcenter.invalid"))
    assert not error.permanent
    assert "vcenter.invalid:" in error.why
