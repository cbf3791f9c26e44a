"""The same contacts carried to the same local Emarsys by tools that others wrote, where they are installed.

Each runs in an interpreter of its own: put `dlt` and `drt-core[duckdb]` into a virtual environment and name its Python
in BENCH_RIVALS_PYTHON. They are configured as their documents show, with every column of the desired contacts and a
thousand contacts a call; each sends once and keeps nothing, while ours plans, leases and acknowledges row by row.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import requests
import yaml

from benchmarks.sizes import EMARSYS, World, emarsys, project, scratch

MOST = 100_000
_TOKEN = "BENCH_TOKEN"  # noqa: S105 (the name of a variable)


def measure(world: World) -> dict[str, str]:
    """What each rival needed, in words; `not installed` where it is not."""
    python = os.environ.get("BENCH_RIVALS_PYTHON", "")
    found = {}
    for name, (module, send) in {"dlt": ("dlt", _dlt), "drt": ("drt", _drt)}.items():
        installed = python and not subprocess.run([python, "-c", f"import {module}"], check=False).returncode  # noqa: S603
        found[name] = _one(world, Path(python), send) if installed else "not installed"
    return found


def _one(world: World, python: Path, send: Callable[[Path, Path, str, Mapping[str, str]], list[str]]) -> str:
    with scratch(world, "warehouse.duckdb") as home, emarsys(home / "emarsys") as url:
        opened = project(world, home, url)
        ids = {"person_key": str(opened.route.key_field)}
        ids |= {name: str(number) for name, number in opened.route.fields.items()}
        opened.close()
        with duckdb.connect(str(home / "warehouse.duckdb")) as engine:
            columns = ", ".join(f'"{name}"' for name in ids)
            engine.sql(f"CREATE TABLE bench AS SELECT {columns} FROM emarsys.contacts LIMIT {MOST}")  # noqa: S608
            contacts = len(engine.table("bench"))
        command = send(python, home, url, ids)
        before, started = _cpu_of_children(), time.perf_counter()
        ended = subprocess.run(  # noqa: S603 (the rival that the user named)
            command, cwd=home, env=_signed_in(url) | {"HOME": str(home)}, capture_output=True, text=True, check=False
        )
        cpu, wall = _cpu_of_children() - before, time.perf_counter() - started
        arrived = requests.get(f"{url}/sandbox/counters", timeout=60).json()["contacts_accepted"]
    if ended.returncode or arrived != contacts:
        last = (ended.stderr or ended.stdout).strip().splitlines()[-1:] or ["no word"]
        return f"failed: {arrived:,} of {contacts:,} contacts arrived ({last[0][:120]})"
    return f"{contacts:,} contacts: {contacts / wall:,.0f}/s by the wall, {contacts / cpu:,.0f} by its CPU"


def _signed_in(url: str) -> dict[str, str]:
    """The environment of a rival: its token, and nothing of ours."""
    reply = requests.post(
        f"{url}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(EMARSYS.client_id, EMARSYS.client_secret),
        timeout=60,
    )
    return {"PATH": os.environ["PATH"], "RUNTIME__DLTHUB_TELEMETRY": "false", _TOKEN: reply.json()["access_token"]}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _dlt(python: Path, home: Path, url: str, ids: Mapping[str, str]) -> list[str]:
    script = Path(__file__).with_name("rival_dlt.py")
    return [str(python), str(script), str(home / "warehouse.duckdb"), url, json.dumps(ids), str(home / "dlt")]


def _drt(python: Path, home: Path, url: str, ids: Mapping[str, str]) -> list[str]:
    columns = ", ".join(f'"{name}" AS "{number}"' for name, number in ids.items())
    key = ids["person_key"]
    files = {
        ".drt/profiles.yml": {"bench": {"type": "duckdb", "database": str(home / "warehouse.duckdb")}},
        "drt_project.yml": {"name": "bench", "version": "0.1", "profile": "bench"},
        "syncs/contacts.yml": {
            "name": "contacts",
            "model": f"SELECT {columns} FROM bench",  # noqa: S608 (our own names)
            "destination": {
                "type": "rest_api",
                "url": f"{url}/api/v3/contact/?create_if_not_exists=1",
                "method": "PUT",
                "headers": {"Content-Type": "application/json"},
                "body_mode": "batch",
                "batch_template": '{"key_id": "' + key + '", "contacts": {{ rows | tojson }}}',
                "max_records_per_request": 1_000,
                "auth": {"type": "bearer", "token_env": _TOKEN},
            },
            "sync": {"mode": "full", "batch_size": 1_000, "rate_limit": {"requests_per_second": 1_000}},
        },
    }
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return [str(python.with_name("drt")), "run"]
