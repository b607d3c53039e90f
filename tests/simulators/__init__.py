"""The simulators, each driven as the process it is."""
