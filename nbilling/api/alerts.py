"""Alerts in the room ``usage``: the engine's alerts, and what fires is sent at once where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbilling.api.outbox import Deliveries
    from nbilling.engine.alerts import Alerts


MakeAlerts = Callable[[], tuple["Alerts", "Deliveries"]]


class UsageAlerts:
    """The alerts of customers. The engine's part is made when the first of these is called."""

    def __init__(self, make_alerts: MakeAlerts) -> None:
        self._make_alerts = make_alerts
        self._made_alerts: tuple[Alerts, Deliveries] | None = None

    def alert_set(self, customer_id: str, metric: str, threshold: object, type: str) -> None:
        """Fires when usage of the billing period reaches a threshold; see :meth:`Alerts.alert_set`.

        ``metric``: a meter, with the threshold in its unit, or ``storage_gb`` and the like. ``type``: ``email``,
        ``webhook`` or ``log``. The same metric and threshold again: updated.
        """
        self._alerts()[0].alert_set(customer_id, metric, threshold, type)

    def alert_set_percentage(self, customer_id: str, resource: str, percent: object, type: str) -> None:
        """Fires when usage reaches so many whole percent of the fullest quota on a resource."""
        self._alerts()[0].alert_set_percentage(customer_id, resource, percent, type)

    def alert_list(self, customer_id: str) -> list[dict[str, Any]]:
        """Alerts in use: ``[{metric, basis, threshold, unit, type, fired_at}]``, the last in this period or None."""
        return self._alerts()[0].alert_list(customer_id)

    def alert_remove(self, customer_id: str, metric: str, threshold: object, *, percent: bool = False) -> None:
        """Takes an alert out of use, or NotFound."""
        self._alerts()[0].alert_remove(customer_id, metric, threshold, percent=percent)

    def alert_check(self, customer_id: str, *, send: bool = True) -> list[dict[str, Any]]:
        """Fires every alert that is crossed and has not fired in this billing period; returns those that did now.

        Each is in the outbox then, and with ``send`` it is sent at once if it can be: ``delivery`` is its state there,
        ``reason`` why it is not ``done``.
        """
        alerts, outbox = self._alerts()
        fired = alerts.alert_check(customer_id)
        worker = outbox.worker() if send and fired else None
        for one in fired:
            row = worker.send_now(one["operation_id"]) if worker is not None else None
            one["delivery"], one["reason"] = (row.state, row.reason) if row is not None else ("pending", "")
        return fired

    def _alerts(self) -> tuple[Alerts, Deliveries]:
        if self._made_alerts is None:
            self._made_alerts = self._make_alerts()
        return self._made_alerts
