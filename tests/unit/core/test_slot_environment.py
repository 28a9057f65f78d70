from vgpu.core import names
from vgpu.core.slot_environment import slot_environment
from vgpu.core.slot_type import parse_slot_type


def test_a_profile_says_everything_but_where_it_is() -> None:
    shape = parse_slot_type("v100-8q-8GB")
    assert slot_environment(shape, slot_id="n1/0", framebuffer_mib=8192, policy="fixed-share") == {
        names.ENV_SLOT_ID: "n1/0",
        names.ENV_SLOT_PROFILE: "v100-8q-8GB",
        names.ENV_SLOT_UNITS: "500",
        names.ENV_SLOT_FRAMEBUFFER_MIB: "8192",
        names.ENV_SLOT_MOST_PER_GPU: "2",
        names.ENV_SLOT_POLICY: "fixed-share",
    }


def test_a_fractions_framebuffer_is_that_of_the_card_it_was_cut_from() -> None:
    shape = parse_slot_type("fraction:250")
    told = slot_environment(shape, slot_id="n1/default.w1", framebuffer_mib=20480, policy="best-effort")
    assert told[names.ENV_SLOT_PROFILE] == "fraction-250"
    assert (told[names.ENV_SLOT_UNITS], told[names.ENV_SLOT_FRAMEBUFFER_MIB]) == ("250", "20480")
    assert told[names.ENV_SLOT_MOST_PER_GPU] == "4"
