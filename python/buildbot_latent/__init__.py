"""Latent EC2 workers for Buildbot, managed by the ``latent`` controller."""

from __future__ import annotations

__version__ = "0.1.0"
