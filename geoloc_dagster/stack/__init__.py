"""The deployed topology as processes on loopback: PostgreSQL, MLflow, code server, webserver, daemon.

The same parts as `docker/compose.yaml`, with the same settings of Dagster, for machines without containers and for tests.
"""
