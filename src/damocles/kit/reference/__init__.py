"""The parts of the reference that are made from the source: what the programs have is described where it is declared."""
