"""Desired against acknowledged: the ledger, its delivery, its guard and its list of exceptions.

What a record should look like is decided in `rules`; how a call travels is decided in `emarsys`.
"""
