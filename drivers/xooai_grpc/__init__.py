"""The gRPC driver: calls of all shapes as native gRPC calls of opaque bytes, on grpcio's asyncio side."""
