"""What attackers can do from outside, as programs: each says what both sides spend."""
