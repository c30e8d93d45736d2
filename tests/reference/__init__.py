"""Recordings of the original smtp(8zm), and how they are played against our agent."""
