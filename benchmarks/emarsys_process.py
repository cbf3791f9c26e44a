"""The local Emarsys as a process of its own: prints its address, serves until its input is closed."""

from __future__ import annotations

import sys
from pathlib import Path

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.emarsys.settings import Settings

with LocalEmarsys(Path(sys.argv[1]), Settings(rate_limit=1_000_000_000)) as emarsys:
    print(emarsys.url, flush=True)
    sys.stdin.read()
