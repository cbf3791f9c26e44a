"""Dagster, and only here: thin assets, checks, sensors and schedules around the project's flows."""
