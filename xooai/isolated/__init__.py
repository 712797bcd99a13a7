"""Executors in processes of their own behind one server: calls go on to them over Unix sockets as they came."""
