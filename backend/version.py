"""The version of this release; setup.cfg and every bundle's manifest read it here."""

VERSION = "0.1.0"
