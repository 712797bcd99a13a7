"""The HTTP driver: HTTP/1.1 on uvicorn's protocol, with a lean client on the same parser."""
