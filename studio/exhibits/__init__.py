"""The exhibits, in the order of their tabs."""

from studio.exhibits import rope

EXHIBITS = (rope.EXHIBIT,)
