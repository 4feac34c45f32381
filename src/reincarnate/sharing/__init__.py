"""Agents to and from elsewhere: exports and the Hub."""
