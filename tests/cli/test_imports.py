"""``nbilling usage import``: the formats, what it prints and says, exit codes, options that have no use."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

LOG = "".join(
    f'10.0.0.1 - {user} [09/Jan/2026:10:00:0{second} +0000] "GET /a HTTP/1.1" 200 10 "-" "-"\n'
    for second, user in enumerate(["acme", "globex", "acme"])
)
HASURA = "".join(
    json.dumps(line) + "\n"
    for line in (
        {"type": "startup", "timestamp": "2026-01-09T10:00:00.000+0000", "level": "info", "detail": {}},
        {
            "type": "http-log",
            "timestamp": "2026-01-09T10:00:01.500+0000",
            "level": "info",
            "detail": {
                "operation": {
                    "user_vars": {"x-hasura-role": "user", "x-hasura-user-id": "acme"},
                    "query_execution_time": 2.5e-05,
                    "response_size": 36,
                    "request_id": "r-1",
                },
                "http_info": {"status": 200, "url": "/v1/graphql", "ip": "10.0.0.1", "method": "POST"},
            },
        },
    )
)
SAMPLES = "".join(
    json.dumps(
        {
            "address": "10.0.0.1",
            "timestamp": 1767952800000 + second * 1000,
            "server_zones": {
                zone: {"requests": total, "sent": total * 9, "received": total} for zone in ("api", "www")
            },
        }
    )
    + "\n"
    for second, total in ((0, 100), (5, 130))
)
EVENTS = "".join(json.dumps({"meter": "api_requests", "amount": n, "id": f"e{n}"}) + "\n" for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    contents = {"access.log": LOG, "hasura.log": HASURA, "status.ndjson": SAMPLES, "events.ndjson": EVENTS}
    contents["zones.toml"] = 'api = "acme"\ngone = "globex"\n'
    contents["events.csv"] = "customer,service,quantity,id\nacme,api,7,c1\n"
    for name, text in contents.items():
        (tmp_path / name).write_text(text)


def imported(shell: Any, words: str) -> tuple[dict[str, Any], str]:
    answer = shell("usage", "import", *words.split())
    assert answer.code == 0, answer
    return json.loads(answer.out), answer.err


def test_a_log_says_what_came_of_its_lines(shell: Any) -> None:
    expected = {
        "lines": 3, "requests": 3, "bytes": 30, "added": 3, "duplicates": 0, "bad": 0, "unattributed": 0,
        "conflicts": 0, "skipped": 0,
    }  # fmt: skip
    assert imported(shell, "access.log --customer-from user") == (expected, "")
    assert imported(shell, "access.log --customer-from user") == (expected | {"added": 0, "duplicates": 3}, "")
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 2


def test_hasuras_log_counts_its_http_log(shell: Any) -> None:
    report, said = imported(shell, "hasura.log --format hasura --customer-from user")
    assert (report["lines"], report["added"], report["skipped"], report["bytes"], said) == (2, 1, 1, 36, "")
    [event] = shell.data("usage", "events", "acme", "--meter", "api_requests")
    assert event["metadata"] == {
        "endpoint": "/v1/graphql", "method": "POST", "status": 200, "duration": Decimal("0.000025"),
    }  # fmt: skip
    assert event["created_at"] == "2026-01-09T10:00:01.500000Z"
    report, _ = imported(shell, "hasura.log --format hasura --customer-field user_vars.x-hasura-role --source b")
    assert report["added"] == 1
    assert "what the client sends" in shell.fails(
        2, "usage", "import", "hasura.log", "--format", "hasura", "--customer-field", "request_id"
    )


def test_samples_of_nginx_feed_counter_meters(shell: Any) -> None:
    words = "usage import status.ndjson --format nginx-plus --zone-map zones.toml"
    assert "--create-meters makes it" in shell.fails(2, *words.split())
    report, said = imported(shell, f"{words.removeprefix('usage import ')} --create-meters")
    assert report == {"samples": 2, "totals": 6, "added": 6, "duplicates": 0, "conflicts": 0, "bad": 0}
    assert said == "zone 'www' is in no map: nobody is billed for it\nzone 'gone' is in no sample\n"
    current = shell.data("usage", "get-current", "acme")
    assert (current["zone_requests"], current["zone_sent_bytes"], current["zone_received_bytes"]) == (30, 270, 30)
    other = words.replace("--zone-map zones.toml", "--customer globex --zone api --meter requests=zone_requests")
    answer = shell(*other.split())
    assert answer.code == 4
    assert "2 totals were imported before" in answer.err
    assert json.loads(answer.out)["conflicts"] == 2
    answer = shell(*words.replace("--zone-map zones.toml", "--customer acme --zone nowhere").split())
    assert answer.code == 2
    assert "none of 2 samples could be counted" in answer.err


def test_events_come_as_ndjson_and_csv(shell: Any) -> None:
    report = {"events": 3, "added": 3, "duplicates": 0, "bad": 0}
    assert imported(shell, "events.ndjson --format ndjson --customer acme") == (report, "")
    assert imported(shell, "events.ndjson --format ndjson --customer acme")[0]["duplicates"] == 3
    assert imported(shell, "events.csv --format csv")[0]["added"] == 1
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 13


def test_bad_lines_are_named_and_kept(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("".join(f"garbage {n}\n" for n in range(14)) + LOG)
    report, said = imported(shell, "access.log --customer acme --errors bad.log")
    assert (report["added"], report["bad"]) == (3, 14)
    assert said.splitlines()[0] == "line 1: the line is not in this format: it is not combined"
    assert said.splitlines()[10:] == ["and 4 more lines were not taken; --errors FILE keeps them"]
    assert (tmp_path / "bad.log").read_text().splitlines()[13] == "garbage 13"
    (tmp_path / "events.ndjson").write_text(EVENTS + '{"meter": "x"}\n')
    _, said = imported(shell, "events.ndjson --format ndjson --customer acme")
    assert said.startswith("event 4: there is no meter 'x'")


@pytest.mark.parametrize(
    "words,message",
    [
        ("access.log --customer acme --format json", "none of 3 lines could be taken"),
        ("access.log --customer acme --format ndjson", "none of 3 events could be taken"),
        ("access.log --customer acme --format nginx-plus --create-meters", "none of 3 samples could be counted"),
    ],
)
def test_a_file_of_which_nothing_could_be_taken_is_bad_input(shell: Any, words: str, message: str) -> None:
    answer = shell("usage", "import", *words.split())
    assert answer.code == 2
    assert message in answer.err.splitlines()[-1]


@pytest.mark.parametrize("format", ["combined", "ndjson", "nginx-plus"])
def test_strict_imports_nothing_where_one_line_is_bad(shell: Any, tmp_path: Path, format: str) -> None:
    file = {"combined": "access.log", "ndjson": "events.ndjson", "nginx-plus": "status.ndjson"}[format]
    with open(tmp_path / file, "a") as out:
        out.write("garbage\n")
    words = f"usage import {file} --customer acme --strict --format {format}"
    answer = shell(*words.split(), *(["--create-meters"] if format == "nginx-plus" else []))
    assert (answer.code, answer.out) == (2, "")
    assert shell.data("usage", "events", "acme") == []


@pytest.mark.parametrize(
    "words,message",
    [
        ("access.log", "nothing says who is billed"),
        ("access.log --customer a --zone z", "--zone is not for --format combined"),
        ("access.log --customer a --meter requests=m", "--meter is not for --format combined"),
        ("events.ndjson --format ndjson --docker", "--docker is not for --format ndjson"),
        ("events.ndjson --format ndjson --source s", "--source is not for --format ndjson"),
        ("events.csv --format csv --map a=b", "--map is not for --format csv"),
        ("status.ndjson --format nginx-plus --key-map k.toml", "--key-map is not for --format nginx-plus"),
        ("status.ndjson --format nginx-plus", "nothing says who is billed"),
        ("status.ndjson --format nginx-plus --customer a --meter requests", "--meter 'requests' is not a pair"),
        ("status.ndjson --format nginx-plus --customer a --meter a=b --meter a=c", "--meter names 'a' twice"),
        ("access.log --format json --customer a --map time", "--map 'time' is not a pair"),
        ("access.log --customer a --follow --strict", "what is followed is never whole"),
        ("events.ndjson --format ndjson --follow", "--follow of a file is for access logs"),
        ("nowhere/access.log --customer a --follow", "the directory of"),
        ("access.log --follow", "nothing says who is billed"),
        ("access.log --customer a --poll 0", "--poll"),
        ("access.log --customer a --poll 5", "--poll is for --follow"),
        ("nowhere.log --customer a", "cannot be read"),
        ("access.log --customer a --errors no/bad.log", "cannot be written"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_and_leave_no_trace(shell: Any, words: str, message: str) -> None:
    with shell.unchanged():
        answer = shell("usage", "import", *words.split())
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
