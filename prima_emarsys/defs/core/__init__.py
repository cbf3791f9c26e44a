"""Assets of the group `core`."""
