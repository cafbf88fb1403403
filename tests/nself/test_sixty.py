"""nself's sixty calls through the bash modules: twice on one ledger, the second time under ``set -euo pipefail``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbilling

SCRIPT = Path(__file__).with_name("sixty.sh")


def test_the_sixty_pass_and_pass_again_on_the_same_ledger_in_a_strict_shell(
    bash: Any, modules: Path, tmp_path: Path
) -> None:
    for number, options in (("41", ()), ("42", ("-e", "-u", "-o", "pipefail"))):
        ran = bash(str(SCRIPT), str(modules), number, options=options)
        assert (ran.stdout, ran.stderr, ran.returncode) == ("60 passed, 0 failed\n", "", 0)
    with nbilling.open(tmp_path / "billing.db", config=nbilling.Config()) as billing:
        assert billing.verify().ok
        assert billing.outbox.list() == []


def test_a_failure_among_the_sixty_is_counted(bash: Any, modules: Path) -> None:
    """The script notices a module that says yes and does nothing."""
    (modules / "quota-enforcement.sh").write_text(
        "\n".join(f"{name}() {{ :; }}" for name in (
            "quota_init", "quota_set_limit", "quota_check", "quota_enforce", "quota_soft_limit_check",
            "quota_hard_limit_check", "quota_calculate_overage", "quota_get_usage_percentage", "quota_reset",
        ))
    )  # fmt: skip
    for module in ("usage-tracking", "stripe-integration", "invoice-generation", "plan-management"):
        text = (modules / f"{module}.sh").read_text()
        (modules / f"{module}.sh").write_text(text.replace('  "$bin" "$@"\n', "  return 9\n"))
    ran = bash(str(SCRIPT), str(modules), "41")
    assert ran.returncode == 1
    passed, failed = (int(word) for word in ran.stdout.split() if word.isdigit())
    assert passed + failed == 61, "the sixty, and the removal of the customer"
    assert passed <= 5, "only calls that promise no more than exit code 0 can pass"
