"""Assets of the group `prima`."""
