"""Deployment: compose, images, Prometheus, Grafana and Kubernetes files against the code they name."""
