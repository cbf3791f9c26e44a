"""Assets of the group `emarsys`."""
