"""Reads a store or any table, computes, draws and reports."""
