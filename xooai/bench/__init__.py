"""Load on one endpoint of a server, and what it made of it: what `xooai bench` runs."""
