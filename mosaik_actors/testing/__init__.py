"""Scenario tests for actors: recorded histories, and the checker that judges them."""
