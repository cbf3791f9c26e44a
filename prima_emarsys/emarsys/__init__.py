"""The wire to SAP Emarsys: signing, sending, reading replies, and the calls we use.

What to send, and when, is decided elsewhere (`rules`, `sync`). Nothing here keeps state beyond the process.
"""
