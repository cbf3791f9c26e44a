"""One made-up world: a British footwear retailer's Prima, as SQL tables that the readers can read.

Everything in it is invented: names, tables, words. It is no copy of any real Prima.
"""

from prima_emarsys.sandbox.world.build import WorldSummary, build

__all__ = ["WorldSummary", "build"]
