"""Models: the registry of bundles, their comparison and export."""
