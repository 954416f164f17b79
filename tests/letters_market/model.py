"""A market for tests: a score told from the letters of company and title, so that a change of either shows."""

import json
import urllib.request
import zlib

import pyarrow as pa


class Letters:
    """Scores by a checksum; does as the texts BAD RANK, BAD SCORE, NO SCORE and RAISE say."""

    def __init__(self, folder):
        self.folder = folder

    def score(self, inputs):
        """Score by company and title."""
        self._edit_once()
        texts = [
            f"{company or ''}|{title or ''}"
            for company, title in zip(
                inputs.column("company").to_pylist(),
                inputs.column("title").to_pylist(),
                strict=True,
            )
        ]
        if any("RAISE" in text for text in texts):
            raise RuntimeError("this model raises")
        scores = [zlib.crc32(text.encode()) % 101 for text in texts]
        ranks = ["ABCDF"[min(4, (100 - score) // 20)] for score in scores]
        for row, text in enumerate(texts):
            if "BAD RANK" in text:
                ranks[row] = "E"
            if "BAD SCORE" in text:
                scores[row] = 101
            if "NO SCORE" in text:
                scores[row] = ranks[row] = None
        return pa.table(
            {
                "score": pa.array(scores, pa.int64()),
                "rank": pa.array(ranks, pa.string()),
                "note": pa.array([text[:40] for text in texts], pa.string()),
                "good": pa.array([score is not None and score >= 50 for score in scores]),
            }
        )

    def _edit_once(self):
        path = self.folder / "edit.json"
        if path.exists():
            edit = json.loads(path.read_text())
            path.unlink()
            request = urllib.request.Request(
                edit["url"], data=json.dumps(edit["body"]).encode(), method="POST"
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            opener.open(request).read()


def load(folder):
    return Letters(folder)
