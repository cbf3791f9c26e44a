"""The sandbox: a local Prima and a local Emarsys with fault switches, for demonstrations and tests.

Nothing in the product imports it but the command line; it imports nothing of the product but the contract.
"""
