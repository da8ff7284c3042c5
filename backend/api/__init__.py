"""The REST API under `/api/v1`: one blueprint a noun. Views parse, call a function of the domain, answer."""
