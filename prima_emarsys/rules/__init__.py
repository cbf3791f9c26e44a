"""The business rules: pure functions from tables to tables, in the words of the trade.

No network, no file, no clock (the "as of" day is a parameter) and no engine's own SQL: every rule is an Ibis
expression and runs on each engine with the same result to the penny.
"""
