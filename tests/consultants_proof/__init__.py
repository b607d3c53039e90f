"""What consultants are promised, measured on whole stacks: sockets, claims, pushes, the ladder."""
