"""Trials: links with which phones test one model, its answers, and the pictures that they send back."""
