"""Hostile values through all 55 functions: they arrive as data or are refused, and nothing is executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.cli.start import main

HOSTILE = {
    "command": "$(touch executed)",
    "backquotes": "`touch executed`",
    "sql": "'; DROP TABLE customers; --",
    "newlines": "a\nb\n; touch executed",
    "help": "--help",
    "n": "-n",
    "glob": "*",
    "arithmetic": "a[$(touch executed)]",
    "quotes": "\"'\\ \t",
    "empty": "",
    "large": "x" * 100_000,
}

C, S, BILL, Q = "cus_test_1", "sub_test_1", "inv_test_1", "api_requests"

GOOD: dict[str, tuple[str, ...]] = {
    "usage_tracking_init": (),
    "usage_track_api_request": (C, "/x", "POST", "200", "0.1"),
    "usage_track_storage": (C, "5"),
    "usage_track_bandwidth": (C, "5", "egress"),
    "usage_track_compute": (C, "function", "5"),
    "usage_get_current": (C,),
    "usage_aggregate": (C, "day"),
    "usage_export": (C, "csv", "out.csv"),
    "usage_alert_set": (C, Q, "5", "log"),
    "usage_alert_check": (C,),
    "usage_get_history": (C, "3"),
    "usage_reset": (C, "daily"),
    "stripe_init": ("sk_test_PLACEHOLDER",),
    "stripe_customer_create": ("a@example.com", "A"),
    "stripe_customer_get": (C,),
    "stripe_customer_update": (C, "name", "A"),
    "stripe_payment_method_attach": (C, "pm_card_visa"),
    "stripe_payment_methods_list": (C,),
    "stripe_subscription_create": (C, "price_pro_monthly"),
    "stripe_subscription_get": (S,),
    "stripe_subscription_update": (S, "price_pro_monthly"),
    "stripe_subscription_cancel": (S, "at_period_end"),
    "stripe_invoice_create": (C,),
    "stripe_invoice_item_add": (C, "5", "text"),
    "stripe_invoice_finalize": (BILL,),
    "stripe_payment_process": (BILL,),
    "stripe_webhook_handle": ('{"type": "invoice.paid"}', "t=1"),
    "stripe_customer_delete": (C,),
    "quota_init": (),
    "quota_set_limit": (C, Q, "5", "per_day"),
    "quota_check": (C, Q, "1"),
    "quota_enforce": (C, Q, "1"),
    "quota_soft_limit_check": (C, Q),
    "quota_hard_limit_check": (C, Q, "1"),
    "quota_calculate_overage": (C, Q),
    "quota_get_usage_percentage": (C, Q),
    "quota_reset": (C, "daily"),
    "invoice_init": (),
    "invoice_generate": (C, "monthly"),
    "invoice_calculate_charges": (C,),
    "invoice_apply_discount": (BILL, "SAVE20"),
    "invoice_apply_discount_percentage": (BILL, "5"),
    "invoice_calculate_tax": (C, "5"),
    "invoice_generate_pdf": (BILL, "out.pdf"),
    "invoice_email_send": (BILL, C),
    "invoice_get_history": (C, "3"),
    "invoice_mark_paid": (BILL, "cash"),
    "plan_init": (),
    "plan_list": (),
    "plan_get_details": ("pro",),
    "plan_upgrade": (C, "pro"),
    "plan_downgrade": (C, "free", "at_period_end"),
    "plan_create_custom": (C, "mine", "5", '{"api_requests": 5}'),
    "plan_compare": ("free", "pro"),
    "plan_get_current": (C,),
}

RECORDER = r"""#!/bin/sh
# Writes down what reaches it: the words, a key in the environment, a body on standard input.
{
  printf '%s\0' "$@"
  case "$1 $2" in
    "stripe init") printf '%s\0' "$STRIPE_SECRET_KEY" ;;
    "stripe webhook-handle") cat; printf '\0'; printf '%s\0' "$STRIPE_SIGNATURE" ;;
  esac
} > record
"""

CALL_EACH = """
for module in usage-tracking stripe-integration quota-enforcement invoice-generation plan-management; do
  . "$1/$module.sh"
done
call="$2"; shift 2
"$call" "$@"
"""


def test_every_function_is_tried(functions: list[str]) -> None:
    assert len(functions) == 55
    assert set(functions) == GOOD.keys()


@pytest.mark.parametrize("strict", [(), ("-e", "-u", "-o", "pipefail")], ids=["plain", "strict"])
def test_values_reach_the_command_byte_for_byte(
    bash: Any, modules: Path, executable: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strict: tuple[str, ...]
) -> None:
    monkeypatch.setenv("NBILLING_BIN", str(executable("recorder", RECORDER)))
    everything = list(HOSTILE.values())
    for name, good in GOOD.items():
        if not good:
            continue
        for turn in range(0, len(everything), len(good)):
            values = [everything[(turn + place) % len(everything)] for place in range(len(good))]
            if name == "stripe_webhook_handle" and values[0] == "-":
                continue
            ran = bash("-c", CALL_EACH, "call", str(modules), name, *values, options=strict)
            assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), name
            words = (tmp_path / "record").read_bytes().decode().split("\0")[:-1]
            assert words[-len(values) :] == values, name
            if name not in ("stripe_init", "stripe_webhook_handle"):
                assert words[-len(values) - 1] == "--", "what follows is no option, whatever it looks like"
            assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_commands_take_a_hostile_value_as_data_or_refuse_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the functions call, with the value at each place in turn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_DB", str(tmp_path / "billing.db"))
    assert main(["init", "--fixtures"]) == 0
    for name, good in GOOD.items():
        room, _, command = name.replace("usage_tracking_", "usage_").partition("_")
        for place in range(len(good)):
            values = [*good[:place], HOSTILE[kind], *good[place + 1 :]]
            if name == "stripe_init":
                monkeypatch.setenv("STRIPE_SECRET_KEY", values[0])
                values = []
            code = main([room, command.replace("_", "-"), "--", *values])
            monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
            out, err = capfd.readouterr()
            assert code in (0, 1, 2, 3, 4, 5), (name, values, err[:300])
            assert "Traceback" not in err, name
            assert "Usage:" not in out, f"{name} took a value for an option"
            if name == "stripe_init" and HOSTILE[kind]:
                assert HOSTILE[kind] not in err, "a key is never shown"
    assert not (tmp_path / "executed").exists()
    with nbilling.open(tmp_path / "billing.db", config=nbilling.Config()) as billing:
        assert billing.verify().ok
        for customer in billing.customers.list():
            assert "\n" not in customer["customer_id"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "no half-written file is left"


def test_in_a_strict_shell_a_refusal_ends_the_script_and_an_if_sees_it(bash: Any, modules: Path) -> None:
    script = (
        'set -euo pipefail; . "$1/quota-enforcement.sh"; quota_init; '
        'if quota_hard_limit_check acme api_requests 999999; then echo allowed; else echo "refused $?"; fi; '
        'if quota_check acme api_requests x; then echo allowed; else echo "refused $?"; fi; '
        "quota_hard_limit_check acme api_requests 999999; echo on"
    )
    ran = bash("-c", script, "strict", str(modules))
    assert (ran.stdout.split("\n"), ran.returncode) == (["refused 1", "refused 2", ""], 1)
