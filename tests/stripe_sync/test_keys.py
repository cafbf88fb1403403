"""Keys: their mode, where they come from, and that they are never shown."""

from __future__ import annotations

import io
import os
import pickle
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.stripe_sync.keys import Key, from_environment, from_file, from_stream, masked, placeholder

SECRET = "sk_test_51Nq8sQd0NotARealKey"


@pytest.mark.parametrize(
    "text,mode",
    [
        ("sk_test_PLACEHOLDER", "fixtures"),
        ("sk_test_PLACEHOLDER_for_ci", "fixtures"),
        (SECRET, "test"),
        ("rk_test_abc", "test"),
        ("sk_live_abc", "live"),
        ("rk_live_abc", "live"),
        ("sk_live_PLACEHOLDER", "live"),
        ("rk_test_PLACEHOLDER", "test"),
    ],
)
def test_a_key_says_its_mode(text: str, mode: str) -> None:
    assert Key(text).mode == mode


@pytest.mark.parametrize(
    "text",
    ["", "sk_test_", "pk_test_abc", "sk_prod_abc", "whsec_abc", f" {SECRET}", f"{SECRET}\n", f"{SECRET}é",
     "sk_test_a b", "sk_test_" + "a" * 300, None, 5],
)  # fmt: skip
def test_a_malformed_key_is_bad_input_and_not_repeated(text: object) -> None:
    with pytest.raises(BadInput) as caught:
        Key(text)
    if isinstance(text, str) and len(text) > 8:
        assert text.strip() not in str(caught.value)
        assert text.strip() not in "".join(traceback.format_exception(caught.value))


def test_a_key_is_not_shown_by_any_way_of_printing() -> None:
    key = Key(SECRET)
    shown = [repr(key), str(key), f"{key}", f"{key!r}", repr([key]), repr({"key": key})]
    assert not any(SECRET in one or SECRET[8:] in one for one in shown)
    assert key.secret == SECRET
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert not hasattr(key, "__dict__")


def test_the_environment_gives_the_key_or_nothing() -> None:
    assert from_environment({}) is None
    assert from_environment({"STRIPE_SECRET_KEY": ""}) is None
    assert from_environment({"STRIPE_SECRET_KEY": SECRET}) == Key(SECRET)
    with pytest.raises(BadInput):
        from_environment({"STRIPE_SECRET_KEY": "nonsense"})


def test_a_file_of_its_owner_alone_gives_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    assert from_file(path) == Key(SECRET)
    path.chmod(0o400)
    assert from_file(path) == Key(SECRET)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(mode)
    with pytest.raises(BadInput, match="others can read"):
        from_file(path)


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (empty, pipe, tmp_path, tmp_path / "absent", "a\0b"):
        with pytest.raises(BadInput):
            from_file(path)


def test_standard_input_gives_the_key() -> None:
    assert from_stream(io.StringIO(f"{SECRET}\nmore\n")) == Key(SECRET)
    with pytest.raises(BadInput):
        from_stream(io.StringIO(""))


@given(
    st.from_regex(r"(sk|rk)_(test|live)_[A-Za-z0-9]{5,40}|whsec_[A-Za-z0-9]{5,40}", fullmatch=True), st.text(max_size=9)
)
def test_masking_leaves_nothing_of_a_secret(secret: str, around: str) -> None:
    assert secret not in masked(f"{around} {secret} {around}")
    assert secret not in masked(f"Invalid API Key provided: {secret}.")


def test_the_placeholder_is_a_fixtures_key() -> None:
    assert placeholder().mode == "fixtures"
