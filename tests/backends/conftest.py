"""Servers that tests in this folder may ask for."""

from parts.openbao import bao, bao_raft

__all__ = ["bao", "bao_raft"]
