"""What each derived asset does, without Dagster: read what changed, apply the rules, write what follows, count.

Each step can run whole or on what changed since its last run; both leave the same bytes. A step reads its inputs above
its own cursor, and moves the cursor in the transaction that writes its output: a crash in between repeats the work.
"""
