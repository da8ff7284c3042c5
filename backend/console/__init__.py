"""The web console: pages, their templates and static files, over the same domain functions as the API."""
