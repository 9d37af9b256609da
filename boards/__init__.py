"""Boards for Grafana, written as code: `python -m boards` writes config/grafana/dashboards."""
