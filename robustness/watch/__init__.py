"""A page that follows a sweep: how the study stands, and its report again as results land. Reads only."""

from robustness.watch.server import AddressError, listen, serve

__all__ = ["AddressError", "listen", "serve"]
