"""What a step needs of the machine, said once for every engine. Imports nothing.

`pool` holds on one machine; the tags hold where Kubernetes, Ray or Celery place the step. All of them can stand on one
asset together: each engine reads its own.
"""

# Steps in this pool take turns; the limit is set in dagster.yaml or in the UI.
GPU_POOL = "gpu"
# DuckDB lets one process write at a time: writers take turns, compute first and write last.
WAREHOUSE_POOL = "warehouse"

# One GPU, on whichever engine places the step.
GPU = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        # Nodes with GPUs are commonly tainted, so that nothing else fills them.
        "pod_spec_config": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
    },
    "dagster-ray/config": {"num_gpus": 1},
    "dagster-celery/queue": "gpu",
}
