"""Does Emarsys hold what Prima holds? Reads both sides; sends nothing."""
