"""The QUIC driver: HTTP/3 on aioquic, or on qh3, hosting the ASGI application of all calls."""
