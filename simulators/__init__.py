"""Stand-ins for the outside world, each a process of its own; nothing here imports another package of this project."""
