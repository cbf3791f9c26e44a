"""The one resource: the project, opened for a step and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from prima_emarsys.project import Project
from prima_emarsys.settings import load_settings


class ProjectResource(dg.ConfigurableResource):
    """The site's connections. Everything comes from the environment and the site file: run config holds no secret."""

    @contextmanager
    def open(self) -> Iterator[Project]:
        """The project, for one step. Nothing is opened before it is needed."""
        project = Project(load_settings())
        try:
            yield project
        finally:
            project.close()
