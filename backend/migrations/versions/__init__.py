"""The changes, oldest first. A package, so that an installed copy has them."""
