"""The same job on other engines, as plainly as their manuals show it: the inserts and the agent call, nothing more."""
