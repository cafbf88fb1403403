"""A worker process: sends what is due to a receiver on this machine, and may die after a send. Run by the tests.

Arguments: ledger, address of the receiver, time, and how many messages it lives for (0: until nothing is due).
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from typing import Any

import nbilling
from nbilling.engine.outbox_worker import Worker
from nbilling.model.clock import DAY, FixedClock, parse_time
from nbilling.model.config import Config
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Retry, Unknown


class HttpPost:
    """Posts to the receiver as a gateway would: a status and a body, or something that broke."""

    key_lifetime = DAY

    def __init__(self, address: str, lives_for: int = 0) -> None:
        self._address = address
        self._lives_for = lives_for

    def send(self, message: Message) -> Outcome:
        body = json.dumps({"customer": message.customer_id, "n": message.payload["n"]})
        outcome = self._ask("POST", message, body)
        self._lives_for -= 1
        if self._lives_for == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    def reconcile(self, message: Message) -> Outcome:
        return self._ask("GET", message)

    def _ask(self, method: str, message: Message, body: str | None = None) -> Outcome:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, f"/{message.operation_id}", body, {"Idempotency-Key": message.idempotency_key})
            answer = connection.getresponse()
            return self._read(answer.status, answer.read(), answer.getheader("Retry-After"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Unknown(type(error).__name__)
        finally:
            connection.close()

    @staticmethod
    def _read(status: int, body: bytes, retry_after: str | None) -> Outcome:
        if status == 429:
            return Retry("429", retry_after)
        if status == 404:
            return NotDone("the receiver does not know it")
        if status != 200:
            return Unknown(str(status))
        found: Any = json.loads(body)
        return Delivered({"id": found["id"]}) if isinstance(found, dict) else Unknown("no object")


def main(ledger: str, address: str, time: str, lives_for: str) -> None:
    """Works once through what is due."""
    handler = HttpPost(address, int(lives_for))
    with nbilling.open(ledger, config=Config({}), clock=FixedClock(parse_time(time))) as billing:
        Worker(billing._core, {"stripe.make": handler, "mail": handler}).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
