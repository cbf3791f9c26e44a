"""The handbook has a page for every owner, a section for every kind, and names only commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from prima_emarsys.cli import main
from prima_emarsys.finding import KINDS, Owner
from prima_emarsys.handbook import pages

HANDBOOK = Path(__file__).parents[1] / "docs" / "handbook"


def test_the_committed_pages_are_what_the_catalogue_makes() -> None:
    told = "run `python -m prima_emarsys.handbook docs/handbook` and commit the pages"
    assert {file.name: file.read_text() for file in HANDBOOK.glob("*.md")} == pages(), told


def test_every_owner_has_a_page_and_every_kind_a_section_on_its_owners() -> None:
    assert set(pages()) == {f"{owner}.md" for owner in Owner}
    for kind in KINDS.values():
        page = pages()[f"{kind.owner}.md"]
        assert page.count(f"\n### {kind.name}\n") == 1
        assert kind.meaning in page
        assert kind.what_to_do in page


@pytest.mark.parametrize("owner", list(Owner))
def test_a_page_names_only_commands_that_exist(owner: Owner) -> None:
    named = re.findall(r"`prima-emarsys ([a-z -]+)", pages()[f"{owner}.md"])
    assert named
    for words in named:
        command: click.Command = main
        for word in words.split():
            if not isinstance(command, click.Group) or word.startswith("-"):
                break
            assert word in command.commands, words
            command = command.commands[word]
