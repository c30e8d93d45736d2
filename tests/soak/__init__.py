"""Hours of delivery through every fault that a server can have, and an account of every recipient."""
