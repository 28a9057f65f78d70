"""kubectl as a person uses it to look at roles and accounts, against the embedded server with its token."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoscaler.embedded.apiserver import ApiServer, Options, start

_KUBECTL = Path(sys.executable).with_name("kubectl")
Kubectl = Callable[..., tuple[int, str]]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ApiServer]:
    """A server that asks for a token; the administrator's kubeconfig is `admin`."""
    made = start(Options(token="the administrator's"))
    made.write_kubeconfig(tmp_path / "admin")
    yield made
    made.stop()


@pytest.fixture
def kubectl(guarded: ApiServer, tmp_path: Path) -> Kubectl:
    """Run kubectl as a user; return its status and what it prints."""

    def run(*words: str, user: str = "admin", stdin: str = "") -> tuple[int, str]:
        settings = {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / user), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [str(_KUBECTL), *words], env=settings, input=stdin, capture_output=True, text=True, timeout=30
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    return run


@pytest.fixture
def anna(guarded: ApiServer, kubectl: Kubectl, tmp_path: Path) -> str:
    """A service account that may read pods, made by kubectl's own commands; its kubeconfig is `anna`."""
    assert kubectl("create", "serviceaccount", "anna") == (0, "serviceaccount/anna created")
    assert kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")[0] == 0
    assert kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:anna")[0] == 0
    status, token = kubectl("create", "token", "anna", "--duration=30m")
    assert status == 0, token
    guarded.write_kubeconfig(tmp_path / "anna", token)
    return "system:serviceaccount:default:anna"


def test_an_account_is_who_its_token_says(kubectl: Kubectl, anna: str) -> None:
    status, told = kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", user="anna")
    assert (status, told) == (0, anna)
    assert kubectl("get", "pods", user="anna") == (0, "No resources found in default namespace.")
    assert kubectl("get", "secrets", user="anna") == (
        1,
        f'Error from server (Forbidden): secrets is forbidden: User "{anna}" cannot list resource "secrets" '
        'in API group "" in the namespace "default"',
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("get", "pods"), "yes"),
        (("get", "pods/mine"), "yes"),
        (("delete", "pods"), "no"),
        (("get", "pods", "--namespace=kube-system"), "no"),
        (("get", "pods", "--subresource=log"), "no"),
        (("get", "/version"), "yes"),
        (("get", "/audit"), "no"),
    ],
)
def test_can_i_says_what_will_be_allowed(kubectl: Kubectl, anna: str, words: tuple[str, ...], answer: str) -> None:
    own, as_admin = kubectl("auth", "can-i", *words, user="anna"), kubectl("auth", "can-i", *words, f"--as={anna}")
    assert own == as_admin == (int(answer == "no"), answer)


def test_can_i_lists_the_rules(kubectl: Kubectl, anna: str) -> None:
    rows = [line.split() for line in kubectl("auth", "can-i", "--list", user="anna")[1].splitlines()]
    assert ["pods", "[]", "[]", "[get", "list]"] in rows
    assert ["*.*", "[]", "[]", "[*]"] in [line.split() for line in kubectl("auth", "can-i", "--list")[1].splitlines()]


def test_only_the_administrator_reads_what_was_asked(kubectl: Kubectl, anna: str) -> None:
    kubectl("get", "secrets", user="anna")
    status, told = kubectl("get", "--raw", "/audit")
    assert status == 0
    assert f'"user":"{anna}","verb":"list","group":"","resource":"secrets"' in told
    assert kubectl("get", "--raw", "/audit", user="anna")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("create", "configmap", "c", "--from-literal=a=b"),
        ("create", "secret", "generic", "s", "--from-literal=a=b"),
        ("create", "clusterrole", "r", "--verb=get", "--non-resource-url=/x"),
        ("create", "clusterrolebinding", "b", "--clusterrole=r", "--group=g"),
    ],
)
def test_what_kubectl_creates_by_itself_is_stored_as_meant(kubectl: Kubectl, words: tuple[str, ...]) -> None:
    """These commands send protobuf."""
    status, told = kubectl(*words, "-o", "json")
    assert status == 0, told
    kind, name = {"secret": ("secret", "s")}.get(words[1], (words[1], words[2]))
    status, dry = kubectl(*words, "--dry-run=client", "-o", "yaml")
    assert (status, kubectl("diff", "-f", "-", stdin=dry)[1]) == (0, ""), (kind, name)


def test_a_kind_that_is_not_read_in_protobuf_is_refused_in_words(kubectl: Kubectl) -> None:
    status, told = kubectl("create", "quota", "q", "--hard=pods=1")
    assert status == 1
    assert "application/vnd.kubernetes.protobuf of a ResourceQuota" in told
