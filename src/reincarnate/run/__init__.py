"""One run: its settings, what it needs opened and checked, its execution and what it leaves."""
