"""Outbound calls: each client maps foreign failures to core.errors and returns our types."""
