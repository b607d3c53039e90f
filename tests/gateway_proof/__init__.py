"""What the agent gateway promises, measured on whole stacks: every fault, personal welcomes, canaries, slow agents."""
