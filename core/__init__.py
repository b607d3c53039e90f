"""Settings, database, errors, logging, crypto, clock: what every other package may use; knows none of them."""
