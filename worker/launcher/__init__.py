"""The launcher behind `anmei up` and `anmei demo`: starts, watches, restarts and stops every process of a stack."""
