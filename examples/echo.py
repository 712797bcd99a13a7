"""MyExecutor: the smallest one, which gives back the picture that it was given.

Serve it, and post a reference from another terminal; the file need not exist, for nobody reads it:

    python examples/echo.py
    curl --json '{"doc": {"ref": "233.jpg"}}' http://127.0.0.1:8080/my_executor/echo
"""

from xooai import Executor, Image, post


class MyExecutor(Executor):
    @post
    def echo(self, doc: Image) -> Image:
        return doc


if __name__ == "__main__":
    with MyExecutor() as e:
        e.serve()
