"""Checks of arguments, files written whole, running, random streams."""
