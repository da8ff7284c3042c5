"""Training of a reader: the detector first, then the recogniser, also on what that detector finds."""
