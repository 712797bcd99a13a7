"""How many pictures a second does xooai echo over HTTP, small and large, raw and in JSON, against a bare server?"""

import contest
from contest import Entry
from exchanges import picture, raw

SIZES = {"1k": ("1 KiB", 2**10), "8m": ("8 MiB", 8 * 2**20)}
WAYS = {"raw": "as the body", "json": "in a document, base64 in JSON"}


def entries() -> list[Entry]:
    """Return each size by each way, the bare server before xooai."""
    made = []
    for way, ask, path in (("raw", raw, "/raw"), ("json", picture, "/picture")):
        for size, (words, count) in SIZES.items():
            key, limit, what = f"{way}-{size}", f"{way}-{size}-limit", f"{words} {WAYS[way]}"
            made.append(Entry(limit, f"limit: bare ASGI, {what}", "limit", "uvicorn", ask(path, count), limit))
            made.append(Entry(key, f"xooai, {what}", "xooai_echo", "xooai", ask("/echo/picture", count), limit))
    return made


if __name__ == "__main__":
    contest.run(__doc__, entries(), "1,4")
