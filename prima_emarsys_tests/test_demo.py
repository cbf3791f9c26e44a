"""The demonstration as a newcomer starts it: it ends equal, by itself and with any one fault switched on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = ("row-errors", "lost-replies", "rate-limit", "server-errors", "slow", "garbage")


def demo(folder: Path, *words: str) -> str:
    """What `prima-emarsys demo` prints; it must end with success."""
    command = [str(Path(sys.executable).with_name("prima-emarsys")), "demo", "--customers", "300"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PRIMA_", "EMARSYS_"))}
    ended = subprocess.run(
        [*command, "--folder", str(folder / "demo"), *words],
        cwd=folder,
        env=inherited | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.stdout


def assert_equal_at_the_end(said: str) -> None:
    contacts, sales = said.strip().splitlines()[-2:]
    words = contacts.removeprefix("Emarsys equals the desired state: ").split()
    assert contacts.startswith("Emarsys equals the desired state: "), said
    assert words[0] == words[2]
    assert contacts.endswith("contacts are as desired.")
    assert re.fullmatch(r"Difference [\d,.-]+ GBP, and every penny of it has its cause\.", sales), said


def test_the_demonstration_shows_each_flow_and_ends_equal(tmp_path: Path) -> None:
    said = demo(tmp_path)
    assert_equal_at_the_end(said)
    for count in ("read", "excluded", "quarantined", "planned", "sent", "accepted", "refused", "unchanged"):
        assert any(line.split()[:1] == [count] for line in said.splitlines()), count
    assert "Second sync" in said
    assert "Catalogue, as Emarsys pulled it" in said
    back = said.split("Back in stock")[1]
    assert back.count(" 12 ") >= 3  # the units of what came in for those who wait
    assert back.count("P1-") >= 3
    assert "Sales on two clocks" in said
    for cause in ("excluded", "not yet due", "quarantined"):
        assert any(line.strip().startswith(cause) for line in said.split("Why they differ")[1].splitlines()), cause


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_demonstration_ends_equal_with_a_fault_switched_on(tmp_path: Path, fault: str) -> None:
    said = demo(tmp_path, "--fault", fault)
    assert f"Fault switched on in Emarsys: {fault}" in said
    assert_equal_at_the_end(said)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demonstration_ends_equal_after_a_process_was_killed_in_the_middle_of_sending(tmp_path: Path) -> None:
    said = demo(tmp_path, "--fault", "kill")
    assert "was killed in the middle of sending (exit -9)" in said
    assert_equal_at_the_end(said)
