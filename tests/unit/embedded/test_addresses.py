"""Which ports an installation listens on, and every reason why one cannot be had."""

import socket
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from autoscaler.embedded import addresses
from autoscaler.embedded.addresses import HOST, PortsInUse, choose
from autoscaler.refusal import Refused


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Two ports that somebody listens on."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(2)]
    yield [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()


def problems(**wanted: int) -> list[str]:
    with pytest.raises(PortsInUse) as caught:
        choose(wanted)
    assert isinstance(caught.value, Refused)
    return str(caught.value).splitlines()


def test_all_ports_are_free_and_each_is_another() -> None:
    ports = astuple(choose({}))
    assert len(set(ports)) == len(ports) == 14
    for port in ports:
        socket.create_server((HOST, port)).close()


def test_wanted_ports_are_kept_and_given_to_nobody_else() -> None:
    for _ in range(20):
        first = choose({})
        again = choose({"http": first.gcs, "api": first.ray_client})
        assert (again.http, again.api) == (first.gcs, first.ray_client)
        assert len(set(astuple(again))) == 14


def test_every_taken_port_is_named_with_the_option_that_changes_it(taken: list[int]) -> None:
    free = choose({}).http
    assert problems(http=taken[0], api=free, autoscaler=taken[1]) == [
        f"port {taken[0]} is in use; choose another with --http-port",
        f"port {taken[1]} is in use; choose another with --autoscaler-port",
    ]


def test_a_port_asked_for_twice_is_said_of_both() -> None:
    port = choose({}).http
    assert problems(http=port, dashboard=port) == [
        f"port {port} is asked for 2 times; choose another with --http-port",
        f"port {port} is asked for 2 times; choose another with --dashboard-port",
    ]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    assert problems(http=port) == [f"port {port} is not between 1 and 65535; choose another with --http-port"]


def test_a_port_that_was_just_given_up_can_be_had() -> None:
    """As the servers do: a connection that is still closing does not keep a port taken."""
    server = socket.create_server((HOST, 0))
    port = server.getsockname()[1]
    with socket.create_connection((HOST, port)):
        connection, _ = server.accept()
        connection.close()  # the server's side closes first and waits in TIME_WAIT
    server.close()
    assert choose({"http": port}).http == port


def test_the_ports_people_type_have_defaults() -> None:
    assert addresses.DEFAULTS == {"http": 8000, "api": 6443, "dashboard": 8265, "autoscaler": 9106}


def test_ports_are_not_those_that_outgoing_connections_take() -> None:
    """A process that starts anew would find its port taken by whoever was given it meanwhile."""
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(astuple(choose({}))) < int(first)
