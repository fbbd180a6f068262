"""One packed model: it answers for photos, by itself."""
