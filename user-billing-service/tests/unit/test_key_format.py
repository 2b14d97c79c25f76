"""The text of an API key."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.keys import format as key_format
from user_billing.keys.format import new_api_key

secrets = st.text(alphabet=key_format.ALPHABET, min_size=32, max_size=32)


@given(secret=secrets)
def test_a_built_key_is_well_formed(secret):
    """Every 32 base62 characters make a key that the contract's pattern and its CRC accept."""
    key = key_format.build(secret)
    assert re.fullmatch(r"coh_live_[0-9A-Za-z]{38}", key)
    assert key_format.is_well_formed(key)


@given(secret=secrets)
def test_the_check_is_the_crc32_of_everything_before_it(secret):
    """The last six characters, read as base62, are CRC32 of all before them."""
    key = key_format.build(secret)
    number = 0
    for character in key[-6:]:
        number = number * 62 + key_format.ALPHABET.index(character)
    assert number == zlib.crc32(key[:-6].encode())


@given(
    secret=secrets,
    position=st.integers(min_value=9, max_value=46),
    replacement=st.sampled_from(key_format.ALPHABET),
)
def test_one_wrong_character_is_noticed(secret, position, replacement):
    """A key with one mistyped character is refused without asking anyone."""
    key = key_format.build(secret)
    wrong = key[:position] + replacement + key[position + 1 :]
    assert key_format.is_well_formed(wrong) == (wrong == key)


@given(secret=secrets, position=st.integers(min_value=9, max_value=45))
def test_two_swapped_characters_are_noticed(secret, position):
    """A key with two neighbours swapped is refused."""
    key = key_format.build(secret)
    swapped = key[:position] + key[position + 1] + key[position] + key[position + 2 :]
    assert key_format.is_well_formed(swapped) == (swapped == key)


@given(text=st.text(max_size=80))
def test_any_text_is_judged_and_never_crashes(text):
    """Whatever is sent as a key is well formed or not; nothing raises."""
    assert key_format.is_well_formed(text) in {True, False}


@pytest.mark.parametrize(
    "text",
    ["", "coh_live_", "coh_test_" + "a" * 38, "coh_live_" + "a" * 37, "coh_live_" + "é" * 38],
)
def test_other_shapes_are_refused(text):
    """A wrong prefix, length or alphabet is refused."""
    assert not key_format.is_well_formed(text)


def test_no_trailing_newline_is_accepted():
    """A key ends where it ends: a line break after it is another text."""
    assert not key_format.is_well_formed(new_api_key() + "\n")


def test_what_is_shown_of_a_key_is_twelve_characters():
    """The start tells keys apart and gives 3 of 32 secret characters away."""
    key = new_api_key()
    assert key_format.start_of(key) == key[:12]
