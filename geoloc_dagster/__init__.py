"""What the artifacts are, what each is made from, when it is remade, on what resources, and what must hold of it.

Thin by design: the work itself is in `geoloc_core`. Heavy packages are imported inside functions, so that Dagster loads
these definitions in seconds and each step process pays only for what it uses.
"""

import warnings

# Dagster passes its own beta parameter on when it binds resources to sensors; nobody here can do anything about it.
warnings.filterwarnings("ignore", message="Parameter `owners` of initializer `SensorDefinition")
