"""What mosaik_actors measures: each figure beside its baseline, in one run."""
