"""Settings of mail, webhooks and alerts: their words, and that no secret is repeated."""

from __future__ import annotations

import pytest

from nbilling.model.config import SETTINGS, Config
from nbilling.model.errors import BadInput

SECRET = [setting for setting in SETTINGS if setting.secret]


def test_the_secrets_are_known_as_such() -> None:
    assert {"smtp_password", "webhook_url", "webhook_secret"} <= {setting.field for setting in SECRET}


@pytest.mark.parametrize("setting", SECRET, ids=lambda setting: setting.field)
@pytest.mark.parametrize("value", ["s3cret\0", " s3cret", "s3cret" * 1000, "s3cret\n"])
def test_a_secret_that_is_refused_is_not_repeated(setting: object, value: str) -> None:
    with pytest.raises(BadInput) as caught:
        Config({setting.environment: value})  # type: ignore[attr-defined]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value,yes", [("yes", True), ("ON", True), ("1", True), ("no", False), ("False", False)])
def test_a_switch_is_yes_or_no(value: str, yes: bool) -> None:
    assert Config({"NBILLING_ALERTS_WHILE_TRACKING": value}).alerts_while_tracking is yes
    assert Config(file={"alerts_while_tracking": yes}).alerts_while_tracking is yes


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(BadInput, match="NBILLING_ALERTS_WHILE_TRACKING"):
        Config({"NBILLING_ALERTS_WHILE_TRACKING": "maybe"})


@pytest.mark.parametrize("url", ["https://example.com/hook", "http://127.0.0.1:8080", "https://[::1]/x?token=1"])
def test_a_webhook_goes_to_http_or_https(url: str) -> None:
    assert Config({"NBILLING_WEBHOOK_URL": url}).webhook_url == url


@pytest.mark.parametrize("port", ["0", "65536", "smtp", "-1"])
def test_a_port_is_a_port(port: str) -> None:
    with pytest.raises(BadInput):
        Config({"AUTH_SMTP_PORT": port})


def test_a_sender_that_is_no_address_stops_nothing_but_mail() -> None:
    """Settings of nself stand in the same file: a wrong one must not keep a quota from being checked."""
    assert Config({"AUTH_SMTP_SENDER": "nself"}).smtp_sender == "nself"
