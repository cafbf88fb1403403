"""The texts of invoice lines in the customer's language: English, German, French, Spanish."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from nbilling.model.money import round_half_away

GIB = 2**30


class LineTexts(NamedTuple):
    """One language. ``{…}`` is filled in; ``meters`` and ``units`` fall back to the names themselves."""

    thousands: str
    point: str
    fee: str
    seats: tuple[str, str]
    days: str
    used: str
    average: str
    included: str
    unlimited: str
    late: str
    past: str
    unused: str
    changed: str
    corrected: str
    discount: str
    meters: dict[str, str]
    units: dict[str, str]


LANGUAGES = {
    "en": LineTexts(
        ",", ".", "{plan} plan",
        ("{seats} seat", "{seats} seats"), "{part} of {whole} days", "{quantity} used", "{quantity} on average",
        "{quantity} included", "unlimited", "{name}, {first} to {last}, recorded later",
        "{name}, {first} to {last}", "{fee}, not used", "{fee}, changed", "corrected to nothing",
        "Discount {label}",
        {"api_requests": "API requests"},
        {},
    ),
    "de": LineTexts(
        ".", ",", "Tarif {plan}",
        ("{seats} Platz", "{seats} Plätze"), "{part} von {whole} Tagen", "{quantity} genutzt", "{quantity} im Mittel",
        "{quantity} enthalten", "unbegrenzt", "{name}, {first} bis {last}, nachgemeldet",
        "{name}, {first} bis {last}", "{fee}, nicht genutzt", "{fee}, geändert", "auf null berichtigt",
        "Rabatt {label}",
        {"api_requests": "API-Aufrufe", "storage": "Speicher", "bandwidth": "Datenverkehr", "compute": "Rechenzeit",
         "functions": "Funktionsaufrufe", "database": "Datenbankabfragen"},
        {"request": "Aufruf", "requests": "Aufrufe", "hour": "Stunde", "hours": "Stunden", "day": "Tag",
         "week": "Woche", "month": "Monat", "quarter": "Quartal", "half-year": "Halbjahr", "year": "Jahr",
         "seconds": "Sekunden", "GB-month": "GB-Monat", "bytes": "Byte", "invocations": "Aufrufe",
         "queries": "Abfragen"},
    ),
    "fr": LineTexts(
        "\u202f", ",", "Forfait {plan}",
        ("{seats} place", "{seats} places"), "{part} jours sur {whole}", "{quantity} utilisés", "{quantity} en moyenne",
        "{quantity} inclus", "illimité", "{name}, du {first} au {last}, enregistré plus tard",
        "{name}, du {first} au {last}", "{fee}, non utilisé", "{fee}, modifié", "corrigé à zéro",
        "Remise {label}",
        {"api_requests": "Requêtes API", "storage": "Stockage", "bandwidth": "Bande passante", "compute": "Calcul",
         "functions": "Appels de fonctions", "database": "Requêtes de base de données"},
        {"request": "requête", "requests": "requêtes", "hour": "heure", "hours": "heures", "day": "jour",
         "week": "semaine", "month": "mois", "quarter": "trimestre", "half-year": "semestre", "year": "an",
         "seconds": "secondes", "GB": "Go", "GB-month": "Go-mois", "bytes": "octets", "invocations": "appels",
         "queries": "requêtes"},
    ),
    "es": LineTexts(
        ".", ",", "Plan {plan}",
        ("{seats} puesto", "{seats} puestos"), "{part} de {whole} días", "{quantity} usados", "{quantity} de media",
        "{quantity} incluidos", "ilimitado", "{name}, del {first} al {last}, registrado más tarde",
        "{name}, del {first} al {last}", "{fee}, no utilizado", "{fee}, modificado", "corregido a cero",
        "Descuento {label}",
        {"api_requests": "Solicitudes API", "storage": "Almacenamiento", "bandwidth": "Ancho de banda",
         "compute": "Cómputo", "functions": "Llamadas a funciones", "database": "Consultas"},
        {"request": "solicitud", "requests": "solicitudes", "hour": "hora", "hours": "horas", "day": "día",
         "week": "semana", "month": "mes", "quarter": "trimestre", "half-year": "semestre", "year": "año",
         "seconds": "segundos", "GB-month": "GB-mes", "invocations": "llamadas", "queries": "consultas"},
    ),
}  # fmt: skip


def texts_for(locale: str) -> LineTexts:
    """The language of a locale such as ``de_AT``; English where there is no such one."""
    return LANGUAGES.get(locale.partition("_")[0].lower(), LANGUAGES["en"])


def meter_label(name: str, texts: LineTexts) -> str:
    """How a meter is called on an invoice."""
    return texts.meters.get(name) or name.replace("_", " ").capitalize()


def unit_label(unit: str, texts: LineTexts) -> str:
    """How a unit is called."""
    return texts.units.get(unit, unit)


def quantity_text(amount: Fraction, unit: str, scale: int, texts: LineTexts) -> str:
    """An amount in base units for people: bytes as GB of 2^30 bytes, seconds as hours, at most 3 decimals."""
    value, name, places = amount / 10**scale, unit, 3
    if unit == "bytes":
        value, name, places = (value / GIB, "GB", 3) if abs(value) >= 10**6 else (value, unit, 0)
    elif unit == "seconds" and abs(value) >= 36:
        value, name = value / 3600, "hours"
    text = decimal_text(value, places, texts)
    return f"{text} {unit_label(name.removesuffix('s') if text == '1' else name, texts)}"


def decimal_text(value: Fraction, places: int, texts: LineTexts = LANGUAGES["en"]) -> str:
    """Rounded to so many decimals, half away from zero, thousands separated, without trailing zeros."""
    scaled = round_half_away(value * 10**places)
    whole, rest = divmod(abs(scaled), 10**places)
    digits = f"{rest:0{places}d}".rstrip("0") if places else ""
    text = f"{whole:,}".replace(",", texts.thousands) + (texts.point + digits if digits else "")
    return f"-{text}" if scaled < 0 else text


def fee_detail(start_day: int, end_day: int, share: Fraction, seats: int, texts: LineTexts) -> str:
    """For how many seats, and which part of the period; empty for a whole one without seats."""
    words = [texts.seats[seats != 1].format(seats=seats)] if seats else []
    if share != 1:
        words.append(texts.days.format(part=end_day - start_day, whole=(end_day - start_day) / share))
    return ", ".join(words)


def usage_detail(
    used: Fraction, included: Fraction | None, unit: str, scale: int, *, gauge: bool, allowance: str, texts: LineTexts
) -> str:
    """What was used, or on average where ``gauge``, and what of it is included.

    ``included`` None with allowance ``limit``: unlimited.
    """
    words = (texts.average if gauge else texts.used).format(quantity=quantity_text(used, unit, scale, texts))
    if allowance == "none":
        return words
    if included is None:
        return f"{words}, {texts.unlimited}"
    return f"{words}, {texts.included.format(quantity=quantity_text(included, unit, scale, texts))}"
