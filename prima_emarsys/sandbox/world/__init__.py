"""One made-up world: a British footwear retailer's Prima, as SQL tables that the readers can read.

Everything in it is invented: names, tables, words. It is no copy of any real Prima.
"""

from prima_emarsys.sandbox.world.build import WorldSummary, build
from prima_emarsys.sandbox.world.tick import KINDS, Fact, tick

__all__ = ["KINDS", "Fact", "WorldSummary", "build", "tick"]
