"""Label Studio: projects, items, webhooks, predictions. The only place that imports its SDK."""
