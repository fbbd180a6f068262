"""The artifacts, room by room; the modules carry the names of the core's rooms."""
