"""What libvirt's errors mean for whoever asked."""

import libvirt
import pytest

from vgpu.switcher.providers.libvirt_faults import PERMANENT, TRANSIENT, fault, is_permanent, without_user

# Names for nothing in particular, which share their numbers with others.
_ALIASES = {"OK", "WARNING", "ERROR"}


def test_every_code_of_the_installed_libvirt_is_judged_once() -> None:
    there = {name.removeprefix("VIR_ERR_") for name in vars(libvirt) if name.startswith("VIR_ERR_")} - _ALIASES
    assert there - TRANSIENT - PERMANENT == set()
    assert not TRANSIENT & PERMANENT


@pytest.mark.parametrize("name", sorted(TRANSIENT & {name.removeprefix("VIR_ERR_") for name in vars(libvirt)}))
def test_what_may_pass_is_tried_again(name: str) -> None:
    assert not is_permanent(getattr(libvirt, f"VIR_ERR_{name}"))


@pytest.mark.parametrize("name", sorted(PERMANENT & {name.removeprefix("VIR_ERR_") for name in vars(libvirt)}))
def test_what_somebody_must_mend_is_not(name: str) -> None:
    assert is_permanent(getattr(libvirt, f"VIR_ERR_{name}"))


@pytest.mark.parametrize("code", [None, 9999])
def test_what_is_not_known_is_tried_again(code: int | None) -> None:
    assert not is_permanent(code)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot reach qemu+tls://ann:s3cret@kvm-1:16514/system", "cannot reach qemu+tls://kvm-1:16514/system"),
        ("'esx://root@esx-1/?no_verify=1' refused", "'esx://esx-1/?no_verify=1' refused"),
        ("qemu:///system and mail a@b", "qemu:///system and mail a@b"),
        ("qemu://ann:s3@cret@kvm-1/system", "qemu://kvm-1/system"),
        ("two: test://a@h/x test://b:c@i/y", "two: test://h/x test://i/y"),
    ],
)
def test_no_text_has_a_user_or_a_password(text: str, left: str) -> None:
    assert without_user(text) == left


def test_a_fault_says_what_was_tried_and_what_libvirt_said() -> None:
    with libvirt.open("test:///default") as connection, pytest.raises(libvirt.libvirtError) as caught:
        connection.lookupByName("nobody")
    found = fault("look", caught.value)
    assert (str(found), found.permanent) == ("look: libvirt says: Domain not found (code 42)", True)
