"""A local Emarsys: the account's HTTP APIs on the loopback, for demonstrations, tests and measurements.

What belongs here: what a client of Emarsys can see on the wire (authentication, envelope, limits, fields, contacts,
external events), kept in one SQLite file. What does not: any behaviour that a client cannot observe, and anything of
the product itself. Some modules are wholly our own invention and have no counterpart at Emarsys: `faults` and
`mischief` (switches for everything that goes wrong between two systems), `counters` and `admin` (`/sandbox/`). Where
Emarsys's documents leave a question open, the answer is a setting in `settings`, marked as our choice.
"""
