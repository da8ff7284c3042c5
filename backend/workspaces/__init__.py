"""The tenant: workspaces, their storage connections and the API tokens of their members."""
