"""In which country, and in which first-level sub-division, was a photo taken, and how sure is that?

A plain library: photos, regions, vectors, heads, scores. It knows nothing of the orchestration around it
(`geoloc_dagster`) and everything in it can be used from a notebook.
"""

__version__ = "0.1.0"
