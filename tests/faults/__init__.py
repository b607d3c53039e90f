"""The fault suite: a whole stack under load, something killed or lost, and then everything counted."""
