"""Executors and Flows in YAML files."""
