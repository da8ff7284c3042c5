"""The domain, its REST API and its command line. Imports no training framework."""
