"""The seed's tables as views to read from any SQLite client, and the triggers that refuse what must not be written."""

from __future__ import annotations

_TIME = (
    "strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000, 'unixepoch') || "
    "CASE WHEN {0} % 1000000 = 0 THEN 'Z' ELSE printf('.%06dZ', {0} % 1000000) END"
)


def _time(column: str) -> str:
    return _TIME.format(column)


def _decimal(amount: str, scale: str) -> str:
    """A decimal text of an integer with ``scale`` decimals (0 to 9), exact, without trailing zeros."""
    power = f"CASE {scale} " + " ".join(f"WHEN {n} THEN {10**n}" for n in range(10)) + " END"
    whole = f"CASE WHEN {amount} < 0 THEN '-' ELSE '' END || abs({amount} / ({power}))"
    rest = f"printf('%0' || {scale} || 'd', abs({amount} % ({power})))"
    exact = f"rtrim({whole} || '.' || {rest}, '0')"
    return f"CASE WHEN {amount} % ({power}) = 0 THEN CAST({amount} / ({power}) AS TEXT) ELSE {exact} END"


def _money(minor: str, currency: str) -> str:
    """An amount in currency units with the currency's own number of decimals."""
    scale = f"(SELECT exponent FROM currencies WHERE code = {currency})"
    cases = " ".join(
        f"WHEN {n} THEN CASE WHEN {minor} < 0 THEN '-' ELSE '' END || abs({minor} / {10**n}) "
        f"|| printf('.%0{n}d', abs({minor} % {10**n}))"
        for n in (2, 3, 4)
    )
    return f"CASE {scale} WHEN 0 THEN CAST({minor} AS TEXT) {cases} END"


_UUID = (
    "lower(substr(hex(e.key), 1, 8) || '-' || substr(hex(e.key), 9, 4) || '-' || substr(hex(e.key), 13, 4)"
    " || '-' || substr(hex(e.key), 17, 4) || '-' || substr(hex(e.key), 21))"
)

VIEWS = (
    f"""CREATE VIEW usage_events AS
  -- the seed's table: every event with a readable amount and an ISO 8601 time
  SELECT coalesce(e.id, {_UUID}) AS id, c.customer_id, m.name AS resource_type,
    {_decimal("e.amount", "m.scale")} AS amount,
    coalesce(e.metadata, '{{}}') AS metadata, {_time("e.at")} AS created_at,
    d.value AS dimension, e.seq
  FROM events e JOIN customers c ON c.id = e.customer JOIN meters m ON m.id = e.meter
    JOIN dimensions d ON d.id = e.dimension""",
    f"""CREATE VIEW customer_quotas AS
  -- the seed's table: the monthly limits in force, storage as a level; NULL is unlimited
  SELECT c.customer_id,
    (SELECT l.amount FROM effective_limits l JOIN meters m ON m.id = l.meter
      WHERE l.customer = c.id AND m.name = 'api_requests' AND l.period = 'per_month') AS api_requests_limit,
    (SELECT min(l.amount) FROM effective_limits l JOIN meters m ON m.id = l.meter
      WHERE l.customer = c.id AND m.name = 'storage') AS storage_limit,
    (SELECT l.amount FROM effective_limits l JOIN meters m ON m.id = l.meter
      WHERE l.customer = c.id AND m.name = 'bandwidth' AND l.period = 'per_month') AS bandwidth_limit,
    {_time("c.updated_at")} AS updated_at
  FROM customers c""",
    f"""CREATE VIEW invoices AS
  -- the seed's table
  SELECT i.invoice_id AS id, c.customer_id, {_money("i.total_minor", "i.currency")} AS amount, i.status,
    {_time("i.start_at")} AS period_start, {_time("i.end_at")} AS period_end, {_time("i.created_at")} AS created_at,
    i.number, i.currency
  FROM invoice_records i JOIN customers c ON c.id = i.customer""",
    f"""CREATE VIEW plans AS
  -- the seed's table: the newest version of every plan
  SELECT p.plan_id AS id, p.name, {_money("p.price_minor", "p.currency")} AS price,
    (SELECT json_group_object(m.name, CASE m.scale WHEN 0 THEN l.amount ELSE {_decimal("l.amount", "m.scale")} END)
      FROM plan_limits l JOIN meters m ON m.id = l.meter WHERE l.plan = p.id) AS limits,
    p.features, {_time("p.created_at")} AS created_at, p.currency, p.version
  FROM plan_versions p
  WHERE p.version = (SELECT max(n.version) FROM plan_versions n WHERE n.plan_id = p.plan_id)""",
    f"""CREATE VIEW subscriptions AS
  -- the seed's table
  SELECT s.subscription_id AS id, c.customer_id, p.plan_id,
    nullif(s.stripe_subscription_id, '') AS stripe_subscription_id, s.status,
    {_time("s.created_at")} AS created_at, {_time("s.updated_at")} AS updated_at
  FROM subscription_records s JOIN customers c ON c.id = s.customer JOIN plan_versions p ON p.id = s.plan""",
)

_COMMANDS = {
    "usage_events": "nbilling usage track-… or usage import",
    "customer_quotas": "nbilling quota set-limit",
    "invoices": "nbilling invoice …",
    "plans": "nbilling plan …",
    "subscriptions": "nbilling plan upgrade or plan downgrade",
}


def guards() -> list[str]:
    """The views refuse writes: these would go round the lock, the quota and the rollups."""
    return [
        f"CREATE TRIGGER {view}_no_{verb.lower()} INSTEAD OF {verb} ON {view} BEGIN "
        f"SELECT raise(ABORT, '{view} is a view to read from; use {command}'); END"
        for view, command in _COMMANDS.items()
        for verb in ("INSERT", "UPDATE", "DELETE")
    ] + [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
        f"SELECT raise(ABORT, '{table} is append-only; {remedy}'); END"
        for table, remedy in (("events", "record a correction"), ("audit", "nothing is taken back"))
        for verb in ("UPDATE", "DELETE")
    ]
