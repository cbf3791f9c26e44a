"""Assets of the group `proof`."""
