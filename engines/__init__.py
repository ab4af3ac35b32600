"""The mathematics of the studio: torch in, plain results out. One module a subject."""
