"""Settings: values that are handed in, never read at import. Flag before environment before file before default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from nbilling.model.errors import BadInput
from nbilling.model.money import currency as currency_of
from nbilling.model.money import parse_decimal
from nbilling.model.text import choice, country, email, plain, whole


def _text(limit: int = 500) -> Callable[[str, str], Any]:
    return lambda value, name: plain(value, name, limit=limit, empty=True)


def _lines(value: str, name: str) -> str:
    """Several lines, separated by line breaks or by ``\\n`` as env files write them."""
    parts = value.replace("\\n", "\n").splitlines()
    return "\n".join(plain(part.strip(), name, limit=200, empty=True) for part in parts)


def _markdown(value: str, name: str) -> str:
    if len(value) > 20_000 or "\0" in value or not _is_text(value):
        raise BadInput(f"{name} is too long or not text", hint="at most 20,000 characters of Markdown, in UTF-8")
    return value.replace("\\n", "\n")


def _is_text(value: str) -> bool:
    """False for the stand-ins of bytes that are no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _percent(value: str, name: str) -> Decimal | None:
    return None if value == "" else parse_decimal(value, places=6, minimum=0, maximum=100, what=name)


def _url(value: str, name: str) -> str:
    """An http or https URL. Never repeated in an error: it may hold a token."""
    from urllib.parse import urlsplit

    text = plain(value, name, limit=2000, empty=True)
    if not text:
        return text
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        fine = False
    if not fine:
        raise BadInput(f"{name} is not a URL", hint="write it as https://example.com/hook")
    return text


def _yes(value: str, name: str) -> bool:
    """``yes`` or ``no``, in the words that people use."""
    yes, no = ("yes", "true", "1", "on"), ("no", "false", "0", "off")
    return bool(value) and choice(value.lower(), name, yes + no) in yes


class Setting(NamedTuple):
    """One setting: its field, its environment name, its default as text, its check, and what it is for.

    A ``secret`` is never printed, and its check never repeats the value.
    """

    field: str
    environment: str
    default: str
    check: Callable[[str, str], Any]
    help: str
    secret: bool = False


SETTINGS = (
    Setting("currency", "BILLING_CURRENCY", "USD", lambda v, _: currency_of(v).code, "currency of custom plans"),
    Setting("tax_rate", "BILLING_TAX_RATE", "", _percent, "tax in percent where nothing else says so; empty: none set"),
    Setting("tax_label", "BILLING_TAX_LABEL", "Tax", _text(60), "what that tax is called on an invoice"),
    Setting("company_name", "BILLING_COMPANY_NAME", "", _text(), "seller on invoices"),
    Setting("company_address", "BILLING_COMPANY_ADDRESS", "", _lines, "seller's address, lines separated by \\n"),
    Setting("company_country", "BILLING_COMPANY_COUNTRY", "", country, "seller's country, ISO 3166"),
    Setting("company_email", "BILLING_COMPANY_EMAIL", "", lambda v, _: email(v) if v else v, "seller's e-mail"),
    Setting("company_phone", "BILLING_COMPANY_PHONE", "", _text(60), "seller's telephone"),
    Setting("company_vat_number", "BILLING_COMPANY_VAT_NUMBER", "", _text(60), "seller's VAT number"),
    Setting("invoice_number_prefix", "INVOICE_NUMBER_PREFIX", "INV", _text(20), "first part of invoice numbers"),
    Setting("invoice_due_days", "INVOICE_DUE_DAYS", "7", lambda v, n: whole(v, n, maximum=3660), "days to pay"),
    Setting(
        "invoice_grace_days", "INVOICE_GRACE_DAYS", "0",
        lambda v, n: whole(v, n, maximum=90), "days a billing run waits after a period's end for late usage",
    ),
    Setting("invoice_notes", "INVOICE_NOTES", "", _markdown, "Markdown at the foot of every invoice"),
    Setting(
        "invoice_mail_subject", "INVOICE_MAIL_SUBJECT", "Invoice {number} from {company}", _text(200),
        "subject of invoice mails; {number}, {total}, {open}, {due}, {company} are filled in",
    ),
    Setting(
        "invoice_mail_body", "INVOICE_MAIL_BODY",
        "Hello,\n\nattached is invoice **{number}** over {total}, due on {due}.\n\nKind regards\n{company}\n",
        _markdown, "Markdown of invoice mails, with the same words filled in",
    ),
    Setting("payment_instructions", "INVOICE_PAYMENT_INSTRUCTIONS", "", _markdown, "Markdown: how to pay"),
    Setting("page_size", "INVOICE_PAGE_SIZE", "A4", lambda v, n: choice(v, n, ("A4", "Letter")), "A4 or Letter"),
    Setting(
        "quota_warning_threshold", "QUOTA_WARNING_THRESHOLD", "80",
        lambda v, n: whole(v, n, minimum=1, maximum=100), "percent of a quota that is warned of",
    ),
    Setting("smtp_host", "AUTH_SMTP_HOST", "", _text(255), "SMTP server; empty: mail waits in the outbox"),
    Setting(
        "smtp_port", "AUTH_SMTP_PORT", "587", lambda v, n: whole(v or "587", n, minimum=1, maximum=65535),
        "its port; 465 is TLS from the start, any other STARTTLS",
    ),
    Setting("smtp_user", "AUTH_SMTP_USER", "", _text(255), "login; empty: none"),
    Setting("smtp_password", "AUTH_SMTP_PASS", "", _text(1000), "password, sent over TLS only", True),
    Setting("smtp_sender", "AUTH_SMTP_SENDER", "", _text(), "sender of mail: an address, or Name <address>"),
    Setting("mail_directory", "NBILLING_MAIL_DIRECTORY", "", _text(4096),
        "where a fixtures ledger writes its mail as .eml files; empty: beside the ledger"),
    Setting("webhook_url", "NBILLING_WEBHOOK_URL", "", _url, "where alerts are posted to", True),
    Setting("webhook_secret", "NBILLING_WEBHOOK_SECRET", "", _text(1000),
        "signs webhooks; several, separated by spaces, while it is being changed", True),
    Setting("alert_email", "NBILLING_ALERT_EMAIL", "", lambda v, _: email(v) if v else v,
        "where alerts of customers without an address are mailed to"),
    Setting("alert_log", "NBILLING_ALERT_LOG", "", _text(4096), "file for alerts of type log; empty: stderr"),
    Setting("alerts_while_tracking", "NBILLING_ALERTS_WHILE_TRACKING", "no", _yes,
        "yes: every recorded event looks for crossed alerts; no: usage alert-check does"),
)  # fmt: skip


class Config:
    """Checked settings. Each is an attribute; :attr:`origins` says where each came from."""

    currency: str
    tax_rate: Decimal | None
    tax_label: str
    company_name: str
    company_address: str
    company_country: str
    company_email: str
    company_phone: str
    company_vat_number: str
    invoice_number_prefix: str
    invoice_due_days: int
    invoice_grace_days: int
    invoice_notes: str
    invoice_mail_subject: str
    invoice_mail_body: str
    payment_instructions: str
    page_size: str
    quota_warning_threshold: int
    smtp_host: str
    smtp_port: int
    smtp_user: str
    smtp_password: str
    smtp_sender: str
    mail_directory: str
    webhook_url: str
    webhook_secret: str
    alert_email: str
    alert_log: str
    alerts_while_tracking: bool

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        file: Mapping[str, Any] | None = None,
        file_name: str = "nbilling.toml",
    ) -> None:
        """Reads the settings from an environment and from the table of a configuration file, both handed in."""
        self.origins: dict[str, str] = {}
        environment, file = environment or {}, dict(file or {})
        for setting in SETTINGS:
            found: object
            found, origin = setting.default, "default"
            if setting.field in file:
                found, origin = file.pop(setting.field), file_name
            if environment.get(setting.environment):  # an env file that leaves it empty says nothing
                found, origin = environment[setting.environment], f"environment {setting.environment}"
            try:
                setattr(self, setting.field, setting.check(_as_text(setting.field, found), setting.field))
            except BadInput as error:
                raise BadInput(f"{error.message} (from {origin})", hint=error.hint) from None
            self.origins[setting.field] = origin
        if file:
            known = ", ".join(setting.field for setting in SETTINGS)
            raise BadInput(f"{file_name} has an unknown setting {min(file)!r:.60}", hint=f"known are {known}")


def _as_text(field: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    raise BadInput(f"{field} must be text or a number", hint="see nbilling config show")
