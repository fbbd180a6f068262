"""One project: its profile, its artifacts, what each was made from, and the steps that make them. No Dagster here."""
