"""Settings: where each comes from, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from nbilling.model.config import SETTINGS, Config
from nbilling.model.errors import BadInput


def test_without_anything_the_defaults_hold() -> None:
    config = Config()
    assert config.currency == "USD"
    assert config.tax_rate is None
    assert config.invoice_due_days == 7
    assert config.quota_warning_threshold == 80
    assert set(config.origins.values()) == {"default"}


def test_environment_comes_before_file_and_file_before_default() -> None:
    config = Config({"BILLING_CURRENCY": "JPY"}, {"currency": "EUR", "invoice_due_days": 30}, "nbilling.toml")
    assert (config.currency, config.invoice_due_days, config.page_size) == ("JPY", 30, "A4")
    assert config.origins["currency"] == "environment BILLING_CURRENCY"
    assert config.origins["invoice_due_days"] == "nbilling.toml"
    assert config.origins["page_size"] == "default"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_a_variable_that_an_env_file_leaves_empty_says_nothing(setting: object) -> None:
    config = Config({setting.environment: ""})  # type: ignore[attr-defined]
    assert config.origins[setting.field] == "default"  # type: ignore[attr-defined]


def test_no_two_settings_share_a_name() -> None:
    assert len({setting.field for setting in SETTINGS}) == len({setting.environment for setting in SETTINGS})
    assert len({setting.field for setting in SETTINGS}) == len(SETTINGS)


def test_a_tax_rate_is_an_exact_percentage() -> None:
    assert Config({"BILLING_TAX_RATE": "7.7"}).tax_rate == Decimal("7.7")
    assert Config(file={"tax_rate": Decimal("8.25")}).tax_rate == Decimal("8.25")
    assert Config(file={"tax_rate": 19}).tax_rate == Decimal(19)


def test_several_lines_are_separated_by_breaks_or_as_env_files_write_them() -> None:
    assert Config({"BILLING_COMPANY_ADDRESS": r"1 High St\nLondon"}).company_address == "1 High St\nLondon"
    assert Config({"BILLING_COMPANY_ADDRESS": "1 High St\n London "}).company_address == "1 High St\nLondon"
    assert Config({"INVOICE_NOTES": r"# Thanks\n\n\tfor all"}).invoice_notes == "# Thanks\n\n\\tfor all"


@pytest.mark.parametrize(
    "name,value",
    [
        ("BILLING_CURRENCY", "XXX"),
        ("BILLING_CURRENCY", "dollars"),
        ("BILLING_TAX_RATE", "nan"),
        ("BILLING_TAX_RATE", "1e1"),
        ("BILLING_TAX_RATE", "-1"),
        ("BILLING_TAX_RATE", "101"),
        ("BILLING_TAX_RATE", "19%"),
        ("BILLING_TAX_RATE", "0,19"),
        ("BILLING_TAX_RATE", "1.0000001"),
        ("BILLING_COMPANY_NAME", "A\nB"),
        ("BILLING_COMPANY_NAME", "A\0B"),
        ("BILLING_COMPANY_NAME", "A\udcffB"),
        ("BILLING_COMPANY_NAME", "x" * 501),
        ("BILLING_COMPANY_ADDRESS", "A\0B"),
        ("BILLING_COMPANY_COUNTRY", "Germany"),
        ("BILLING_COMPANY_COUNTRY", "de"),
        ("BILLING_COMPANY_EMAIL", "nobody"),
        ("BILLING_COMPANY_EMAIL", "a@b.example, evil@c.example"),
        ("INVOICE_DUE_DAYS", "-1"),
        ("INVOICE_DUE_DAYS", "1.5"),
        ("INVOICE_DUE_DAYS", "3661"),
        ("INVOICE_DUE_DAYS", "1_0"),
        ("INVOICE_NOTES", "x" * 20_001),
        ("INVOICE_NOTES", "A\0B"),
        ("INVOICE_NOTES", "A\udcffB"),
        ("INVOICE_PAYMENT_INSTRUCTIONS", "A\0B"),
        ("INVOICE_PAGE_SIZE", "a4"),
        ("INVOICE_NUMBER_PREFIX", "x" * 21),
        ("QUOTA_WARNING_THRESHOLD", "0"),
        ("QUOTA_WARNING_THRESHOLD", "101"),
        ("QUOTA_WARNING_THRESHOLD", "80%"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_place_it_came_from(name: str, value: str) -> None:
    with pytest.raises(BadInput) as caught:
        Config({name: value})
    assert f"from environment {name}" in caught.value.message
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [True, 1.5, None, [], {}, ["EUR"], {"a": 1}])
def test_a_file_gives_text_and_exact_numbers_only(value: object) -> None:
    with pytest.raises(BadInput):
        Config(file={"invoice_due_days": value})


@pytest.mark.parametrize("name", ["curency", "database", "format", ""])
def test_a_setting_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(BadInput, match=r"unknown setting") as caught:
        Config(file={"currency": "EUR", name: "x"})
    assert repr(name) in caught.value.message


def test_what_was_handed_in_is_left_as_it_was() -> None:
    file = {"currency": "EUR"}
    Config({}, file)
    assert file == {"currency": "EUR"}
