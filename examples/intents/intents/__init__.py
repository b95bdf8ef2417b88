"""An auction of intents: users say what they want, solvers compete, three auctioneers decide."""
