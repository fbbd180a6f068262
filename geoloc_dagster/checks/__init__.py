"""What must hold of each artifact, as asset checks.

A *blocking* check stops what is downstream: in the same run by Dagster, in every later run by the receipt, which carries
the refusal. The others warn.
"""
