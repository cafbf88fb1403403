"""Every language says everything."""

from __future__ import annotations

import string
from typing import Any

import attrs
import pytest

from nbilling.documents.labels import ENGLISH, LANGUAGES, Labels, language_of
from nbilling.model.documents import ENTRY_KINDS, REFERENCE_KINDS, TAX_REASONS


def fields_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", ["en", "de", "fr", "es"])
@pytest.mark.parametrize("label", [field.name for field in attrs.fields(Labels)])
def test_each_language_has_each_label_with_the_same_fields(code: str, label: str) -> None:
    text = getattr(LANGUAGES[code], label)
    assert text.strip() == text != ""
    assert fields_in(text) == fields_in(getattr(ENGLISH, label))


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_no_language_is_a_copy_of_english(code: str) -> None:
    same: list[Any] = [name for name, text in attrs.asdict(LANGUAGES[code]).items() if text == getattr(ENGLISH, name)]
    assert len(same) <= 6, same  # Total, Date, Notes and the like are the same word


def test_there_is_a_word_for_every_kind_that_a_record_may_have() -> None:
    names = {field.name for field in attrs.fields(Labels)}
    assert {f"entry_{kind}" for kind in ENTRY_KINDS} <= names
    assert set(REFERENCE_KINDS) <= names
    assert set(TAX_REASONS) - {""} <= names


@pytest.mark.parametrize(
    ("locale", "code"), [("de_AT", "de"), ("fr-CH", "fr"), ("ES", "es"), ("en_US", "en"), ("nl", "en"), ("den", "en")]
)
def test_a_locale_gets_the_labels_of_its_language_or_english(locale: str, code: str) -> None:
    assert language_of(locale) == code
