"""The administration web UI: pages drawn on the server, a shell over the services."""
