"""Grafana's dashboards: ``generator`` makes them, ``provisioning`` has them loaded."""
