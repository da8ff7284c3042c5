"""Datasets: the index of a bucket prefix, its findings, its split and its frozen snapshots."""
