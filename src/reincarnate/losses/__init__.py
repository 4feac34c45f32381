"""Losses as pure functions: one number per example."""
